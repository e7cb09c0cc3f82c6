"""The API key."""

from __future__ import annotations

import anyio
import pytest
from fastapi.security import HTTPAuthorizationCredentials

from music_genre.service import security
from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.security import require_api_key
from music_genre.settings import Settings

KEY = "corréct-horse"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key that the service needs."""
    monkeypatch.setattr(security, "service_settings", lambda: Settings(api_key=KEY))
    return KEY


def check(bearer: str | None = None, header: str | None = None) -> None:
    credentials = HTTPAuthorizationCredentials(scheme="Bearer", credentials=bearer) if bearer is not None else None
    anyio.run(require_api_key, credentials, header)


def as_header(text: str) -> str:
    """What a header's value of UTF-8 bytes is read as."""
    return text.encode().decode("latin-1")


def test_key_is_accepted_in_either_header(key: str) -> None:
    check(bearer=as_header(key))
    check(header=as_header(key))


@pytest.mark.parametrize(("bearer", "header"), [(None, None), ("wrong", None), ("", as_header(KEY)), (None, KEY)])
def test_anything_else_is_unauthorized(key: str, bearer: str | None, header: str | None) -> None:
    with pytest.raises(ApiError) as error:
        check(bearer, header)
    assert error.value.code == ErrorCode.UNAUTHORIZED
    assert key not in str(error.value)


def test_no_key_is_needed_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "service_settings", Settings)
    check()
