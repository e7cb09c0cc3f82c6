"""Shadow mode: the challenger's predictions are not returned, and compared with the champion's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from music_genre.registry.shadow import ShadowStats, read_shadow
from music_genre.service import schemas

pytestmark = pytest.mark.service

Samples = Callable[[], dict[tuple[str, frozenset[tuple[str, str]]], float]]


def comparisons(samples: Samples, challenger: str) -> dict[str, float]:
    """The number of comparisons with a challenger by result, over all workers."""
    counts: dict[str, float] = {}
    for (name, pairs), value in samples().items():
        labels = dict(pairs)
        if name == "music_genre_shadow_total" and labels["challenger"] == challenger:
            counts[labels["result"]] = counts.get(labels["result"], 0) + value
    return counts


def versions_command(folder: Path, *arguments: str) -> str:
    """The output of ``music-genre versions`` there."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-m", "music_genre.cli", "versions", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def stored_stats(client: MlflowClient, version: str) -> ShadowStats | None:
    """The statistics of a version in the registry."""
    return read_shadow(client.get_model_version("music-genre", version).tags)


def listed_stats(folder: Path, version: str) -> Any:
    """The statistics of a version as ``music-genre versions --json`` lists them."""
    versions = json.loads(versions_command(folder, "--json"))
    return {item["version"]: item["shadow"] for item in versions}[version]


@pytest.mark.slow
def test_challengers_predictions_are_compared_but_not_returned(
    served_folder: Path,
    client: MlflowClient,
    predict: Callable[..., httpx.Response],
    samples: Samples,
    add_version: Callable[..., str],
    set_challenger: Callable[[str], None],
    wait_until: Callable[..., None],
    rock_mp3: bytes,
) -> None:
    expected = predict(rock_mp3).json()
    # With two genres swapped, this challenger never agrees about a clip of one of them.
    genres = list(expected["probabilities"])
    index = genres.index(expected["genre"])
    genres[index], genres[index - 1] = genres[index - 1], genres[index]
    version = add_version(genres=genres)
    set_challenger(version)
    close = {name: pytest.approx(expected[name], abs=1e-5) for name in ("confidence", "probabilities")}

    def was_compared_often() -> bool:
        prediction = predict(rock_mp3).json()
        assert prediction == expected | close | {"request_id": prediction["request_id"]}
        return sum(comparisons(samples, version).values()) >= 8

    wait_until(was_compared_often)
    assert set(comparisons(samples, version)) <= {"differed", "skipped"}
    wait_until(lambda: (stats := stored_stats(client, version)) is not None and stats.n_predictions >= 4)
    stats = listed_stats(served_folder, version)
    assert stats["n_predictions"] >= 4
    assert stats["champion"] == expected["model"]["version"]
    assert stats["n_agreed"] == 0
    assert 0 < stats["challenger_seconds"] < 60 * stats["n_predictions"]
    assert 0 < stats["champion_seconds"] < 60 * stats["n_predictions"]
    assert f"shadow of version {stats['champion']}: 0 of " in versions_command(served_folder)


def test_challenger_is_returned_beside_the_champion_where_that_is_asked_for(
    predict: Callable[..., httpx.Response],
    add_version: Callable[..., str],
    set_challenger: Callable[[str], None],
    wait_until: Callable[..., None],
    rock_mp3: bytes,
    server: httpx.Client,
) -> None:
    expected = predict(rock_mp3).json()
    genres = [f"{genre} too" for genre in expected["probabilities"]]
    version = add_version(genres=genres)
    set_challenger(version)
    wait_until(lambda: "challenger" in predict(rock_mp3, compare="true").json())
    answer = predict(rock_mp3, compare="true").json()["challenger"]
    schemas.ChallengerPrediction.model_validate(answer, extra="forbid")
    assert (answer["version"], answer["genre"]) == (version, f"{expected['genre']} too")
    assert list(answer["probabilities"]) == genres
    assert answer["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)
    wait_until(lambda: server.get("/model").json()["challenger"] == version)


def test_challenger_with_another_transform_gets_features_of_its_own(
    predict: Callable[..., httpx.Response],
    samples: Samples,
    add_version: Callable[..., str],
    set_challenger: Callable[[str], None],
    wait_until: Callable[..., None],
    rock_mp3: bytes,
    server: httpx.Client,
) -> None:
    transform = server.get("/model").json()["transform"]
    version = add_version(transform={**transform, "sample_rate_hz": 24_000})
    set_challenger(version)

    def was_compared() -> bool:
        assert predict(rock_mp3).status_code == 200
        return bool({"agreed", "differed"} & comparisons(samples, version).keys())

    wait_until(was_compared)
    assert "failed" not in comparisons(samples, version)


def test_incompatible_challenger_is_logged_and_fails_no_request(
    predict: Callable[..., httpx.Response],
    server_log: Path,
    samples: Samples,
    add_version: Callable[..., str],
    set_challenger: Callable[[str], None],
    wait_until: Callable[..., None],
    rock_mp3: bytes,
) -> None:
    n_logged = len(server_log.read_text())
    version = add_version(shape=[3, 5])
    set_challenger(version)
    wait_until(lambda: "Shadow mode has no challenger" in server_log.read_text()[n_logged:])
    assert predict(rock_mp3).status_code == 200
    assert comparisons(samples, version) == {}
