"""What stands between a request and the work: the key, the free places, the shape of refusals, the manners."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

import anyio
from fastapi import Security
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Message, Receive, Scope, Send

from music_genre.errors import AudioError
from music_genre.service.observability import HttpMiddleware

KEY_VARIABLE = "MUSIC_GENRE_API_KEY"
"""Where it is set, requests must bring what it says."""

RETRY_SECONDS = 1
LINGER_SECONDS = 1.0
"""The rest of a refused body is taken for so long: who is still sending sees the answer, not a broken pipe."""

STATUS = {
    "unauthorized": 401,
    "not_found": 404,
    "not_allowed": 405,
    "too_slow": 408,
    "too_large": 413,
    "too_long": 413,
    "unsupported": 415,
    "failed": 500,
    "busy": 503,
}
"""HTTP status of each error code; 422 for what is wrong with the audio itself."""

CODE = {404: "not_found", 405: "not_allowed", 503: "busy", 504: "busy"}
"""Error code of what the frameworks refuse on their own; ``unsupported`` for other 4xx."""


def refusal(code: str, message: str) -> JSONResponse:
    """An answer that says why not."""
    status = STATUS.get(code, 422)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_SECONDS)}}.get(status)
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def authorised(
    bearer: Annotated[
        HTTPAuthorizationCredentials | None,
        Security(HTTPBearer(auto_error=False, description=f"Where `{KEY_VARIABLE}` is set: what it says.")),
    ] = None,
    header: Annotated[str | None, Security(APIKeyHeader(name="X-API-Key", auto_error=False))] = None,
) -> None:
    """Let pass whoever brings the key, and everybody where none is set.

    Raises:
        AudioError: ``unauthorized``.
    """
    key, given = os.environ.get(KEY_VARIABLE, ""), bearer.credentials if bearer else header or ""
    if key and not hmac.compare_digest(given.encode("latin-1"), key.encode()):
        raise AudioError("unauthorized", "send the API key as `Authorization: Bearer ...` or `X-API-Key: ...`")


class Places:
    """So many requests are at work in this process at once; the next is sent away, and told when to come back."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place for the length of the block.

        Raises:
            AudioError: ``busy``.
        """
        if self.taken >= self.most:
            raise AudioError("busy", f"{self.most} requests are at work already")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class OneShape(HttpMiddleware):
    """Whatever refuses a request, the answer is ``{"error": {"code": ..., "message": ...}}``."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def shaped(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                held.append(message)
            elif not held:
                await send(message)
            else:
                held.append(message)
                if not message.get("more_body", False):
                    await _reshaped(held, scope, receive, send)

        await self.app(scope, receive, shaped)


async def _reshaped(held: list[Message], scope: Scope, receive: Receive, send: Send) -> None:
    status, body = held[0]["status"], b"".join(message.get("body", b"") for message in held[1:])
    if _has_shape(body) or status == 499:
        for message in held:
            await send(message)
        return
    code = CODE.get(status, "failed" if status >= 500 else "unsupported")
    answer = refusal(code, HTTPStatus(status).phrase.lower())
    answer.status_code = 503 if status == 504 else status
    answer.raw_headers += [header for header in held[0]["headers"] if header[0] == b"allow"]
    await answer(scope, receive, send)


def _has_shape(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and isinstance(told.get("error"), dict)


class Patient(HttpMiddleware):
    """Who is answered while still sending gets the answer before the connection is closed."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = False

        async def watched() -> Message:
            nonlocal arrived
            message = await receive()
            arrived = not message.get("more_body", False)
            return message

        async def patient(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not arrived:
                await send({**message, "more_body": True})
                with anyio.move_on_after(LINGER_SECONDS):
                    while not arrived:
                        await watched()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self.app(scope, watched, patient)


def describe_fault(fault: AudioError) -> JSONResponse:
    """A fault as the API tells it."""
    return refusal({"short": "too_short"}.get(fault.reason, fault.reason), fault.detail)
