"""Stage ``spectrograms`` when it is interrupted, when a collection changes, and when a clip fails."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]


def run_stages(folder: Path, *names: str) -> None:
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", f"music_genre.pipeline.{name}"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def digests(folder: Path) -> dict[str, str]:
    files = sorted((folder / "data/spectrograms").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def splits_of(folder: Path) -> pd.Series:
    return pd.read_parquet(folder / "data/splits.parquet").set_index("track_id")["split"]


def cached_shards(folder: Path) -> dict[str, float]:
    """The finished shards of the cache, and when they were written."""
    finished = (folder / ".cache/spectrograms").glob("*.json")
    return {file.stem: file.with_suffix(".npy").stat().st_mtime for file in finished}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, describe_short_clips: Callable[..., None]) -> Path:
    """60 noises of two genres, split, not yet turned into spectrograms."""
    folder, rng = tmp_path_factory.mktemp("collection"), np.random.default_rng(0)
    describe_short_clips(folder, source="folder", folder={"path": "music"})
    for number in range(60):
        path = folder / "music" / ("Hiss", "Hum")[number % 2] / f"{number:02d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 2 * 22_050), 22_050)
    run_stages(folder, "scan", "fetch", "inspect", "split")
    shutil.rmtree(folder / ".cache/spectrograms")  # as if they were of another transform
    return folder


@pytest.fixture(scope="module")
def finished(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after the stage; to be read only."""
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    shutil.copytree(collection, folder)
    run_stages(folder, "spectrograms")
    return folder


@pytest.fixture
def checkout(collection: Path, tmp_path: Path) -> Path:
    shutil.copytree(collection, tmp_path / "checkout")
    return tmp_path / "checkout"


def test_killed_run_resumes_from_finished_shards_to_the_same_bytes(
    finished: Path, checkout: Path, kill_stage: Callable[[Path, str, Callable[[], object]], None]
) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet").set_index("track_id")["path"]
    splits = splits_of(checkout)
    last = checkout / "data/audio" / tracks[splits.index[splits == "test"].max()]
    content = last.read_bytes()
    last.unlink()
    os.mkfifo(last)  # whoever opens it waits, so that the stage cannot end before it is killed
    kill_stage(checkout, "spectrograms", lambda: cached_shards(checkout))
    last.unlink()
    last.write_bytes(content)
    assert not (checkout / "data/spectrograms/index.parquet").exists()
    before = cached_shards(checkout)
    run_stages(checkout, "spectrograms")
    assert before
    assert before.items() <= cached_shards(checkout).items()
    assert digests(checkout) == digests(finished)


def test_changed_recording_changes_no_shard_but_those_of_its_old_and_its_new_split(
    finished: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(finished, checkout)
    before, shards, old = digests(checkout), cached_shards(checkout), splits_of(checkout)
    track = pd.read_parquet(checkout / "data/tracks.parquet").iloc[0]
    song = checkout / track["path"].removeprefix("folder/")
    soundfile.write(song, np.random.default_rng(9).normal(0, 0.1, 50_000), 22_050)
    run_stages(checkout, "scan", "fetch", "inspect", "split", "spectrograms")
    new = splits_of(checkout)
    (added,) = set(new.index) - set(old.index)
    assert set(old.index) - set(new.index) == {track["track_id"]}
    assert new.drop(added).equals(old.drop(track["track_id"]))
    changed = {name for name, digest in digests(checkout).items() if before[name] != digest}
    touched = {old[track["track_id"]], new[added]}
    assert changed == {"index.parquet", *(f"{split}-00000.npy" for split in touched)}
    assert len(cached_shards(checkout).items() & shards.items()) == len(shards) - len(touched)


def test_only_new_clips_of_a_grown_collection_are_extracted(finished: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(finished, checkout)
    new, before = "00 new.flac", splits_of(checkout)
    soundfile.write(checkout / "music/Hiss" / new, np.random.default_rng(9).normal(0, 0.1, 50_000), 22_050)
    run_stages(checkout, "scan", "fetch", "inspect", "split")
    assert splits_of(checkout)[before.index].equals(before)
    fresh = tmp_path / "fresh"
    shutil.copytree(checkout, fresh, ignore=shutil.ignore_patterns(".cache"))
    run_stages(fresh, "spectrograms")
    for clip in (checkout / "data/audio").rglob("*.flac"):
        if clip.name != new:
            clip.unlink()
    run_stages(checkout, "spectrograms")
    assert digests(checkout) == digests(fresh)
    assert len(cached_shards(checkout)) == len(cached_shards(fresh))


def test_clip_that_fails_after_inspection_is_dropped_and_reported(checkout: Path) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet")
    (checkout / "data/audio" / tracks["path"].iloc[3]).write_text("no audio any more")
    shutil.rmtree(checkout / ".cache/spectrograms", ignore_errors=True)
    run_stages(checkout, "spectrograms", "validate")
    faults = pd.read_csv(checkout / "data/faults.csv")
    assert faults[["track_id", "severity", "reason"]].to_numpy().tolist() == [
        [tracks["track_id"].iloc[3], "dropped", "undecodable"]
    ]
    assert faults["path"].tolist() == [tracks["path"].iloc[3]]
    assert len(pd.read_parquet(checkout / "data/spectrograms/index.parquet")) == len(tracks) - 1


def test_too_many_clips_that_fail_after_inspection_stop_the_run(checkout: Path) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet")
    for path in tracks["path"].iloc[:10]:
        (checkout / "data/audio" / path).write_text("no audio any more")
    shutil.rmtree(checkout / ".cache/spectrograms", ignore_errors=True)
    run_stages(checkout, "spectrograms")
    command = [sys.executable, "-m", "music_genre.pipeline.validate"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"10 of {len(tracks)} tracks cannot be used, data.max_skipped_fraction allows 10%" in done.stderr
    assert len(pd.read_csv(checkout / "data/faults.csv")) == 10
