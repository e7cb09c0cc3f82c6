"""Mapping over clips by processes: order, faults, threads."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from music_genre.audio import decode
from music_genre.errors import AudioFault
from music_genre.workers import THREAD_LIMITS, map_clips


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
    results.close()  # type: ignore[attr-defined]
    assert now() == limits


def test_a_fault_in_a_worker_arrives_as_it_was_raised(tmp_path: Path, limits: dict[str, str | None]) -> None:
    empty = tmp_path / "clip.mp3"
    empty.touch()
    with pytest.raises(AudioFault) as caught:
        list(map_clips(partial(decode, max_seconds=1.0), [empty], "Decoding"))
    assert (caught.value.reason, caught.value.detail) == ("empty", "0 bytes")
    assert now() == limits


def test_work_is_done_by_other_processes() -> None:
    (worker,) = map_clips(eval, ["__import__('os').getpid()"], "Asking")
    assert worker != os.getpid()
