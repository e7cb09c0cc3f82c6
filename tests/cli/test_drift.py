"""``music-genre drift``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from music_genre.features.store import SpectrogramStore

Command = Callable[..., Any]


@pytest.fixture
def requests(writable_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Requests whose clips are those of the collection."""
    monkeypatch.setenv("MUSIC_GENRE_DRIFT_MIN_REQUESTS", "20")
    index = SpectrogramStore.open(writable_checkout / "data/spectrograms").index
    return index.assign(time="2030", version="1", request_id=index["track_id"].astype(str))


def write_log(folder: Path, requests: pd.DataFrame) -> None:
    folder.mkdir(exist_ok=True)
    requests.to_json(folder / "requests-1.jsonl", orient="records", lines=True)


def test_requests_like_the_training_clips_are_no_drift(
    command: Command, writable_checkout: Path, requests: pd.DataFrame
) -> None:
    write_log(writable_checkout / "log", requests)
    compared = command("drift", "--log", "log")
    assert compared.code == 0
    assert "No drift." in compared.out
    assert "No drift." in (writable_checkout / "reports/drift/index.html").read_text()


def test_page_shows_the_feedback_in_the_log(command: Command, writable_checkout: Path, requests: pd.DataFrame) -> None:
    write_log(writable_checkout / "log", requests)
    row = {"time": "2030", "request_id": "1", "version": "1", "predicted": "Rock", "genre": "Folk", "right": False}
    (writable_checkout / "log/feedback-1.jsonl").write_text(json.dumps(row))
    assert command("drift", "--log", "log").code == 0
    assert "Accuracy on requests with feedback" in (writable_checkout / "reports/drift/index.html").read_text()


def test_drift_exits_with_3_and_names_what_drifted(
    command: Command, writable_checkout: Path, requests: pd.DataFrame
) -> None:
    write_log(writable_checkout / "log", requests.assign(mean_db=requests["mean_db"] - 12, n_mels=16))
    compared = command("drift", "--log", "log")
    assert compared.code == 3
    assert "Drift in mean_db, expectations." in compared.out
    assert "requests.n_mels" in compared.out
    assert "Drift in mean_db, expectations." in (writable_checkout / "reports/drift/index.html").read_text()
    assert (writable_checkout / "reports/drift/checks/index.html").is_file()


def test_too_few_requests_are_not_compared(command: Command, writable_checkout: Path, requests: pd.DataFrame) -> None:
    write_log(writable_checkout / "log", requests.head(5))
    compared = command("drift", "--log", "log")
    assert compared.code == 0
    assert "at least 20 are needed" in compared.out
    assert not (writable_checkout / "reports/drift/index.html").exists()


def test_log_folder_is_a_setting(
    command: Command, writable_checkout: Path, requests: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(writable_checkout / "elsewhere", requests)
    (writable_checkout / "settings.toml").write_text('request_log = "elsewhere"\n')
    assert "No drift." in command("drift").out


def test_without_a_log_the_reason_says_how_to_have_one(command: Command, in_checkout: Path) -> None:
    assert "MUSIC_GENRE_REQUEST_LOG" in command("drift").reason


def test_requests_of_an_unknown_version_are_refused(
    command: Command, writable_checkout: Path, requests: pd.DataFrame
) -> None:
    write_log(writable_checkout / "log", requests.assign(version="9"))
    assert "version 9" in command("drift", "--log", "log").reason


def test_log_that_is_no_folder_is_refused(command: Command, in_checkout: Path) -> None:
    for log in ("nowhere", "params.yaml"):
        assert f"there is no request log: {log} is not a folder" in command("drift", "--log", log).reason


def test_log_is_relative_to_the_working_directory(
    command: Command, writable_checkout: Path, requests: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(writable_checkout / "reports/log", requests)
    monkeypatch.chdir(writable_checkout / "reports")
    assert "No drift." in command("drift", "--log", "log").out
