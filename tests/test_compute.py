"""Mapping over clips by processes: order, faults, threads."""

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

from music_genre.compute import CHUNK, CHUNKS_AHEAD, THREAD_LIMITS, map_clips
from music_genre.errors import AudioError
from music_genre.features.audio import decode


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Of the thread limits, one is set by the user and the others are not."""
    for name in THREAD_LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(THREAD_LIMITS[0], "3")
    return {name: os.environ.get(name) for name in THREAD_LIMITS}


def now() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREAD_LIMITS}


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(map_clips(str, range(100), "Counting")) == [str(number) for number in range(100)]


def test_nothing_to_map_gives_nothing() -> None:
    assert list(map_clips(str, [], "Counting")) == []


def test_a_worker_has_one_thread_and_the_users_limits_come_back(limits: dict[str, str | None]) -> None:
    assert list(map_clips(os.getenv, THREAD_LIMITS, "Asking")) == ["1"] * len(THREAD_LIMITS)
    assert now() == limits


def test_the_users_limits_come_back_from_a_map_that_is_left_early(limits: dict[str, str | None]) -> None:
    results = map_clips(abs, range(-3, 0), "Counting")
    assert next(results) == 3
    results.close()
    assert now() == limits


def test_the_progress_of_a_map_whose_every_result_was_taken_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    results = map_clips(abs, range(-3, 0), "Counting")
    assert [next(results) for _ in range(3)] == [3, 2, 1]
    results.close()
    assert "3/3" in capsys.readouterr().err.split("\r")[-1]


def test_a_fault_in_a_worker_arrives_as_it_was_raised(tmp_path: Path, limits: dict[str, str | None]) -> None:
    empty = tmp_path / "clip.mp3"
    empty.touch()
    with pytest.raises(AudioError) as caught:
        list(map_clips(partial(decode, max_seconds=1.0), [empty], "Decoding"))
    assert (caught.value.reason, caught.value.detail) == ("empty", "0 bytes")
    assert now() == limits


def test_work_is_done_by_other_processes() -> None:
    (worker,) = map_clips(eval, ["__import__('os').getpid()"], "Asking")
    assert worker != os.getpid()


def test_workers_wait_for_a_slow_taker(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    ahead = CHUNK * CHUNKS_AHEAD * min(os.cpu_count() or 1, len(paths))
    assert ahead < len(paths) / 2, "too few clips to tell"
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    touched = settled(tmp_path)
    assert 0 < touched <= ahead
    for _ in range(100):
        next(results)
    assert touched < settled(tmp_path) <= ahead + 100 + CHUNK
    assert len(list(results)) == 499
    assert settled(tmp_path) == 600


def test_a_map_that_is_left_early_does_not_begin_what_nobody_takes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(600)]
    results = map_clips(Path.touch, paths, "Touching")
    next(results)
    results.close()
    assert settled(tmp_path) < 300


def settled(folder: Path) -> int:
    """How many files there are when no more come."""
    counts = [-1, len(list(folder.iterdir()))]
    while counts[-1] != counts[-2]:
        time.sleep(0.7)
        counts.append(len(list(folder.iterdir())))
    return counts[-1]


def process_of(path: Path) -> int:
    """The worker's process; one that is to hold no other clip is killed by it."""
    if path.read_text(encoding="utf-8") == "hostile":
        os._exit(11)
    return os.getpid()


@pytest.mark.parametrize("hostile", [[0], [9, 10], [19]])
def test_a_clip_that_kills_its_worker_is_told_and_the_others_come_through(tmp_path: Path, hostile: list[int]) -> None:
    paths = [tmp_path / f"{number:05d}" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_text("hostile" if number in hostile else "good", encoding="utf-8")
    found = list(map_clips(process_of, paths, "Asking", on_crash=lambda path: -int(path.name) - 1))
    assert [number for number, process in enumerate(found) if process == -number - 1] == hostile
    assert sum(process > 0 for process in found) == 20 - len(hostile)


def test_without_an_answer_to_a_crash_the_map_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("hostile", encoding="utf-8")
    with pytest.raises(BrokenProcessPool):
        list(map_clips(process_of, [tmp_path / "clip"], "Asking"))


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    work = f"open({str(tmp_path / 'begun')!r}, 'w') and __import__('time').sleep(60)"
    script = f"from music_genre.compute import map_clips; list(map_clips(eval, [{work!r}], 'Sleeping'))"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children()
        assert workers
        process.kill()
    _, left = psutil.wait_procs(workers, timeout=10)
    assert left == []
