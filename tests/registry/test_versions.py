"""Versions of the registered model: registered once, promoted, rolled back, listed and resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.errors import GateRefusedError, MusicGenreError
from music_genre.evaluation.results import ModelResult
from music_genre.registry import versions
from music_genre.registry.checks import cached_measurement
from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.registry.gate import GateResult
from music_genre.registry.history import ChampionPeriod, champion_periods
from music_genre.registry.listing import VersionInfo, genre_changes, list_versions
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats
from music_genre.registry.versions import (
    MAX_REASON_CHARS,
    champion,
    download_bundle,
    find_version,
    record_shadow,
    registry_lock,
    resolve,
    take_snapshot,
)
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef

PASSING = (Criterion(CriterionName.MIN_MACRO_F1, 0.8, 0.3, True),)
FAILING = (Criterion(CriterionName.MIN_MACRO_F1, 0.2, 0.3, False),)
FIRST = ("1", "the first to pass the gate")


@dataclass(frozen=True)
class Registry:
    """A registered model of a test's own, and the calls that stages and commands make."""

    client: MlflowClient
    name: str
    ref: RunRef
    make_result: Callable[..., ModelResult]

    def register(
        self,
        digest: str,
        criteria: Sequence[Criterion] = PASSING,
        model: str = "crnn",
        genres: Sequence[str] = ("Folk", "Rock"),
        **about: str,
    ) -> ModelVersion:
        result, gate = self.make_result(model, macro_f1=float(criteria[0].value)), GateResult(model, [], criteria)
        return versions.register(self.client, self.name, digest, self.ref, result, gate, genres, **about)

    def promote(self, version: str | None = None, force_reason: str | None = None) -> str:
        return versions.promote(self.client, self.name, version, force_reason)

    def rollback(self) -> str:
        return versions.rollback(self.client, self.name)

    def list(self) -> list[VersionInfo]:
        return list_versions(self.client, self.name)

    def periods(self) -> list[ChampionPeriod]:
        return champion_periods(self.client, self.name)

    @property
    def history(self) -> list[tuple[str, str]]:
        return [(period.version, period.reason) for period in self.periods()]

    @property
    def aliases(self) -> dict[str, str]:
        return {alias: version.version for version in self.list() for alias in version.aliases}


@pytest.fixture
def registry(
    store: tuple[Path, RunRef], make_result: Callable[..., ModelResult], request: pytest.FixtureRequest
) -> Registry:
    root, ref = store
    return Registry(runs.connect(root), re.sub(r"\W+", "-", request.node.name), ref, make_result)


def test_first_passing_model_becomes_champion_and_challenger(registry: Registry) -> None:
    version = registry.register("a")
    assert registry.aliases == {"champion": "1", "challenger": "1"}
    assert str(version.version) == "1"
    assert registry.history == [FIRST]


