"""The ``spectrograms`` stage when it is interrupted, and when a collection changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

pytestmark = pytest.mark.pipeline


def stage(folder: Path, *names: str) -> None:
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", f"music_genre.pipeline.{name}"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def digests(folder: Path) -> dict[str, str]:
    files = sorted((folder / "data/spectrograms").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stored(folder: Path) -> dict[str, float]:
    """Finished shards outside the out, which are those with a description, and the time of their making."""
    described = (folder / ".cache/spectrograms").glob("*.json")
    return {file.stem: file.with_suffix(".npy").stat().st_mtime for file in described}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, describe_short_clips: Callable[..., None]) -> Path:
    """60 noises of two genres, split, not yet turned into spectrograms."""
    folder, random = tmp_path_factory.mktemp("collection"), np.random.default_rng(0)
    describe_short_clips(folder, source="folder", folder={"path": "music"})
    for number in range(60):
        path = folder / "music" / ("Hiss", "Hum")[number % 2] / f"{number:02d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, random.normal(0, 0.1, 2 * 22_050), 22_050)
    stage(folder, "fetch", "index", "split")
    return folder


@pytest.fixture(scope="module")
def finished(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after the stage; to be read only."""
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    shutil.copytree(collection, folder)
    stage(folder, "spectrograms")
    return folder


@pytest.fixture
def checkout(collection: Path, tmp_path: Path) -> Path:
    shutil.copytree(collection, tmp_path / "checkout")
    return tmp_path / "checkout"


def test_a_killed_run_goes_on_from_its_finished_shards_to_the_same_bytes(finished: Path, checkout: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "music_genre.pipeline.spectrograms"],
        cwd=checkout,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not list((checkout / ".cache/spectrograms").glob("*.json")):
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (checkout / "data/spectrograms/index.parquet").exists()
    before = stored(checkout)
    stage(checkout, "spectrograms")
    assert before
    assert before.items() <= stored(checkout).items()
    assert digests(checkout) == digests(finished)


def test_a_changed_track_makes_its_own_shard_anew_and_no_other(finished: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(finished, checkout)
    before, made = digests(checkout), stored(checkout)
    splits = pd.read_parquet(checkout / "data/splits.parquet").set_index("track_id")["split"]
    track = pd.read_parquet(checkout / "data/tracks.parquet").iloc[0]
    soundfile.write(checkout / "data/raw" / track["path"], np.random.default_rng(9).normal(0, 0.1, 50_000), 22_050)
    stage(checkout, "index", "split", "spectrograms")
    assert pd.read_parquet(checkout / "data/splits.parquet").set_index("track_id")["split"].equals(splits)
    changed = {name for name, digest in digests(checkout).items() if before[name] != digest}
    assert changed == {f"{splits[track['track_id']]}-00000.npy", "index.parquet"}
    assert len(stored(checkout).items() & made.items()) == len(made) - 1


def test_of_a_collection_that_has_grown_only_the_new_clip_is_heard(finished: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(finished, checkout)
    # It comes first of all: every other track gets another id, and the splits are dealt anew.
    new = "00 new.flac"
    soundfile.write(checkout / "music/Hiss" / new, np.random.default_rng(9).normal(0, 0.1, 50_000), 22_050)
    stage(checkout, "fetch", "index", "split")
    afresh = tmp_path / "afresh"
    shutil.copytree(checkout, afresh, ignore=shutil.ignore_patterns(".cache"))
    stage(afresh, "spectrograms")
    for clip in (checkout / "data/raw").rglob("*.flac"):
        if clip.name != new:
            clip.unlink()
    stage(checkout, "spectrograms")
    assert digests(checkout) == digests(afresh)
    assert len(stored(checkout)) == len(stored(afresh))


def test_a_clip_that_fails_late_becomes_a_fault_and_the_others_go_on(checkout: Path) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet")
    (checkout / "data/raw" / tracks["path"].iloc[3]).write_text("no sound any more")
    shutil.rmtree(checkout / ".cache/spectrograms", ignore_errors=True)
    stage(checkout, "spectrograms")
    faults = pd.read_csv(checkout / "data/spectrograms/faults.csv")
    assert faults[["track_id", "severity", "reason"]].to_numpy().tolist() == [
        [tracks["track_id"].iloc[3], "dropped", "undecodable"]
    ]
    assert len(pd.read_parquet(checkout / "data/spectrograms/index.parquet")) == len(tracks) - 1
