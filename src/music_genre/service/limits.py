"""Limits of a worker: how many requests at a time and a minute, how many bytes, and how slowly they may come."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from music_genre.service.errors import ApiError, ErrorCode

BLOCKS = 20  # of a window's bytes, in which they are counted


def check_capacity(limiter: anyio.CapacityLimiter) -> None:
    """Refuse a request at once.

    Raises:
        ApiError: ``busy`` where all of the limiter's places are taken.
    """
    if limiter.available_tokens < 1:
        raise _busy(limiter)


@asynccontextmanager
async def concurrency_slot(limiter: anyio.CapacityLimiter, max_wait_s: float = 0.0) -> AsyncIterator[None]:
    """Hold one of the limiter's places during the block.

    Raises:
        ApiError: ``busy`` where all are taken, and none becomes free for ``max_wait_s``.
    """
    try:
        limiter.acquire_nowait()
    except anyio.WouldBlock:
        try:
            with anyio.fail_after(max_wait_s):
                await limiter.acquire()
        except TimeoutError:
            raise _busy(limiter) from None
    try:
        yield
    finally:
        limiter.release()


def _busy(limiter: anyio.CapacityLimiter) -> ApiError:
    return ApiError(ErrorCode.BUSY, f"server busy: {limiter.total_tokens:g} concurrent requests")


class ByteBudget:
    """How many bytes all requests together may hold.

    Args:
        max_bytes: the most.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0

    @contextmanager
    def account(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes from the budget; the end of the block gives them back.

        Raises:
            ApiError: ``busy``, by the function, where fewer are left.
        """
        n_taken = 0

        def take(n_bytes: int) -> None:
            nonlocal n_taken
            if self.n_bytes + n_bytes > self.max_bytes:
                raise ApiError(ErrorCode.BUSY, f"server busy: {self.max_bytes // 2**20} MiB of uploads")
            self.n_bytes += n_bytes
            n_taken += n_bytes

        try:
            yield take
        finally:
            self.n_bytes -= n_taken


class MinimumRate:
    """At least so many bytes in any window of time; the first window is a period of grace.

    Time is what was spent waiting for data: a client is not blamed for a server that is slow to read.

    Args:
        min_bytes: of a window; counted in ``BLOCKS`` equal blocks.
        window_s: its seconds.
    """

    def __init__(self, min_bytes: int, window_s: float) -> None:
        self.block_bytes = min_bytes // BLOCKS
        self.window_s = window_s
        self.waited_s = 0.0
        self.n_bytes = 0  # of the block that is not complete
        self.block_times = deque([0.0] * BLOCKS, maxlen=BLOCKS)  # when each of the last blocks was complete

    @property
    def patience_s(self) -> float:
        """For how many more seconds no data may come."""
        return self.block_times[0] + self.window_s - self.waited_s

    def add(self, waited_s: float, n_bytes: int) -> None:
        """Count data, and the seconds that were spent waiting for it."""
        self.waited_s += waited_s
        n_blocks, self.n_bytes = divmod(self.n_bytes + n_bytes, self.block_bytes)
        self.block_times.extend([self.waited_s] * min(n_blocks, BLOCKS))


class RateLimiter:
    """A token bucket, of all clients together: requests may come at once, then at a steady rate.

    Args:
        per_minute: the most requests of a minute, and at once.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self.tokens, self.updated = float(per_minute), time.monotonic()

    def acquire(self) -> None:
        """Let one request pass.

        Raises:
            ApiError: ``rate_limited``; it says in how many seconds one would pass.
        """
        now = time.monotonic()
        self.tokens = min(self.per_minute, self.tokens + (now - self.updated) * self.per_minute / 60)
        self.updated = now
        if self.tokens < 1:
            wait_s = math.ceil((1 - self.tokens) * 60 / self.per_minute)
            message = f"more than {self.per_minute} requests a minute; try again in {wait_s} s"
            raise ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=wait_s)
        self.tokens -= 1