def test_second_passing_model_becomes_challenger(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    assert registry.aliases == {"champion": "1", "challenger": "2"}


def test_same_model_is_registered_once(registry: Registry) -> None:
    numbers = [str(registry.register(digest).version) for digest in ("a", "a", "b", "a", "b")]
    assert numbers == ["1", "1", "2", "1", "2"]
    assert len(registry.list()) == 2
    assert registry.aliases == {"champion": "1", "challenger": "2"}
    assert registry.history == [FIRST]


def test_refused_model_gets_a_version_without_alias(registry: Registry) -> None:
    refused = registry.register("a", FAILING)
    assert refused.tags["verdict"] == "refused"
    assert registry.aliases == {}
    registry.register("b")
    registry.register("c", FAILING)
    assert registry.aliases == {"champion": "2", "challenger": "2"}


def test_version_has_the_criteria_and_metrics_as_tags(registry: Registry) -> None:
    tags = registry.register("a", FAILING, model="parallel").tags
    assert (tags["model"], tags["model_digest"]) == ("parallel", "a")
    assert json.loads(tags["criteria"]) == [{"name": "min_macro_f1", "value": 0.2, "threshold": 0.3, "passed": False}]
    (listed,) = registry.list()
    assert (listed.model, listed.verdict, listed.failed) == ("parallel", "refused", ["min_macro_f1"])
    assert (listed.validation_macro_f1, listed.test_macro_f1) == (0.2, 0.1)


def test_version_has_the_models_run(registry: Registry) -> None:
    version = registry.register("a")
    assert version.run_id == registry.ref.run_id
    assert registry.client.get_run(version.run_id).info.run_name == "crnn"


def test_version_is_found_by_the_models_digest(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    version = find_version(registry.client, registry.name, "a")
    assert version is not None
    assert str(version.version) == "1"
    assert find_version(registry.client, registry.name, "c") is None


def test_refused_version_that_passes_a_later_gate_becomes_challenger(registry: Registry) -> None:
    registry.register("a", FAILING)
    again = registry.register("a", PASSING)
    assert (str(again.version), again.tags["verdict"]) == ("1", "passed")
    assert registry.aliases == {"champion": "1", "challenger": "1"}


def test_challenger_that_a_later_gate_refuses_loses_the_alias(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    registry.register("b", FAILING)
    assert registry.aliases == {"champion": "1", "challenger": "1"}


def test_there_is_no_challenger_where_no_version_passes_any_more(registry: Registry) -> None:
    registry.register("a")
    registry.register("a", FAILING)
    assert "challenger" not in registry.aliases


def test_measurement_is_cached_where_it_passed(registry: Registry) -> None:
    latency = Criterion(CriterionName.MAX_LATENCY_MS, 12.5, 300, True)
    version = registry.register("a", [*PASSING, latency])
    assert cached_measurement(version, CriterionName.MAX_LATENCY_MS) == 12.5
    assert cached_measurement(version, CriterionName.MAX_ECE) is None
    version = registry.register("a", [*PASSING, Criterion(CriterionName.MAX_LATENCY_MS, 12.5, 10, False)])
    assert cached_measurement(version, CriterionName.MAX_LATENCY_MS) is None
    assert cached_measurement(None, CriterionName.MAX_LATENCY_MS) is None


def test_promote_takes_the_challenger(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    assert registry.promote() == "2"
    assert registry.aliases == {"champion": "2", "challenger": "2"}
    assert registry.history == [FIRST, ("2", "promoted")]


def test_promote_takes_any_version_that_passed(registry: Registry) -> None:
    for digest in "abc":
        registry.register(digest)
    assert registry.promote("2") == "2"
    assert registry.aliases == {"champion": "2", "challenger": "3"}


def test_promoting_the_champion_changes_nothing(registry: Registry) -> None:
    registry.register("a")
    registry.promote("1")
    registry.promote()
    assert registry.history == [FIRST]


def test_promoting_a_refused_version_raises_and_names_the_criteria(registry: Registry) -> None:
    registry.register("a")
    registry.register("b", [*FAILING, Criterion(CriterionName.DATA_QUALITY, False, True, False)])
    with pytest.raises(GateRefusedError, match=r"version 2 .*min_macro_f1, data_quality.*--force --reason") as error:
        registry.promote("2")
    assert "\n" not in str(error.value)
    assert registry.aliases["champion"] == "1"


def test_force_promotes_a_refused_version_and_stores_the_reason(registry: Registry) -> None:
    registry.register("a")
    registry.register("b", FAILING)
    assert registry.promote("2", "the demo is tonight") == "2"
    assert registry.aliases["champion"] == "2"
    assert registry.history[-1] == ("2", "forced: the demo is tonight")
    assert {version.version: version.forced for version in registry.list()} == {"1": None, "2": "the demo is tonight"}


@pytest.mark.parametrize("version", ["99", "0", "-1", "two", "1.0", ""])
def test_promoting_a_missing_version_raises(registry: Registry, version: str) -> None:
    registry.register("a", FAILING)
    with pytest.raises(MusicGenreError, match=rf"no version {version};.*music-genre versions|has no challenger"):
        registry.promote(version)
    assert registry.aliases == {}


def test_promoting_without_a_challenger_raises(registry: Registry) -> None:
    registry.register("a", FAILING)
    with pytest.raises(MusicGenreError, match=r"no challenger.*--version"):
        registry.promote()


def test_reason_has_a_maximum_length_and_the_longest_fits_into_a_tag(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    for number in range(12):
        registry.promote(str(1 + (number + 1) % 2), "x" * MAX_REASON_CHARS)
    assert len(registry.history) == 13
    assert all(len(value) < 1000 for value in registry.client.get_registered_model(registry.name).tags.values())
    with pytest.raises(MusicGenreError, match="the reason has 501 characters"):
        registry.promote("2", "x" * (MAX_REASON_CHARS + 1))


def test_rollback_returns_to_the_previous_champion(registry: Registry) -> None:
    for digest in "abc":
        registry.register(digest)
    registry.promote("2")
    registry.promote("3")
    assert registry.rollback() == "2"
    assert registry.aliases == {"champion": "2", "challenger": "3"}
    assert registry.history[-1] == ("2", "rolled back from version 3")


def test_second_rollback_goes_one_further_back(registry: Registry) -> None:
    for digest in "abc":
        registry.register(digest)
    registry.promote("2")
    registry.promote("3")
    assert [registry.rollback(), registry.rollback()] == ["2", "1"]


def test_forced_champion_is_rolled_back(registry: Registry) -> None:
    registry.register("a")
    registry.register("b", FAILING)
    registry.promote("2", "a try")
    assert registry.rollback() == "1"


def test_rollback_from_the_first_champion_raises(registry: Registry) -> None:
    registry.register("a")
    with pytest.raises(MusicGenreError, match="no previous champion"):
        registry.rollback()
    assert registry.aliases["champion"] == "1"


def test_rollback_without_a_registered_model_raises(registry: Registry) -> None:
    with pytest.raises(MusicGenreError, match="no previous champion"):
        registry.rollback()


def test_rollback_skips_a_deleted_version(registry: Registry) -> None:
    for digest in "abc":
        registry.register(digest)
    registry.promote("2")
    registry.promote("3")
    registry.client.delete_model_version(registry.name, "2")
    assert registry.rollback() == "1"


def test_alias_moved_by_hand_is_part_of_the_history(registry: Registry) -> None:
    for digest in "abc":
        registry.register(digest)
    registry.client.set_registered_model_alias(registry.name, "champion", "3")
    assert registry.history == [FIRST, ("3", "alias moved by hand")]
    registry.promote("2")
    assert registry.history[1:] == [("3", "alias moved by hand"), ("2", "promoted")]
    assert registry.rollback() == "3"


def test_alias_moved_by_hand_is_rolled_back(registry: Registry) -> None:
    for digest in "ab":
        registry.register(digest)
    registry.client.set_registered_model_alias(registry.name, "champion", "2")
    assert registry.rollback() == "1"


def test_period_ends_when_the_next_begins(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    registry.promote("2")
    first, second = registry.periods()
    assert first.until == second.since
    assert second.until is None
    assert pd.Timestamp(first.since).tzinfo is not None


def test_period_ends_where_the_alias_was_removed_by_hand(registry: Registry) -> None:
    registry.register("a")
    registry.client.delete_registered_model_alias(registry.name, "champion")
    (period,) = registry.periods()
    assert period.until is not None


def test_next_passing_model_becomes_champion_where_the_alias_was_removed_by_hand(registry: Registry) -> None:
    registry.register("a")
    registry.client.delete_registered_model_alias(registry.name, "champion")
    assert champion(registry.client, registry.name) is None
    registry.register("b")
    assert registry.aliases["champion"] == "2"


def test_versions_are_listed_newest_first_by_number(registry: Registry) -> None:
    for digest in "abcdefghijk":
        registry.register(digest)
    listed = registry.list()
    assert [version.version for version in listed] == [str(number) for number in range(11, 0, -1)]
    assert listed[0].aliases == ["challenger"]
    assert listed[-1].aliases == ["champion"]


def test_nothing_is_listed_where_nothing_was_registered(registry: Registry) -> None:
    assert registry.list() == []
    assert registry.periods() == []
    assert champion(registry.client, registry.name) is None


def test_version_registered_by_hand_is_listed_and_needs_force(registry: Registry) -> None:
    registry.client.create_registered_model(registry.name)
    registry.client.create_model_version(
        registry.name, f"models:/{registry.ref.model_id}", model_id=registry.ref.model_id
    )
    (listed,) = registry.list()
    assert (listed.version, listed.verdict, listed.model) == ("1", "unknown", "unknown")
    with pytest.raises(GateRefusedError, match="no verdict"):
        registry.promote("1")


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_missing_alias_raises_and_says_what_to_do(registry: Registry, alias: str) -> None:
    with pytest.raises(MusicGenreError, match=rf"no {alias}: `dvc repro` .*`music-genre promote`") as error:
        resolve(registry.client, registry.name, alias)
    assert "\n" not in str(error.value)
    registry.register("a", FAILING)
    with pytest.raises(MusicGenreError, match=f"no {alias}"):
        resolve(registry.client, registry.name, alias)


@pytest.mark.parametrize("version", ["2", "0", "99999999999999999999"])
def test_missing_version_raises_and_says_how_to_list_them(registry: Registry, version: str) -> None:
    registry.register("a")
    with pytest.raises(MusicGenreError, match=f"no version {version}; `music-genre versions`"):
        resolve(registry.client, registry.name, version)


def test_version_is_resolved_by_alias_and_by_number(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    resolved = {key: str(resolve(registry.client, registry.name, key).version) for key in ("champion", "2")}
    assert resolved == {"champion": "1", "2": "2"}


def test_version_that_another_program_logged_has_no_bundle(registry: Registry) -> None:
    def predict(model_input: list[str]) -> list[str]:
        return model_input

    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="other", python_model=predict, pip_requirements=[])
    registry.client.create_registered_model(registry.name)
    version = registry.client.create_model_version(registry.name, f"models:/{info.model_id}", model_id=info.model_id)
    with pytest.raises(MusicGenreError, match="version 1 has no bundle: another program logged it"):
        download_bundle(version)


def test_shadow_statistics_add_up_until_the_champion_changes(registry: Registry) -> None:
    registry.register("a")
    registry.register("b")
    stats = ShadowStats(champion="1", n_predictions=3, n_agreed=2, champion_seconds=0.25, challenger_seconds=0.5)
    for _ in range(2):
        record_shadow(registry.client, registry.name, "2", stats)
    newest, oldest = registry.list()
    assert oldest.shadow is None
    assert str(newest.shadow) == "shadow of version 1: 4 of 6 predictions agree (67%), 167 ms each against 83 ms"
    other = stats.model_copy(update={"champion": "7"})
    record_shadow(registry.client, registry.name, "2", other)
    assert registry.list()[0].shadow == other


def test_shadow_tag_written_by_hand_is_ignored(registry: Registry) -> None:
    registry.register("a")
    registry.client.set_model_version_tag(registry.name, "1", SHADOW_TAG, '{"n_predictions": "many"}')
    assert registry.list()[0].shadow is None


def test_second_process_waits_for_the_registry_lock(tmp_path: Path) -> None:
    with registry_lock(tmp_path), pytest.raises(TimeoutError):
        registry_lock(tmp_path).acquire(timeout=0.1)


def test_champion_tells_how_its_genres_differ_from_the_one_before(registry: Registry) -> None:
    def changes(version: str) -> object:
        snapshot = take_snapshot(registry.client, registry.name)
        return genre_changes(snapshot, snapshot.resolve(version))

    registry.register("a")
    registry.register("b", genres=("Folk", "Jazz"))
    assert changes("2") == {"since": "1", "new": ["Jazz"], "gone": ["Rock"]}
    registry.promote("2")
    assert changes("2") == {"since": "1", "new": ["Jazz"], "gone": ["Rock"]}
    registry.register("c", genres=("Jazz", "Folk"))
    registry.promote("3")
    assert changes("3") is None
    first = registry.client.get_model_version(registry.name, "1")
    assert first.tags["genres"] == '["Folk", "Rock"]'


def test_version_tells_its_data_source_and_card(registry: Registry) -> None:
    registry.register("a", data_source="fma+sample", description="# Card")
    registry.client.create_model_version(registry.name, "file:///nowhere")
    by_hand, registered = take_snapshot(registry.client, registry.name).versions
    assert (registered.tags["data_source"], registered.description) == ("fma+sample", "# Card")
    assert ("data_source" in by_hand.tags, by_hand.description) == (False, "")
