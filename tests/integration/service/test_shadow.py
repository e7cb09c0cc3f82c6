"""A challenger in the shadow: it answers unseen, and what it would have said is counted and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from music_genre.registry.shadow import ShadowStats, read_shadow

pytestmark = pytest.mark.service

Samples = Callable[[], dict[tuple[str, frozenset[tuple[str, str]]], float]]


@pytest.fixture
def content(checkout: Path) -> bytes:
    return (checkout / "music/Rock/1.mp3").read_bytes()


def until(happened: Callable[[], bool]) -> None:
    for _ in range(600):
        if happened():
            return
        time.sleep(0.1)
    pytest.fail("it never happened")


def compared(samples: Samples, challenger: str) -> dict[str, float]:
    """How often the challenger's answers were what, over all workers."""
    found: dict[str, float] = {}
    for (name, pairs), value in samples().items():
        labels = dict(pairs)
        if name == "music_genre_shadow_total" and labels["challenger"] == challenger:
            found[labels["result"]] = found.get(labels["result"], 0) + value
    return found


def versions(folder: Path, *arguments: str) -> str:
    """What ``music-genre versions`` prints there."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-m", "music_genre.cli", "versions", *arguments]
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=True).stdout


def test_a_challenger_answers_unseen_and_versions_tell_how_it_did(
    served_folder: Path,
    client: MlflowClient,
    ask: Callable[..., httpx.Response],
    samples: Samples,
    add_version: Callable[..., str],
    make_challenger: Callable[[str], None],
    content: bytes,
) -> None:
    expected = ask(content).json()
    # Two genres change their names: this challenger never agrees about a clip of one of them.
    genres = list(expected["probabilities"])
    named = genres.index(expected["genre"])
    genres[named], genres[named - 1] = genres[named - 1], genres[named]
    version = add_version(genres=genres)
    make_challenger(version)
    close = {name: pytest.approx(expected[name], abs=1e-5) for name in ("confidence", "probabilities")}

    def often_enough() -> bool:
        assert ask(content).json() == expected | close
        return sum(compared(samples, version).values()) >= 8

    until(often_enough)
    assert set(compared(samples, version)) <= {"differed", "passed over"}
    until(lambda: (kept := kept_of(client, version)) is not None and kept.n_predictions >= 4)
    shadow = told(served_folder, version)
    assert shadow["n_predictions"] >= 4
    assert shadow["champion"] == expected["model"]["version"]
    assert shadow["n_agreed"] == 0
    assert 0 < shadow["challenger_seconds"] < 60 * shadow["n_predictions"]
    assert 0 < shadow["champion_seconds"] < 60 * shadow["n_predictions"]
    assert f"version {version} shadow of version {shadow['champion']}: 0 of " in versions(served_folder)


def kept_of(client: MlflowClient, version: str) -> ShadowStats | None:
    """What the registry knows by now of a version's shadow; the command that tells it takes a second to begin."""
    return read_shadow(client.get_model_version("music-genre", version).tags)


def told(folder: Path, version: str) -> Any:
    """What ``music-genre versions --json`` says of a version's shadow."""
    return {known["version"]: known["shadow"] for known in json.loads(versions(folder, "--json"))}[version]


def test_a_challenger_with_another_transform_gets_features_of_its_own(
    ask: Callable[..., httpx.Response],
    samples: Samples,
    add_version: Callable[..., str],
    make_challenger: Callable[[str], None],
    content: bytes,
    server: httpx.Client,
) -> None:
    transform = server.get("/model").json()["transform"]
    version = add_version(transform={**transform, "sample_rate_hz": 24_000})
    make_challenger(version)

    def compared_once() -> bool:
        assert ask(content).status_code == 200
        return bool({"agreed", "differed"} & compared(samples, version).keys())

    until(compared_once)
    assert "failed" not in compared(samples, version)


def test_a_challenger_that_cannot_be_served_is_told_and_costs_nobody_an_answer(
    ask: Callable[..., httpx.Response],
    log: Path,
    samples: Samples,
    add_version: Callable[..., str],
    make_challenger: Callable[[str], None],
    content: bytes,
) -> None:
    seen = len(log.read_text())
    version = add_version(shape=[3, 5])
    make_challenger(version)
    until(lambda: "The challenger does not answer" in log.read_text()[seen:])
    assert ask(content).status_code == 200
    assert compared(samples, version) == {}
