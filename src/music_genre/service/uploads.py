"""Read the bodies of requests, limited in size and slowness: one audio file, removed afterwards, or a few bytes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
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
from music_genre.service.limits import ByteBudget, MinimumRate, concurrency_slot

MAX_BYTES = 50 * 2**20  # of a request: a quarter of an hour of mp3, five minutes of CD audio
MAX_FIELD_BYTES = 1024  # of a form field that is not the file
MAX_SMALL_BYTES = 4096  # of a body without a file
MIN_WINDOW_BYTES, WINDOW_S = 200_000, 20.0  # fewer in any such time are too slow: 10 kB/s, pauses included
MAX_UPLOAD_S = (MAX_BYTES / MIN_WINDOW_BYTES + 1) * WINDOW_S  # follows from these
MAX_UPLOADS = 100  # at a time in one worker: slow lines need no processor; each takes up to 1 MiB of memory
MAX_UPLOAD_BYTES = 32 * MAX_BYTES  # of these together, on disk


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


class UploadReader:
    """Reads the uploads of one worker, which share its limits of number and bytes."""

    def __init__(self) -> None:
        self.limiter = anyio.CapacityLimiter(MAX_UPLOADS)
        self.budget = ByteBudget(MAX_UPLOAD_BYTES)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Upload]:
        """Read the multipart fields ``audio`` and those of ``Upload``; temporary files are removed when the block ends.

        Raises:
            ApiError: ``busy``, ``unsupported``, ``too_large``, ``too_slow``; nothing beyond a limit is read.
            AudioError: ``empty``.
            ClientDisconnect: the client has gone.
        """
        _check_head(request)
        async with concurrency_slot(self.limiter):
            with self.budget.account() as take_bytes:
                form = await _read_form(request, take_bytes)
                try:
                    yield _parse_form(form)
                finally:
                    await form.close()


def _check_head(request: Request) -> None:
    """Refuse what the headers alone show."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise ApiError(
            ErrorCode.UNSUPPORTED,
            f"content type {content_type[:80] or 'missing'}; send multipart/form-data with a file in the field audio",
        )
    if _content_length(request) > MAX_BYTES:
        raise _too_large(MAX_BYTES)


async def read_small_body(request: Request) -> bytes:
    """The body of a request that holds no file.

    Raises:
        ApiError: ``too_large``, ``too_slow``; nothing beyond a limit is read.
        ClientDisconnect: the client has gone.
    """
    if _content_length(request) > MAX_SMALL_BYTES:
        raise _too_large(MAX_SMALL_BYTES)
    return await Request(request.scope, _limit_body(request.receive, MAX_SMALL_BYTES)).body()


async def _read_form(request: Request, take_bytes: Callable[[int], None]) -> FormData:
    limited = Request(request.scope, _limit_body(request.receive, MAX_BYTES, take_bytes))
    try:
        return await limited.form(max_files=1, max_fields=4, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise ApiError(ErrorCode.UNSUPPORTED, f"the form cannot be read: {error.detail}") from error


def _parse_form(form: FormData) -> Upload:
    audio = form.get("audio")
    if not isinstance(audio, UploadFile):
        raise ApiError(ErrorCode.UNSUPPORTED, "no complete file in the form field audio")
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


def _limit_body(receive: Receive, max_bytes: int, take_bytes: Callable[[int], None] = lambda _: None) -> Receive:
    """The same channel, which fails after ``max_bytes``, where it is too slow, or where ``take_bytes`` fails."""
    n_received, rate = 0, MinimumRate(MIN_WINDOW_BYTES, WINDOW_S)

    async def limited() -> Message:
        nonlocal n_received
        start = time.monotonic()
        try:
            with anyio.fail_after(rate.patience_s):
                message = await receive()
        except TimeoutError as error:
            found = f"less than {MIN_WINDOW_BYTES // 1000} kB in {WINDOW_S:g} s, and not complete"
            raise ApiError(ErrorCode.TOO_SLOW, f"upload timed out: {found}") from error
        n_bytes = len(message.get("body", b""))
        rate.add(time.monotonic() - start, n_bytes)
        n_received += n_bytes
        if n_received > max_bytes:
            raise _too_large(max_bytes)
        take_bytes(n_bytes)
        return message

    return limited


def _too_large(max_bytes: int) -> ApiError:
    size = f"{max_bytes // 2**20} MiB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return ApiError(ErrorCode.TOO_LARGE, f"the maximum size of a request is {size}")
