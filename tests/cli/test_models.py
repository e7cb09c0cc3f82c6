"""``music-genre versions``, ``register``, ``promote`` and ``rollback``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from music_genre.pipeline import gate
from music_genre.registry.history import champion_periods
from music_genre.tracking import runs
from music_genre.validation.feedback import COLUMNS

Command = Callable[..., Any]

MODEL = "music-genre"
WRONG = {"Folk": "Rock", "Rock": "R&B", "R&B": "Folk"}


def strict_json(text: str) -> Any:
    """The value of a text that is JSON to every parser: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def aliases(command: Command) -> dict[str, list[str]]:
    return {version["version"]: version["aliases"] for version in strict_json(command("versions", "--json").out)}


def register_by_hand(folder: Path) -> None:
    """Register a version as MLflow's own pages do: it has no verdict of the gate."""
    model_id = json.loads((folder / "reports/runs/crnn.json").read_text())["model_id"]
    runs.connect(folder).create_model_version(MODEL, f"models:/{model_id}", model_id=model_id)


def set_gate(folder: Path, min_macro_f1: float) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["registry"]["gate"]["min_macro_f1"] = min_macro_f1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def set_evaluation(folder: Path, name: str, macro_f1: float, right: bool) -> None:
    """Change a model's evaluation: all its predictions are right, or all are wrong."""
    reports = folder / "reports/evaluation" / name
    metrics = json.loads((reports / "metrics.json").read_text())
    metrics["validation"] |= dict.fromkeys(("macro_f1", "macro_f1_low", "macro_f1_high"), macro_f1)
    metrics["validation"]["log_loss"] = 1 - macro_f1
    (reports / "metrics.json").write_text(json.dumps(metrics))
    table = pd.read_csv(reports / "predictions.csv")
    table["predicted"] = (
        table["actual"] if right else table["actual"].map({"Folk": "Rock", "Rock": "R&B", "R&B": "Folk"})
    )
    table.to_csv(reports / "predictions.csv", index=False)


def change_ensemble(folder: Path) -> None:
    """Make another model of the ensemble."""
    file = folder / "models/ensemble/ensemble.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"temperature": values["temperature"] * 1.1}))


@pytest.fixture
def with_challenger(writable_checkout: Path, command: Command) -> Path:
    """The working directory, where version 2 is challenger: an ensemble that is right where all others are wrong."""
    change_ensemble(writable_checkout)
    for name in ("crnn", "parallel"):
        set_evaluation(writable_checkout, name, 0.0, right=False)
    set_evaluation(writable_checkout, "ensemble", 0.9, right=True)
    gate.main()
    registered = command("register")
    assert registered.code == 0, registered.err
    assert registered.lines[-1] == "music-genre version 2: ensemble, passed by the gate"
    return writable_checkout


@pytest.fixture
def refused(writable_checkout: Path) -> Path:
    """The working directory, whose models the gate refuses."""
    set_gate(writable_checkout, 0.6)
    for name in ("baseline", "crnn", "parallel", "ensemble"):
        set_evaluation(writable_checkout, name, 0.25, right=False)
    gate.main()
    return writable_checkout


def test_json_has_the_fields_of_each_version(command: Command, in_checkout: Path) -> None:
    listed = command("versions", "--json")
    assert (listed.code, listed.err) == (0, "")
    (version,) = strict_json(listed.out)
    assert set(version) == {
        *("version", "aliases", "model", "validation_macro_f1", "test_macro_f1", "verdict", "created"),
        *("failed", "forced", "shadow", "feedback"),
    }
    assert (version["version"], version["aliases"], version["verdict"]) == ("1", ["challenger", "champion"], "passed")
    metrics = json.loads((in_checkout / f"reports/evaluation/{version['model']}/metrics.json").read_text())
    assert version["validation_macro_f1"] == metrics["validation"]["macro_f1"]
    assert version["test_macro_f1"] == metrics["test"]["macro_f1"]
    age = pd.Timestamp.now("UTC") - pd.Timestamp(version["created"])
    assert pd.Timedelta(0) <= age < pd.Timedelta("1h")


def test_tables_list_versions_and_champions(command: Command, in_checkout: Path) -> None:
    heading, version, empty, champions, champion = command("versions").lines
    columns = "version model verdict validation macro-F1 test macro-F1 created (UTC) aliases, notes"
    assert " ".join(heading.split()) == columns
    assert version.split()[0] == "1"
    assert version.rstrip().endswith("  challenger, champion")
    assert empty == ""
    assert champions.split() == ["champion", "from", "to", "reason"]
    assert champion.split()[0] == "1"
    assert champion.rstrip().endswith("now  the first to pass the gate")


def test_feedback_is_listed_with_its_version(command: Command, writable_checkout: Path) -> None:
    (writable_checkout / "settings.toml").write_text('request_log = "log"\n')
    assert (command("versions").code, strict_json(command("versions", "--json").out)[0]["feedback"]) == (0, None)
    (writable_checkout / "log").mkdir()
    rows = [("2030", str(n), "1", "Rock", genre, genre == "Rock") for n, genre in enumerate(["Rock"] * 3 + ["Folk"])]
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows]
    (writable_checkout / "log/feedback-1.jsonl").write_text("\n".join(lines))
    expected = "version 1 feedback: 3 of 4 predictions right (75%, 95 % interval 30% to 95%)"
    assert expected in command("versions").lines
    (version,) = strict_json(command("versions", "--json").out)
    assert version["feedback"] == {
        "version": "1",
        "n": 4,
        "n_right": 3,
        "accuracy": 0.75,
        "low": pytest.approx(0.3006, abs=1e-4),
        "high": pytest.approx(0.9544, abs=1e-4),
    }


