"""Which model answers: chosen, judged, registered once, promoted, rolled back, and healed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.errors import MusicGenreError
from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.models.bundle import ModelBundle
from music_genre.registry import gate
from music_genre.registry import versions as registry
from music_genre.registry.gate import Candidate, Criterion, GateResult, judge
from music_genre.registry.params import GateParams
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats
from music_genre.tracking import runs as tracking
from music_genre.tracking.runs import RunRef

GENRES = ("Folk", "R&B", "Rock")
ASKED = GateParams(
    macro_f1=0.3, recall=0.0, ece=0.2, champion_margin=0.0, features_db=0.5, megabytes=50, latency_ms=300
)
GOOD, BAD = [Criterion("validation_macro_f1", 0.8, 0.3, True)], [Criterion("validation_macro_f1", 0.2, 0.3, False)]


def candidate(
    name: str, parameters: int, wrong: Sequence[int] = (), clips: int = 120, macro_f1: float = 0.0
) -> Candidate:
    """A model that answers ``clips`` clips of three genres, the ones at ``wrong`` wrongly."""
    from sklearn.metrics import f1_score

    genres = np.array(GENRES)
    actual = genres[np.arange(clips) % 3]
    predicted = np.where(np.isin(np.arange(clips), wrong), genres[(np.arange(clips) + 1) % 3], actual)
    found = macro_f1 or float(f1_score(actual, predicted, average="macro"))
    table = pd.DataFrame({"track_id": np.arange(clips), "actual": actual, "predicted": predicted})
    metrics = {"validation": {"macro_f1": found, "ece": 0.1}, "test": {"macro_f1": found / 2}}
    # In an order of its own: clips are matched by track_id, never by their place.
    return Candidate(name, parameters, metrics, table.sample(frac=1, random_state=parameters))


def choose(candidates: Sequence[Candidate], seed: int) -> Candidate:
    return gate.choose(candidates, ASKED, seed)


def test_the_simplest_model_wins_where_the_best_is_not_surely_better() -> None:
    small, large = candidate("crnn", 10, wrong=range(12)), candidate("ensemble", 30, wrong=range(10))
    assert large.validation_macro_f1 > small.validation_macro_f1
    assert choose([large, small], seed=7) is small
    assert choose([small, large], seed=7) is small


def test_the_best_model_wins_where_it_is_surely_better() -> None:
    small, large = candidate("crnn", 10, wrong=range(60)), candidate("ensemble", 30, wrong=range(10))
    assert choose([small, large], seed=7) is large


def test_two_models_that_err_alike_differ_by_little_and_surely() -> None:
    # The intervals of the two overlap by far; paired, one model is right wherever the other is, and more.
    small, large = candidate("crnn", 10, wrong=range(40)), candidate("ensemble", 30, wrong=range(28))
    assert choose([small, large], seed=7) is large


def test_the_middle_model_wins_where_only_the_smallest_falls_behind() -> None:
    smallest = candidate("parallel", 10, wrong=range(70))
    middle, best = candidate("crnn", 20, wrong=range(11)), candidate("ensemble", 30, wrong=range(10))
    assert choose([best, smallest, middle], seed=7) is middle


def test_the_best_model_wins_where_it_is_the_simplest_too() -> None:
    best, worse = candidate("crnn", 10, wrong=range(3)), candidate("ensemble", 30, wrong=range(5))
    assert choose([worse, best], seed=7) is best


def test_test_figures_choose_nothing() -> None:
    small, large = candidate("crnn", 10, wrong=range(60)), candidate("ensemble", 30, wrong=range(10))
    small.metrics["test"]["macro_f1"], large.metrics["test"]["macro_f1"] = 0.99, 0.01
    assert choose([small, large], seed=7) is large


def test_a_single_candidate_is_chosen() -> None:
    only = candidate("crnn", 10, wrong=range(50))
    assert choose([only], seed=7) is only


def test_a_model_that_the_gate_would_refuse_is_not_chosen_where_another_passes() -> None:
    small, large = candidate("crnn", 10), candidate("ensemble", 30)
    small.metrics["validation"]["ece"] = 0.6
    assert choose([small, large], seed=7) is large
    large.metrics["validation"]["ece"] = 0.7
    assert choose([small, large], seed=7) is small


def failed(judged: GateResult) -> list[str]:
    assert judged.verdict == ("refused" if any(not c.passed for c in judged.criteria) else "passed")
    return [c.name for c in judged.criteria if not c.passed]


@pytest.mark.parametrize(("macro_f1", "passed"), [(0.31, True), (0.3, True), (0.2999, False)])
def test_the_gate_asks_for_a_macro_f1(macro_f1: float, passed: bool) -> None:
    judged = judge(candidate("crnn", 1, macro_f1=macro_f1), True, 1.0, ASKED)
    assert judged.criteria[0] == Criterion("validation_macro_f1", macro_f1, 0.3, passed)
    assert failed(judged) == ([] if passed else ["validation_macro_f1"])


def test_the_gate_asks_for_a_recall_of_every_genre_and_names_those_that_lack_it() -> None:
    # Every third clip is Folk: half of them are missed.
    judged = judge(candidate("crnn", 1, wrong=range(0, 60, 3)), True, 1.0, ASKED.model_copy(update={"recall": 0.6}))
    assert failed(judged) == ["validation_recall"]
    assert judged.notes == ["recall below 0.6: Folk 0.500"]


def test_the_gate_asks_for_calibration() -> None:
    one = candidate("crnn", 1)
    one.metrics["validation"]["ece"] = 0.21
    assert failed(judge(one, True, 1.0, ASKED)) == ["validation_ece"]


def test_the_gate_asks_for_data_that_passed_its_checks_and_a_model_that_is_not_too_large() -> None:
    assert failed(judge(candidate("crnn", 1), False, 1.0, ASKED)) == ["data_quality"]
    assert failed(judge(candidate("crnn", 1), True, 50.1, ASKED)) == ["megabytes"]


def test_test_figures_pass_and_fail_nobody() -> None:
    one = candidate("crnn", 1)
    one.metrics["test"]["macro_f1"] = 0.0
    assert failed(judge(one, True, 1.0, ASKED)) == []


def test_the_gate_refuses_what_is_surely_worse_than_the_champion_and_nothing_else() -> None:
    best, alike, worse = (candidate("crnn", 10, wrong=wrong) for wrong in (range(10), range(4, 16), range(60)))
    above = gate.paired_difference(alike.predictions, best.predictions, 7)
    assert gate.champion_criterion(above, ASKED).passed
    below = gate.paired_difference(worse.predictions, best.predictions, 7)
    assert not gate.champion_criterion(below, ASKED).passed
    assert gate.champion_criterion(below, ASKED.model_copy(update={"champion_margin": 0.9})).passed


def test_the_gate_asks_for_speed_and_for_features_as_in_training() -> None:
    assert [gate.latency_criterion(value, ASKED).passed for value in (300.0, 301.0)] == [True, False]
    assert [gate.features_criterion(value, ASKED).passed for value in (0.5, 0.6)] == [True, False]


def test_features_of_audio_are_those_of_the_pipeline(checkout: Path) -> None:
    data = SpectrogramStore.open(checkout / "data/spectrograms")
    clips, tracks = data.split("validation"), pd.read_parquet(checkout / "data/tracks.parquet")
    audio = [checkout / "data/raw" / path for path in tracks.set_index("track_id")["path"].loc[clips.track_id]]
    stored = clips.read(np.arange(len(clips)))
    assert data.transform is not None
    assert gate.feature_difference(data.transform, audio, stored) == 0
    other = data.transform.model_copy(update={"n_fft": 1024})
    assert gate.feature_difference(other, audio, stored) > ASKED.features_db


@pytest.fixture(scope="module")
def store(recovered_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the runs; each test has a registered model of its own there."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copyfile(recovered_checkout / "mlflow.db", folder / "mlflow.db")
    return folder


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return tracking.connect(store)


class Registry:
    """A registered model and the calls that the stage and the command make."""

    def __init__(self, client: MlflowClient, name: str, pointer: RunRef) -> None:
        self.client, self.name, self.pointer = client, name, pointer

    def register(self, digest: str, criteria: Sequence[Criterion] = GOOD, model: str = "crnn") -> ModelVersion:
        judged = candidate(model, 10, macro_f1=float(criteria[0].value))
        return registry.register(self.client, self.name, digest, self.pointer, GateResult(judged, list(criteria)))

    def promote(self, version: str | None = None, reason: str | None = None) -> str:
        return registry.promote(self.client, self.name, version, reason)

    def rollback(self) -> str:
        return registry.rollback(self.client, self.name)

    def history(self) -> list[tuple[str, str]]:
        return [(reign.version, reign.reason) for reign in registry.history(self.client, self.name)]

    @property
    def aliases(self) -> dict[str, str]:
        found = registry.versions(self.client, self.name)
        return {alias: version.version for version in found for alias in version.aliases}


@pytest.fixture
def models(client: MlflowClient, recovered_checkout: Path, request: pytest.FixtureRequest) -> Registry:
    pointer = RunRef(**json.loads((recovered_checkout / "reports/runs/crnn.json").read_text()))
    return Registry(client, f"music-{abs(hash(request.node.name))}", pointer)


def test_the_first_model_that_passes_is_champion_and_challenger(models: Registry) -> None:
    version = models.register("a")
    assert models.aliases == {"champion": "1", "challenger": "1"}
    assert version.version in (1, "1")
    assert models.history() == [("1", "the first to pass the gate")]


def test_the_next_one_that_passes_is_challenger_and_takes_nobodys_place(models: Registry) -> None:
    models.register("a")
    models.register("b")
    assert models.aliases == {"champion": "1", "challenger": "2"}


def test_the_same_model_is_registered_once(models: Registry) -> None:
    numbers = [str(models.register(digest).version) for digest in ("a", "a", "b", "a", "b")]
    assert numbers == ["1", "1", "2", "1", "2"]
    assert len(registry.versions(models.client, models.name)) == 2
    assert models.aliases == {"champion": "1", "challenger": "2"}
    assert len(models.history()) == 1


def test_a_refused_model_gets_a_version_and_no_alias(models: Registry) -> None:
    refused = models.register("a", BAD)
    assert refused.tags["verdict"] == "refused"
    assert models.aliases == {}
    models.register("b")
    models.register("c", BAD)
    assert models.aliases == {"champion": "2", "challenger": "2"}


def test_a_version_says_what_was_judged(models: Registry) -> None:
    tags = models.register("a", BAD, model="parallel").tags
    assert tags["model"] == "parallel"
    assert tags["model_digest"] == "a"
    assert json.loads(tags["criteria"]) == [
        {"name": "validation_macro_f1", "value": 0.2, "threshold": 0.3, "passed": False}
    ]
    (listed,) = registry.versions(models.client, models.name)
    assert (listed.model, listed.verdict) == ("parallel", "refused")
    assert (listed.validation_macro_f1, listed.test_macro_f1) == (0.2, 0.1)


def test_a_version_leads_to_its_run(models: Registry) -> None:
    version = models.register("a")
    assert version.run_id == models.pointer.run_id
    assert models.client.get_run(version.run_id).info.run_name == "crnn"


def test_a_model_that_passes_a_lower_gate_later_becomes_challenger(models: Registry) -> None:
    models.register("a", BAD)
    again = models.register("a", GOOD)
    assert (str(again.version), again.tags["verdict"]) == ("1", "passed")
    assert models.aliases == {"champion": "1", "challenger": "1"}


def test_a_challenger_that_a_higher_gate_refuses_is_challenger_no_more(models: Registry) -> None:
    models.register("a")
    models.register("b")
    models.register("b", BAD)
    assert models.aliases == {"champion": "1", "challenger": "1"}


def test_no_model_is_challenger_where_none_passes_any_more(models: Registry) -> None:
    models.register("a")
    models.register("a", BAD)
    assert "challenger" not in models.aliases


def test_promoting_takes_the_challenger(models: Registry) -> None:
    models.register("a")
    models.register("b")
    assert models.promote() == "2"
    assert models.aliases == {"champion": "2", "challenger": "2"}
    assert models.history() == [("1", "the first to pass the gate"), ("2", "promoted")]


def test_any_version_that_passed_can_be_promoted(models: Registry) -> None:
    for digest in "abc":
        models.register(digest)
    assert models.promote("2") == "2"
    assert models.aliases == {"champion": "2", "challenger": "3"}


def test_promoting_the_champion_changes_nothing(models: Registry) -> None:
    models.register("a")
    models.promote("1")
    models.promote()
    assert models.history() == [("1", "the first to pass the gate")]


def test_a_refused_version_is_not_promoted_and_the_message_says_why(models: Registry) -> None:
    models.register("a")
    models.register("b", [*BAD, Criterion("data_quality", False, True, False)])
    with pytest.raises(
        MusicGenreError, match=r"version 2 .*validation_macro_f1, data_quality.*--force --reason"
    ) as told:
        models.promote("2")
    assert "\n" not in str(told.value)
    assert models.aliases["champion"] == "1"


def test_force_promotes_a_refused_version_and_keeps_the_reason(models: Registry) -> None:
    models.register("a")
    models.register("b", BAD)
    assert models.promote("2", "the demo is tonight") == "2"
    assert models.aliases["champion"] == "2"
    assert models.history()[-1] == ("2", "forced: the demo is tonight")
    forced = {version.version: version.forced for version in registry.versions(models.client, models.name)}
    assert forced == {"1": None, "2": "the demo is tonight"}


def test_what_a_challenger_showed_in_the_shadow_adds_up_until_another_is_champion(models: Registry) -> None:
    models.register("a")
    models.register("b")
    seen = ShadowStats(champion="1", n_predictions=3, n_agreed=2, champion_seconds=0.25, challenger_seconds=0.5)
    for _ in range(2):
        registry.record_shadow(models.client, models.name, "2", seen)
    newest, oldest = registry.versions(models.client, models.name)
    assert oldest.shadow is None
    assert str(newest.shadow) == "shadow of version 1: 4 of 6 predictions agree (67%), 167 ms each against 83 ms"
    registry.record_shadow(models.client, models.name, "2", seen.model_copy(update={"champion": "7"}))
    assert registry.versions(models.client, models.name)[0].shadow == seen.model_copy(update={"champion": "7"})


def test_a_shadow_that_somebody_wrote_by_hand_is_overlooked(models: Registry) -> None:
    models.register("a")
    models.client.set_model_version_tag(models.name, "1", SHADOW_TAG, '{"answers": "many"}')
    assert registry.versions(models.client, models.name)[0].shadow is None


@pytest.mark.parametrize("version", ["99", "0", "-1", "two", "1.0", ""])
def test_promoting_a_version_that_is_not_there_says_so(models: Registry, version: str) -> None:
    models.register("a", BAD)
    with pytest.raises(MusicGenreError, match=rf"no version {version};.*music-genre versions|has no challenger"):
        models.promote(version)
    assert models.aliases == {}


def test_promoting_without_a_challenger_says_so(models: Registry) -> None:
    models.register("a", BAD)
    with pytest.raises(MusicGenreError, match=r"no challenger.*--version"):
        models.promote()


def test_rolling_back_gives_the_place_to_the_champion_before(models: Registry) -> None:
    for digest in "abc":
        models.register(digest)
    models.promote("2")
    models.promote("3")
    assert models.rollback() == "2"
    assert models.aliases == {"champion": "2", "challenger": "3"}
    assert models.history()[-1] == ("2", "rolled back from version 3")


def test_rolling_back_twice_does_not_bring_back_what_was_rolled_back(models: Registry) -> None:
    for digest in "abc":
        models.register(digest)
    models.promote("2")
    models.promote("3")
    assert [models.rollback(), models.rollback()] == ["2", "1"]


def test_a_forced_champion_can_be_rolled_back(models: Registry) -> None:
    models.register("a")
    models.register("b", BAD)
    models.promote("2", "a try")
    assert models.rollback() == "1"


def test_there_is_no_rolling_back_behind_the_first_champion(models: Registry) -> None:
    models.register("a")
    with pytest.raises(MusicGenreError, match="no earlier champion"):
        models.rollback()
    assert models.aliases["champion"] == "1"


def test_there_is_no_rolling_back_where_nothing_was_registered(models: Registry) -> None:
    with pytest.raises(MusicGenreError, match=r"no earlier champion|no version|no champion"):
        models.rollback()


def test_an_alias_moved_by_hand_is_part_of_the_history(models: Registry) -> None:
    for digest in "abc":
        models.register(digest)
    models.client.set_registered_model_alias(models.name, "champion", "3")
    assert models.history() == [("1", "the first to pass the gate"), ("3", "alias moved by hand")]
    models.promote("2")
    assert models.history()[1:] == [("3", "alias moved by hand"), ("2", "promoted")]
    assert models.rollback() == "3"


def test_what_was_moved_by_hand_is_rolled_back_to_what_was_promoted(models: Registry) -> None:
    for digest in "ab":
        models.register(digest)
    models.client.set_registered_model_alias(models.name, "champion", "2")
    assert models.rollback() == "1"


def test_the_history_says_from_when_to_when(models: Registry) -> None:
    models.register("a")
    models.register("b")
    models.promote("2")
    first, second = registry.history(models.client, models.name)
    assert first.until == second.since
    assert second.until is None
    assert pd.Timestamp(first.since).tzinfo is not None


def test_a_reign_that_was_ended_by_hand_has_an_end(models: Registry) -> None:
    models.register("a")
    models.client.delete_registered_model_alias(models.name, "champion")
    (reign,) = registry.history(models.client, models.name)
    assert reign.until is not None


def test_a_long_history_outgrows_no_tag(models: Registry) -> None:
    models.register("a")
    models.register("b")
    for number in range(12):
        models.promote(str(1 + (number + 1) % 2), "x" * registry.LONGEST_REASON)
    assert len(models.history()) == 13
    assert all(len(value) < 1000 for value in models.client.get_registered_model(models.name).tags.values())
    with pytest.raises(MusicGenreError, match="a reason of 501 characters"):
        models.promote("2", "x" * (registry.LONGEST_REASON + 1))


def test_a_deleted_version_is_not_gone_back_to(models: Registry) -> None:
    for digest in "abc":
        models.register(digest)
    models.promote("2")
    models.promote("3")
    models.client.delete_model_version(models.name, "2")
    assert models.rollback() == "1"


def test_a_champion_that_was_taken_away_by_hand_is_replaced_by_the_next_that_passes(models: Registry) -> None:
    models.register("a")
    models.client.delete_registered_model_alias(models.name, "champion")
    assert registry.champion(models.client, models.name) is None
    models.register("b")
    assert models.aliases["champion"] == "2"


def test_versions_are_listed_newest_first_by_number(models: Registry) -> None:
    for digest in "abcdefghijk":
        models.register(digest)
    listed = registry.versions(models.client, models.name)
    assert [version.version for version in listed] == [str(number) for number in range(11, 0, -1)]
    assert listed[0].aliases == ["challenger"]
    assert listed[-1].aliases == ["champion"]
    assert models.aliases["challenger"] == "11"


def test_nothing_registered_is_an_empty_list(models: Registry) -> None:
    assert registry.versions(models.client, models.name) == []
    assert registry.champion(models.client, models.name) is None


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_a_missing_alias_tells_what_to_do(models: Registry, alias: str) -> None:
    with pytest.raises(MusicGenreError, match=rf"no {alias}: `dvc repro` .*`music-genre promote`") as told:
        registry.resolve(models.client, models.name, alias)
    assert "\n" not in str(told.value)
    models.register("a", BAD)
    with pytest.raises(MusicGenreError, match=f"no {alias}"):
        registry.resolve(models.client, models.name, alias)


@pytest.mark.parametrize("version", ["2", "0", "99999999999999999999"])
def test_a_missing_version_tells_how_to_list_them(models: Registry, version: str) -> None:
    models.register("a")
    with pytest.raises(MusicGenreError, match=f"no version {version}; `music-genre versions`"):
        registry.resolve(models.client, models.name, version)


def test_a_version_is_found_by_alias_and_by_number(models: Registry) -> None:
    models.register("a")
    models.register("b")
    found = {wanted: str(registry.resolve(models.client, models.name, wanted).version) for wanted in ("champion", "2")}
    assert found == {"champion": "1", "2": "2"}


def test_a_version_that_somebody_registered_by_hand_is_listed(models: Registry) -> None:
    models.client.create_registered_model(models.name)
    models.client.create_model_version(
        models.name, f"models:/{models.pointer.model_id}", model_id=models.pointer.model_id
    )
    (listed,) = registry.versions(models.client, models.name)
    assert (listed.version, listed.verdict, listed.model) == ("1", "unknown", "unknown")
    with pytest.raises(MusicGenreError, match="no verdict"):
        models.promote("1")


def _constant(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON")


@pytest.fixture
def champion(checkout: Path) -> MlflowClient:
    """The store of the checkout, to be read only."""
    return tracking.connect(checkout)


def test_the_stage_registered_the_chosen_model(checkout: Path, champion: MlflowClient) -> None:
    written = json.loads((checkout / "reports/registration.json").read_text())
    assert set(written) >= {"name", "version", "model_id", "verdict", "criteria"}
    assert (written["name"], written["version"], written["verdict"]) == ("music-genre", "1", "passed")
    assert {c["name"]: c["passed"] for c in written["criteria"]} == dict.fromkeys(
        [
            "validation_macro_f1",
            "validation_recall",
            "validation_ece",
            "data_quality",
            "megabytes",
            "features_db",
            "latency_ms",
        ],
        True,
    )
    assert all(set(c) == {"name", "value", "threshold", "passed"} for c in written["criteria"])
    model = json.loads((checkout / f"models/{written['model']}/run.json").read_text())
    assert written["model_id"] == model["model_id"]
    (listed,) = registry.versions(champion, "music-genre")
    assert (listed.model, listed.aliases) == (written["model"], ["challenger", "champion"])
    metrics = json.loads((checkout / f"reports/evaluation/{listed.model}/metrics.json").read_text())
    assert listed.validation_macro_f1 == metrics["validation"]["macro_f1"]
    assert listed.test_macro_f1 == metrics["test"]["macro_f1"]


def test_a_version_carries_its_models_card(checkout: Path, champion: MlflowClient) -> None:
    version = champion.get_model_version_by_alias("music-genre", "champion")
    reports = checkout / "reports/evaluation" / version.tags["model"]
    assert version.description.startswith(f"# music-genre: {version.tags['model']}\n")
    assert version.tags["model_digest"] in version.description
    for row in pd.read_csv(reports / "per_class.csv").query("split == 'test'").itertuples():
        assert f"| {row.genre} | 6 | {row.support} | {row.precision:.2f} | {row.recall:.2f} |" in version.description
    written = Path(champion.download_artifacts(version.run_id, "model_card.md")).read_text()
    assert written == version.description
    assert "<table>" in Path(champion.download_artifacts(version.run_id, "model_card.html")).read_text()


def test_the_gates_verdict_is_kept_without_ids(checkout: Path, champion: MlflowClient) -> None:
    gate = json.loads((checkout / "reports/gate.json").read_text())
    written = json.loads((checkout / "reports/registration.json").read_text())
    # What this machine measured is not part of it.
    assert gate["model"] == written["model"]
    assert gate["criteria"] == written["criteria"][: len(gate["criteria"])]
    assert {c["name"] for c in gate["criteria"]}.isdisjoint({"latency_ms", "features_db", "macro_f1_above_champion"})


def test_the_baseline_is_never_registered(checkout: Path) -> None:
    assert "baseline" not in gate.CANDIDATES
    assert json.loads((checkout / "reports/registration.json").read_text())["model"] != "baseline"


def test_the_registered_model_takes_clips_and_gives_probabilities(checkout: Path, champion: MlflowClient) -> None:
    data = SpectrogramStore.open(checkout / "data/spectrograms")
    clips = data.split("test").read(np.arange(6))
    assert (clips.shape, clips.dtype) == ((6, 64, 32), np.float32)
    model = mlflow.pyfunc.load_model("models:/music-genre@champion")
    answers = model.predict(clips)
    assert (answers.shape, answers.dtype) == ((6, 3), np.float32)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    name = json.loads((checkout / "reports/registration.json").read_text())["model"]
    with packed.temporary_bundle(checkout / "models", name, data) as folder:
        np.testing.assert_allclose(answers, ModelBundle(folder).predict(clips), atol=1e-5)
    assert model.predict(clips[:1]).shape == (1, 3)


@pytest.mark.parametrize("shape", [(2, 32, 64), (2, 64, 31), (64, 32)])
def test_the_registered_model_refuses_clips_of_another_shape(
    checkout: Path, champion: MlflowClient, shape: tuple[int, ...]
) -> None:
    model = mlflow.pyfunc.load_model("models:/music-genre@champion")
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict(np.zeros(shape, np.float32))


def test_the_packed_folder_of_a_version_is_what_was_packed(checkout: Path, champion: MlflowClient) -> None:
    folder = registry.packed_folder(registry.resolve(champion, "music-genre", "champion"))
    name = json.loads((checkout / "reports/registration.json").read_text())["model"]
    with packed.temporary_bundle(
        checkout / "models", name, SpectrogramStore.open(checkout / "data/spectrograms")
    ) as expected:
        assert packed.digest(folder) == packed.digest(expected)


def runs_of(client: MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == len({run.info.run_name for run in found}), "a run was logged twice"
    return {run.info.run_name: run for run in found}


def of_the_model(metrics: dict[str, float]) -> dict[str, float]:
    """Without what the machine did meanwhile."""
    return {n: value for n, value in metrics.items() if n != "training_seconds" and not n.startswith("system/")}


def test_register_restores_every_run_of_a_lost_store_without_training(checkout: Path, recovered_checkout: Path) -> None:
    for path in (checkout / "models").rglob("model.*"):
        assert (recovered_checkout / "models" / path.relative_to(checkout / "models")).read_bytes() == path.read_bytes()
    before = runs_of(tracking.connect(checkout))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = tracking.connect(recovered_checkout)
        after = runs_of(client)
    assert set(after) == set(before) == set(packed.NAMES)
    for name, run in after.items():
        assert run.info.status == "FINISHED"
        assert run.info.run_id != before[name].info.run_id
        assert of_the_model(run.data.metrics) == pytest.approx(of_the_model(before[name].data.metrics))
        assert run.data.params == before[name].data.params
        assert run.data.tags["data_digest"] == before[name].data.tags["data_digest"]
        assert json.loads((recovered_checkout / f"reports/runs/{name}.json").read_text())["run_id"] == run.info.run_id


@pytest.mark.parametrize("name", ["crnn", "parallel"])
def test_register_restores_every_epoch_of_a_lost_run(name: str, checkout: Path, recovered_checkout: Path) -> None:
    client = tracking.connect(recovered_checkout)
    run_id = json.loads((recovered_checkout / f"reports/runs/{name}.json").read_text())["run_id"]
    history = pd.read_csv(checkout / f"models/{name}/history.csv")
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        logged = client.get_metric_history(run_id, metric)
        assert [point.step for point in logged] == history["epoch"].tolist()
        assert [point.value for point in logged] == pytest.approx(history[metric].tolist())


def test_register_restores_a_lost_registry(checkout: Path, recovered_checkout: Path) -> None:
    (listed,) = registry.versions(tracking.connect(recovered_checkout), "music-genre")
    written = json.loads((checkout / "reports/registration.json").read_text())
    assert (listed.version, listed.model, listed.verdict) == ("1", written["model"], "passed")
    assert listed.aliases == ["challenger", "champion"]
    restored = json.loads((recovered_checkout / "reports/registration.json").read_text())
    assert {key: restored[key] for key in ("name", "version", "model", "verdict")} == {
        key: written[key] for key in ("name", "version", "model", "verdict")
    }
    assert any("holds no audio" in note for note in restored["notes"])
    assert (recovered_checkout / "reports/gate.json").read_bytes() == (checkout / "reports/gate.json").read_bytes()


def test_register_tells_what_it_did(recovered_checkout: Path) -> None:
    screen = (recovered_checkout / "register.txt").read_text()
    model = json.loads((recovered_checkout / "reports/registration.json").read_text())["model"]
    assert f"music-genre version 1: {model}, passed" in screen
    assert "validation_macro_f1" in screen
    assert "data_quality" in screen


def test_a_restored_model_is_loaded_and_answers_as_before(checkout: Path, recovered_checkout: Path) -> None:
    clips = SpectrogramStore.open(checkout / "data/spectrograms").split("test").read(np.arange(6))
    answers = []
    for folder in (checkout, recovered_checkout):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            tracking.connect(folder)
            answers.append(mlflow.pyfunc.load_model("models:/music-genre@champion").predict(clips))
    np.testing.assert_array_equal(*answers)
