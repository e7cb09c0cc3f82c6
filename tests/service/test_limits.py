"""Limits of a worker."""

from __future__ import annotations

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
