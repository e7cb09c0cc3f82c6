"""Mapping over clips in worker processes: order, errors, crashes, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import psutil
import pytest

from music_genre.audio.decoding import decode
from music_genre.compute import CHUNK_SIZE, PREFETCH_CHUNKS, map_clips
from music_genre.errors import AudioError
from music_genre.runtime import THREAD_LIMITS


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The thread limits of this process: one is set by the user, the others are not."""
    for name in THREAD_LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(THREAD_LIMITS[0], "3")
    return {name: os.environ.get(name) for name in THREAD_LIMITS}


def current_limits() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREAD_LIMITS}


def test_results_are_in_the_order_of_items() -> None:
    assert list(map_clips(str, range(100), "Counting")) == [str(number) for number in range(100)]


def test_no_items_give_no_results() -> None:
    assert list(map_clips(str, [], "Counting")) == []


def test_workers_have_one_thread_and_the_environment_is_restored(limits: dict[str, str | None]) -> None:
    assert list(map_clips(os.getenv, THREAD_LIMITS, "Mapping")) == ["1"] * len(THREAD_LIMITS)
    assert current_limits() == limits


def test_environment_is_restored_when_the_map_is_closed_early(limits: dict[str, str | None]) -> None:
    results = map_clips(abs, range(-3, 0), "Counting")
    assert next(results) == 3
    results.close()
    assert current_limits() == limits


def test_progress_is_complete_once_every_result_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    results = map_clips(abs, range(-3, 0), "Counting")
    assert [next(results) for _ in range(3)] == [3, 2, 1]
    results.close()
    assert "3/3" in capsys.readouterr().err.split("\r")[-1]


def test_audio_error_in_a_worker_keeps_reason_and_detail(tmp_path: Path, limits: dict[str, str | None]) -> None:
    empty = tmp_path / "clip.mp3"
    empty.touch()
    with pytest.raises(AudioError) as caught:
        list(map_clips(partial(decode, max_seconds=1.0), [empty], "Decoding"))
    assert (caught.value.reason, caught.value.detail) == ("empty", "0 bytes")
    assert current_limits() == limits


def test_work_runs_in_other_processes() -> None:
    (worker,) = map_clips(eval, ["__import__('os').getpid()"], "Mapping")
    assert worker != os.getpid()


def test_workers_wait_when_results_are_taken_slowly(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    ahead = CHUNK_SIZE * PREFETCH_CHUNKS * min(os.cpu_count() or 1, len(paths))
    assert ahead < len(paths) / 2, "too few clips to tell"
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    touched = stable_file_count(tmp_path)
    assert 0 < touched <= ahead
    for _ in range(100):
        next(results)
    assert touched < stable_file_count(tmp_path) <= ahead + 100 + CHUNK_SIZE
    assert len(list(results)) == 499
    assert stable_file_count(tmp_path) == 600


def test_closed_map_stops_its_workers(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    results.close()
    assert stable_file_count(tmp_path) < 300


def stable_file_count(folder: Path) -> int:
    """The number of files once it no longer grows."""
    counts = [-1, len(list(folder.iterdir()))]
    while counts[-1] != counts[-2]:
        time.sleep(0.7)
        counts.append(len(list(folder.iterdir())))
    return counts[-1]


CRASH = "__import__('os')._exit(11)"


@pytest.mark.parametrize("hostile", [[0], [9, 10], [19]])
def test_item_that_crashes_its_worker_is_reported_and_others_are_mapped(hostile: list[int]) -> None:
    items = [CRASH if number in hostile else str(number) for number in range(20)]
    results = list(map_clips(eval, items, "Mapping", on_crash=lambda item: f"crashed: {item}"))
    assert results == [f"crashed: {CRASH}" if number in hostile else number for number in range(20)]


def test_crash_without_on_crash_ends_the_map() -> None:
    with pytest.raises(BrokenProcessPool):
        list(map_clips(eval, [CRASH], "Mapping"))


def test_workers_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    work = f"open({str(tmp_path / 'started')!r}, 'w') and __import__('time').sleep(60)"
    script = f"from music_genre.compute import map_clips; list(map_clips(eval, [{work!r}], 'Sleeping'))"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "started").exists():
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children()
        assert workers
        process.kill()
    _, left = psutil.wait_procs(workers, timeout=10)
    assert left == []
