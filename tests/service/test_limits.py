"""Limits of a worker."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from music_genre.service import limits
from music_genre.service.errors import ApiError, ErrorCode


def test_as_many_requests_as_the_limit_pass_and_then_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    limiter = limits.RateLimiter(6)
    for _ in range(6):
        limiter.acquire()
    for wait_s in (10, 4):
        with pytest.raises(ApiError, match=f"more than 6 requests a minute; try again in {wait_s} s") as error:
            limiter.acquire()
        assert (error.value.code, error.value.retry_after_s) == (ErrorCode.RATE_LIMITED, wait_s)
        now += 6
    limiter.acquire()
    with pytest.raises(ApiError):
        limiter.acquire()
    now += 3600
    for _ in range(6):
        limiter.acquire()
    with pytest.raises(ApiError):
        limiter.acquire()


def cut_off_at(arrivals: list[tuple[float, int]]) -> float | None:
    """When an upload is cut off of which so many bytes arrive at these times, by a clock that is not the machine's."""
    rate, now = limits.MinimumRate(20_000, 20.0), 0.0
    for time_s, n_bytes in arrivals:
        if time_s - now > rate.patience_s:
            return now + rate.patience_s
        rate.add(time_s - now, n_bytes)
        now = time_s
    return None


def steady(bytes_per_s: float, seconds: float, start_s: float = 0.0, every_s: float = 0.5) -> list[tuple[float, int]]:
    times = np.arange(start_s + every_s, start_s + seconds + every_s / 2, every_s)
    return [(float(time_s), round(bytes_per_s * every_s)) for time_s in times]


def test_steady_upload_passes_above_the_minimum_rate_and_not_below() -> None:
    assert cut_off_at(steady(1_100, 600)) is None
    assert cut_off_at(steady(900, 600)) == pytest.approx(20.0)
    assert cut_off_at(steady(900, 19)) is None  # complete within the period of grace


def test_pause_passes_that_leaves_enough_in_every_window() -> None:
    before, after = steady(2_000, 60), steady(2_000, 60, start_s=69)
    assert cut_off_at([*before, *after]) is None
    assert cut_off_at([*before, *steady(2_000, 60, start_s=71)]) == pytest.approx(70.0, abs=0.5)


def test_fast_start_buys_no_time_later() -> None:
    assert cut_off_at([(1.0, 10**7), *steady(100, 600, start_s=1)]) == pytest.approx(21.0)


def test_bytes_one_by_one_take_no_memory() -> None:
    rate = limits.MinimumRate(20_000, 20.0)
    for _ in range(10_000):
        rate.add(0.0, 1)
    assert len(rate.block_times) == limits.BLOCKS


def test_no_upload_passes_that_has_a_window_below_the_minimum() -> None:
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        gaps, sizes = rng.exponential(rng.uniform(0.5, 6), 80), rng.integers(0, rng.integers(2_000, 20_000), 80)
        times = np.cumsum(gaps)
        arrivals = [(float(time_s), int(size)) for time_s, size in zip(times, sizes, strict=True)]
        # A window is emptiest just before data arrives.
        windows = [sizes[(times > end - 20.0) & (times < end)].sum() for end in times if end > 20.0]
        emptiest = min(windows, default=20_000)
        is_cut_off = cut_off_at(arrivals) is not None
        outcomes.add(is_cut_off)
        # Bytes are counted in blocks of 1000.
        assert is_cut_off or emptiest > 19_000
        assert not is_cut_off or emptiest < 21_000
    assert outcomes == {True, False}


def test_budget_of_bytes_is_shared_and_given_back() -> None:
    budget = limits.ByteBudget(3 * 2**20)
    with budget.account() as take, budget.account() as take_more:
        take(2 * 2**20)
        take_more(2**20)
        with pytest.raises(ApiError, match="server busy: 3 MiB of uploads") as error:
            take(1)
        assert error.value.code == ErrorCode.BUSY
    with budget.account() as take:
        take(3 * 2**20)


def test_place_that_becomes_free_in_time_is_taken() -> None:
    async def hold(limiter: anyio.CapacityLimiter, max_wait_s: float) -> None:
        async with limits.concurrency_slot(limiter, max_wait_s):
            pass

    async def refused(limiter: anyio.CapacityLimiter) -> None:
        with pytest.raises(ApiError, match="server busy: 1 concurrent requests"):
            limits.check_capacity(limiter)
        with pytest.raises(ApiError, match="server busy: 1 concurrent requests") as error:
            await hold(limiter, 0.05)
        assert error.value.code == ErrorCode.BUSY
        assert error.value.__cause__ is None  # no fault of the model

    async def run() -> None:
        limiter = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as waiting, limits.concurrency_slot(limiter):
            async with anyio.create_task_group() as group:
                group.start_soon(refused, limiter)
            waiting.start_soon(hold, limiter, 60.0)
            await anyio.sleep(0.05)
        limits.check_capacity(limiter)

    anyio.run(run)
