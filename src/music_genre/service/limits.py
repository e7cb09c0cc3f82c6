"""Limits of a worker: how many requests at a time, and how many a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from music_genre.service.errors import ApiError, ErrorCode


@contextmanager
def concurrency_slot(limiter: anyio.CapacityLimiter) -> Iterator[None]:
    """Hold one of the limiter's places during the block.

    Raises:
        ApiError: ``busy`` where all are taken.
    """
    try:
        limiter.acquire_nowait()
    except anyio.WouldBlock as error:
        message = f"server busy: {limiter.total_tokens:g} concurrent requests"
        raise ApiError(ErrorCode.BUSY, message) from error
    try:
        yield
    finally:
        limiter.release()


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
