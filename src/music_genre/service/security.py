"""The API key."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from music_genre.service.environment import service_settings
from music_genre.service.errors import ApiError, ErrorCode

bearer_scheme = HTTPBearer(auto_error=False, description="Needed where `MUSIC_GENRE_API_KEY` is set.")
header_scheme = APIKeyHeader(name="X-API-Key", auto_error=False)


async def require_api_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)] = None,
    header: Annotated[str | None, Security(header_scheme)] = None,
) -> None:
    """Let requests pass that have the API key, or all where the settings have none.

    Raises:
        ApiError: ``unauthorized``.
    """
    key = service_settings().api_key
    given = bearer.credentials if bearer else header or ""
    # Header values are decoded as Latin-1: encoded again they are the client's bytes.
    if key and not hmac.compare_digest(given.encode("latin-1"), key.get_secret_value().encode()):
        raise ApiError(ErrorCode.UNAUTHORIZED, "send the API key as `Authorization: Bearer ...` or `X-API-Key: ...`")