def test_fresh_clone_has_no_versions_and_says_how_to_make_one(command: Command, in_clone: Path) -> None:
    listed = command("versions")
    assert listed.code == 0
    assert "`dvc repro`" in listed.out
    assert command("versions", "--json").out.strip() == "[]"


def test_version_registered_by_hand_has_no_verdict(command: Command, writable_checkout: Path) -> None:
    register_by_hand(writable_checkout)
    by_hand, _ = strict_json(command("versions", "--json").out)
    assert (by_hand["version"], by_hand["verdict"], by_hand["validation_macro_f1"]) == ("2", "unknown", None)
    listed = command("versions")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.lines[1:3]] == ["2", "1"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("register",), "`dvc repro`"),
        (("promote",), "no challenger"),
        (("promote", "--version", "1"), "no version 1"),
        (("rollback",), "no previous champion"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_in_a_fresh_clone_there_is_nothing_to_register_or_promote(
    command: Command, in_clone: Path, arguments: tuple[str, ...], reason: str
) -> None:
    assert reason in command(*arguments).reason


def test_registering_again_changes_nothing(command: Command, writable_checkout: Path) -> None:
    before = {path: path.read_bytes() for path in (writable_checkout / "reports/runs").iterdir()}
    assert len(before) == 4
    for _ in range(2):
        registered = command("register")
        assert (registered.code, registered.err) == (0, "")
        assert registered.lines[-1].startswith("music-genre version 1: ")
    assert aliases(command) == {"1": ["challenger", "champion"]}
    assert {path: path.read_bytes() for path in before} == before
    client = runs.connect(writable_checkout)
    store = client.get_experiment_by_name(runs.EXPERIMENT)
    recorded = client.search_runs([store.experiment_id])
    assert len(recorded) == 4
    for run in recorded:
        assert len(client.get_metric_history(run.info.run_id, "test_macro_f1")) == 1


@pytest.mark.parametrize(
    "lost",
    [
        "data/spectrograms/spectrogram.json",
        "models/crnn/model.keras",
        "models/ensemble/ensemble.json",
        "reports/evaluation/crnn/metrics.json",
        "reports/evaluation/crnn/predictions.csv",
        "reports/evaluation/comparison.csv",
        "reports/gate.json",
        "reports/data_quality/summary.json",
    ],
)
def test_registering_names_the_file_that_is_missing(command: Command, writable_checkout: Path, lost: str) -> None:
    (writable_checkout / lost).unlink()
    reason = command("register").reason
    assert str(Path(lost).parent) in reason
    assert "`dvc repro`" in reason


def test_refused_model_is_registered_without_alias_and_exits_with_3(command: Command, refused: Path) -> None:
    runs.connect(refused).delete_registered_model(MODEL)
    registered = command("register")
    assert registered.code == 3
    assert registered.err == "music-genre: the gate refused music-genre version 1\n"
    assert "FAILED  macro-F1 on validation 0.25 [0.25, 0.25] on 6 clips (at least 0.6)" in registered.out
    assert aliases(command) == {"1": []}
    written = json.loads((refused / "reports/registration.json").read_text())
    assert (written["version"], written["verdict"]) == ("1", "refused")
    assert "min_macro_f1" in [criterion["name"] for criterion in written["criteria"] if not criterion["passed"]]
    assert "failed min_macro_f1" in command("versions").out
    stopped = command("promote")
    assert (stopped.code, stopped.out) == (3, "")
    assert "no version has passed the gate; name one with --version" in stopped.err
    assert "no champion" in command("predict", "params.yaml").reason


def test_failed_data_checks_are_refused_by_name(command: Command, writable_checkout: Path) -> None:
    summary = writable_checkout / "reports/data_quality/summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"success": False}))
    gate.main()
    registered = command("register")
    assert registered.code == 3
    assert "FAILED  data checks" in registered.out


def test_challenger_becomes_champion_and_is_rolled_back(command: Command, with_challenger: Path) -> None:
    assert aliases(command) == {"1": ["champion"], "2": ["challenger"]}
    promoted = command("promote")
    assert (promoted.code, promoted.out) == (0, "music-genre version 2 is champion\n")
    assert aliases(command) == {"1": [], "2": ["challenger", "champion"]}
    restored = command("rollback")
    assert (restored.code, restored.out) == (0, "music-genre version 1 is champion again\n")
    assert aliases(command) == {"1": ["champion"], "2": ["challenger"]}
    assert command("promote", "--version", "2").code == 0
    assert aliases(command)["2"] == ["challenger", "champion"]


def test_version_that_did_not_pass_is_promoted_by_force_only(command: Command, writable_checkout: Path) -> None:
    register_by_hand(writable_checkout)
    stopped = command("promote", "--version", "2")
    assert (stopped.code, stopped.out) == (3, "")
    assert stopped.err.startswith("music-genre: version 2 ")
    assert "--force --reason" in stopped.err
    assert aliases(command)["2"] == []
    forced = command("promote", "--version", "2", "--force", "--reason", "the demo is tonight")
    assert (forced.code, forced.out) == (0, "music-genre version 2 is champion\n")
    latest = champion_periods(runs.connect(writable_checkout), MODEL)[-1]
    assert (latest.version, latest.reason) == ("2", "forced: the demo is tonight")
    assert "forced: the demo is tonight" in command("versions").out


def test_unknown_version_and_first_champion_are_one_line(command: Command, in_checkout: Path) -> None:
    assert "no version 9" in command("promote", "--version", "9").reason
    assert "no previous champion" in command("rollback").reason
    assert aliases(command) == {"1": ["challenger", "champion"]}
