"""Recordings are decoded once, whichever workers do it, and whatever becomes of them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

N_CLIPS = 200  # more than a write to the cache has


def command(stage: str) -> list[str]:
    return [sys.executable, "-m", f"music_genre.pipeline.{stage}"]


def run_stages(folder: Path, *stages: str) -> None:
    for stage in stages:
        done = subprocess.run(command(stage), cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def digests(folder: Path) -> dict[str, str]:
    files = [folder / "data/tracks.parquet", folder / "data/inspection.csv"]
    files += [file for part in ("spectrograms", "embeddings") for file in (folder / "data" / part).rglob("*.*")]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def n_described(folder: Path) -> int:
    """How many recordings the cache describes."""
    files = (folder / ".cache/inspect").glob("recordings-*.jsonl")
    return sum(line != "" for file in files for line in file.read_text(encoding="utf-8").splitlines())


def hide_audio(folder: Path) -> None:
    """What is decoded after this fails."""
    for file in (folder / "data/audio").rglob("*.flac"):
        file.unlink()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, describe_short_clips: Callable[..., None]) -> Path:
    """Noises of two genres, copied, not yet inspected."""
    folder, rng = tmp_path_factory.mktemp("collection"), np.random.default_rng(0)
    describe_short_clips(folder, source="folder", folder={"path": "music"})
    for number in range(N_CLIPS):
        path = folder / "music" / ("Hiss", "Hum")[number % 2] / f"{number:03d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 12 * 22_050), 22_050)
    run_stages(folder, "scan", "fetch", "encoders")
    return folder


@pytest.fixture(scope="module")
def finished(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with spectrograms and embeddings, by workers of this machine; to be read only."""
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    shutil.copytree(collection, folder)
    run_stages(folder, "inspect", "split", "spectrograms", "embeddings")
    return folder


@pytest.fixture
def checkout(collection: Path, tmp_path: Path) -> Path:
    shutil.copytree(collection, tmp_path / "checkout")
    return tmp_path / "checkout"


def test_what_was_inspected_is_not_decoded_again_for_its_spectrogram(finished: Path, checkout: Path) -> None:
    run_stages(checkout, "inspect", "split")
    hide_audio(checkout)
    run_stages(checkout, "spectrograms", "embeddings")
    assert digests(checkout) == digests(finished)


def test_killed_inspection_goes_on_and_gives_the_same_bytes(
    finished: Path, checkout: Path, kill_stage: Callable[[Path, str, Callable[[], object]], None]
) -> None:
    kill_stage(checkout, "inspect", lambda: n_described(checkout))
    before = n_described(checkout)
    assert 0 < before < N_CLIPS
    kept = {file: file.stat().st_mtime_ns for file in (checkout / ".cache").rglob("new-*.npy")}
    assert {file.parent.name for file in kept} == {"spectrograms", "musicnn"}
    run_stages(checkout, "inspect")
    assert n_described(checkout) == N_CLIPS
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    run_stages(checkout, "split", "spectrograms", "embeddings")
    assert digests(checkout) == digests(finished)


def test_killed_embeddings_go_on_and_give_the_same_bytes(
    finished: Path, checkout: Path, kill_stage: Callable[[Path, str, Callable[[], object]], None]
) -> None:
    cache = checkout / ".cache/embeddings/musicnn"
    run_stages(checkout, "inspect", "split", "spectrograms")
    shutil.rmtree(cache)  # as if the encoder were another
    kill_stage(checkout, "embeddings", lambda: any(cache.glob("*.json")))
    assert not (checkout / "data/embeddings/musicnn/embedding.json").exists()
    kept = {file: file.stat().st_mtime_ns for file in cache.glob("*.npy")}
    run_stages(checkout, "embeddings")
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert digests(checkout) == digests(finished)


def test_other_transform_decodes_again_without_inspecting(checkout: Path) -> None:
    run_stages(checkout, "inspect", "split", "spectrograms")
    described = (checkout / ".cache/inspect/recordings-2.jsonl").stat().st_mtime_ns
    params = (checkout / "params.yaml").read_text(encoding="utf-8")
    (checkout / "params.yaml").write_text(re.sub(r"n_mels: \d+", "n_mels: 24", params), encoding="utf-8")
    run_stages(checkout, "spectrograms")
    shard = np.load(next((checkout / "data/spectrograms").glob("*.npy")), mmap_mode="r")
    assert shard.shape[2] == 24
    assert (checkout / ".cache/inspect/recordings-2.jsonl").stat().st_mtime_ns == described


def test_scheduler_whose_workers_are_killed_and_started_gives_the_same_bytes(
    finished: Path, checkout: Path, hand_started_dask: Any
) -> None:
    workers = [hand_started_dask.start_worker() for _ in range(3)]
    environment = os.environ | {"DASK_SCHEDULER_ADDRESS": hand_started_dask.address}
    process = subprocess.Popen(
        command("inspect"), cwd=checkout, env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    while process.poll() is None and not n_described(checkout):
        time.sleep(0.005)
    assert process.poll() is None, "the stage ended before a worker was killed"
    hand_started_dask.kill(workers[0])
    hand_started_dask.kill(workers[1])
    hand_started_dask.start_worker()
    assert process.wait(timeout=120) == 0, process.stderr.read() if process.stderr else ""
    run_stages(checkout, "split")
    for stage in ("spectrograms", "embeddings"):
        subprocess.run(command(stage), cwd=checkout, env=environment, check=True)
    assert digests(checkout) == digests(finished)


def test_workers_that_do_not_share_the_folder_read_an_address(
    finished: Path, checkout: Path, hand_started_dask: Any
) -> None:
    hand_started_dask.start_worker()
    elsewhere = checkout.parent / "elsewhere"
    shutil.copytree(checkout / "data/audio", elsewhere)
    environment = os.environ | {
        "DASK_SCHEDULER_ADDRESS": hand_started_dask.address,
        "MUSIC_GENRE_AUDIO_URL": elsewhere.as_uri(),
    }
    for file in (checkout / "data/audio").rglob("*.flac"):
        file.write_bytes(bytes(file.stat().st_size))  # of the same size, so that the manifest's digests stand
    subprocess.run(command("inspect"), cwd=checkout, env=environment, check=True)
    run_stages(checkout, "split", "spectrograms", "embeddings")
    assert digests(checkout) == digests(finished)
