"""``music-genre retrain``: what it says, whom it promotes, and that it goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from music_genre.cli import retrain
from music_genre.paths import ProjectPaths
from music_genre.registry import versions
from music_genre.registry.shadow import ShadowStats
from music_genre.settings import load_settings
from music_genre.tracking import runs

Command = Callable[..., Any]

MODEL = "music-genre"
STATS = ShadowStats(champion="1", n_predictions=5, n_agreed=4, champion_seconds=1, challenger_seconds=1)


@pytest.fixture
def no_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline has nothing to do; its own tests run it."""
    monkeypatch.setattr(retrain, "run_pipeline", lambda project: None)


@pytest.fixture
def challenger(writable_checkout: Path) -> Path:
    """The checkout with version 2 as challenger of version 1."""
    client = runs.connect(writable_checkout)
    first = client.get_model_version(MODEL, "1")
    tags = {"verdict": "passed", "model": "crnn", "model_digest": "b"}
    client.create_model_version(MODEL, first.source, run_id=first.run_id, tags=tags)
    client.set_registered_model_alias(MODEL, "challenger", "2")
    return writable_checkout


def add_evidence(folder: Path, n_feedback: int, challenger_right: int) -> None:
    """Five recordings in shadow mode; the champion is right on two of those with feedback."""
    versions.record_shadow(runs.connect(folder), MODEL, "2", STATS)
    log = folder / "requests"
    log.mkdir()
    for number in range(n_feedback):
        common = {"time": f"2030-01-01T00:00:0{number}", "request_id": str(number)}
        shadow = common | {"version": "2", "genre": "Rock" if number < challenger_right else "Folk"}
        judged = common | {"version": "1", "predicted": "Rock", "genre": "Rock", "right": number < 2}
        for name, line in (("shadow", shadow), ("feedback", judged)):
            with (log / f"{name}-1.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


def consider(folder: Path, **settings: object) -> retrain.Promotion | None:
    own = load_settings(folder).model_copy(
        update={"request_log": folder / "requests", "promote_min_shadow": 5, "promote_min_feedback": 3} | settings
    )
    return retrain.consider_promotion(runs.connect(folder), MODEL, ProjectPaths(folder), own)


@pytest.mark.usefixtures("no_dvc")
def test_summary_says_that_nothing_changed(writable_checkout: Path, command: Command) -> None:
    finished = command("retrain")
    assert finished.code == 0
    summary = (writable_checkout / "reports/retrain.md").read_text()
    assert summary in finished.out
    n_tracks = len(retrain.read_genres(ProjectPaths(writable_checkout)))
    assert f"- Collection: {n_tracks} tracks, 0 new, 0 gone, 0 with another genre." in summary
    assert "version 1; it needs no promotion." in summary
    assert "- Champion: version 1, before 1." in summary
    assert not (writable_checkout / ".cache/retrain.json").exists()


def test_what_stage_register_did_is_not_done_again(
    writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(project: ProjectPaths) -> None:
        raise AssertionError("registered twice")

    monkeypatch.setattr("music_genre.pipeline.register.register_selected", refuse)
    monkeypatch.setattr(retrain, "run_pipeline", lambda project: project.registration.touch())
    finished = command("retrain")
    assert finished.code == 0
    assert "version 1; it needs no promotion." in finished.out


@pytest.mark.usefixtures("no_dvc")
def test_killed_job_goes_on_with_what_it_began_with(
    writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(project: ProjectPaths) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "run_pipeline", kill)
        with pytest.raises(Killed):
            command("retrain")
    file = writable_checkout / ".cache/retrain.json"
    began = json.loads(file.read_text())
    began["genres"].popitem()  # as if a track had come since
    file.write_text(json.dumps(began))
    finished = command("retrain")
    assert finished.lines[0] == f"Going on with the job of {began['begun']}"
    assert f"{len(began['genres']) + 1} tracks, 1 new, 0 gone, 0 with another genre" in finished.out


@pytest.mark.usefixtures("no_dvc")
def test_refusal_by_the_gate_is_exit_code_3_and_the_champion_stays(
    writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("music_genre.registry.gate.GateResult.failed", property(lambda self: ["min_macro_f1"]))
    finished = command("retrain")
    assert finished.code == 3
    assert "the champion stays" in finished.err
    assert (writable_checkout / "reports/retrain.md").is_file()


def test_two_at_once_are_refused(writable_checkout: Path, command: Command) -> None:
    with FileLock(writable_checkout / ".cache/retrain.lock"):
        assert "another retrain is running in this checkout" in command("retrain").reason


def test_pipeline_that_fails_is_one_line_and_the_job_stays(
    writable_checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_, **__: type("Done", (), {"returncode": 1}))
    finished = command("retrain")
    assert finished.code == 1
    assert "dvc repro failed; call retrain again once its cause is mended: it goes on from there" in finished.err
    assert (writable_checkout / ".cache/retrain.json").is_file()


def test_challenger_is_not_promoted_without_being_asked(challenger: Path) -> None:
    add_evidence(challenger, 4, 4)
    promotion = consider(challenger)
    assert promotion is not None
    assert promotion.obstacle == "`music-genre promote` does it"
    assert versions.champion(runs.connect(challenger), MODEL) == "1"


@pytest.mark.parametrize(
    ("n_feedback", "challenger_right", "obstacle"),
    [(4, 2, ""), (4, 1, "right on 1 of 4, the champion on 2"), (2, 2, "feedback on 2 of them, 3 are needed")],
)
def test_challenger_is_promoted_by_itself_only_where_the_evidence_allows_it(
    challenger: Path, n_feedback: int, challenger_right: int, obstacle: str
) -> None:
    add_evidence(challenger, n_feedback, challenger_right)
    promotion = consider(challenger, promote="automatic")
    assert promotion is not None
    assert promotion.obstacle == obstacle
    assert versions.champion(runs.connect(challenger), MODEL) == ("1" if obstacle else "2")


def test_no_challenger_is_no_promotion(writable_checkout: Path) -> None:
    assert consider(writable_checkout, promote="automatic") is None


def test_changes_of_a_collection_are_counted() -> None:
    described = retrain.describe_changes({"1": "Rock", "2": "Folk"}, {"2": "Rock", "3": "Folk", "4": "Folk"})
    assert described == "3 tracks, 2 new, 1 gone, 1 with another genre"
