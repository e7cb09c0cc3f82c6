"""Read the bodies of requests, limited in size and time: one audio file, removed afterwards, or a few bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from music_genre.errors import AudioError, IssueReason
from music_genre.service.errors import ApiError, ErrorCode

MAX_BYTES = 50 * 2**20  # of a request: a quarter of an hour of mp3, five minutes of CD audio
MAX_FIELD_BYTES = 1024  # of a form field that is not the file
READ_TIMEOUT_S = 1.5  # without any data
BODY_TIMEOUT_S = 60.0  # for the whole body
MAX_SMALL_BYTES = 4096  # of a body without a file


@dataclass(frozen=True)
class Upload:
    """The content of a prediction request.

    Args:
        audio: the open file.
        timeline: whether to return segments, too.
        compare: whether to return the challenger's prediction, too.
        explain: whether to return what the prediction depends on, too.
    """

    audio: BinaryIO
    timeline: bool = False
    compare: bool = False
    explain: bool = False


@asynccontextmanager
async def open_upload(request: Request) -> AsyncIterator[Upload]:
    """Read the multipart fields ``audio`` and those of ``Upload``; temporary files are removed when the block ends.

    Raises:
        ApiError: ``unsupported``, ``too_large``, ``too_slow``; nothing beyond a limit is read.
        AudioError: ``empty``.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise ApiError(
            ErrorCode.UNSUPPORTED,
            f"content type {content_type[:80] or 'missing'}; send multipart/form-data with a file in the field audio",
        )
    if _content_length(request) > MAX_BYTES:
        raise _too_large(MAX_BYTES)
    form = await _read_form(request)
    try:
        yield _parse_form(form)
    finally:
        await form.close()


async def read_small_body(request: Request) -> bytes:
    """The body of a request that holds no file.

    Raises:
        ApiError: ``too_large``, ``too_slow``; nothing beyond a limit is read.
    """
    if _content_length(request) > MAX_SMALL_BYTES:
        raise _too_large(MAX_SMALL_BYTES)
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            return await Request(request.scope, _limit_body(request.receive, MAX_SMALL_BYTES)).body()
    except TimeoutError as error:
        raise _not_complete() from error


async def _read_form(request: Request) -> FormData:
    limited = Request(request.scope, _limit_body(request.receive, MAX_BYTES))
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            return await limited.form(max_files=1, max_fields=4, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise ApiError(ErrorCode.UNSUPPORTED, f"the form cannot be read: {error.detail}") from error
    except TimeoutError as error:
        raise _not_complete() from error


def _parse_form(form: FormData) -> Upload:
    audio = form.get("audio")
    if not isinstance(audio, UploadFile):
        raise ApiError(ErrorCode.UNSUPPORTED, "no file in the form field audio")
    if not audio.size:
        raise AudioError(IssueReason.EMPTY, "the file has 0 bytes")
    timeline, compare, explain = (
        str(form.get(name, "")).lower() in {"true", "1"} for name in ("timeline", "compare", "explain")
    )
    return Upload(audio.file, timeline, compare, explain)


def _content_length(request: Request) -> int:
    """The length that a request's header states; 0 where it states none."""
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _limit_body(receive: Receive, max_bytes: int) -> Receive:
    """The same channel, which fails after ``max_bytes``, or after ``READ_TIMEOUT_S`` without data."""
    n_received = 0

    async def limited() -> Message:
        nonlocal n_received
        try:
            with anyio.fail_after(READ_TIMEOUT_S):
                message = await receive()
        except TimeoutError as error:
            raise ApiError(ErrorCode.TOO_SLOW, f"upload timed out: no data for {READ_TIMEOUT_S:g} s") from error
        n_received += len(message.get("body", b""))
        if n_received > max_bytes:
            raise _too_large(max_bytes)
        return message

    return limited


def _too_large(max_bytes: int) -> ApiError:
    size = f"{max_bytes // 2**20} MiB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return ApiError(ErrorCode.TOO_LARGE, f"the maximum size of a request is {size}")


def _not_complete() -> ApiError:
    return ApiError(ErrorCode.TOO_SLOW, f"upload timed out: not complete after {BODY_TIMEOUT_S:g} s")
