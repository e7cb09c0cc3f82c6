"""Take one audio file out of a request: bounded in size and time, never trusted, never left on disk."""

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

from music_genre.errors import AudioError

MAX_BYTES = 50 * 2**20
"""Of a whole request: a quarter of an hour of mp3, five minutes of CD audio."""

MAX_FORM_BYTES = 1024
"""Of a form field that is not the file."""

STALL_SECONDS = 1.5
"""A body of which nothing comes for so long is given up."""

BODY_SECONDS = 60.0
"""A body that is not there after so long is given up, however steadily it drips."""


@dataclass(frozen=True)
class Upload:
    """What a request asks: the open file, and whether each part of it is wanted."""

    audio: BinaryIO
    timeline: bool


@asynccontextmanager
async def open_upload(request: Request) -> AsyncIterator[Upload]:
    """Read the multipart fields ``audio`` and ``timeline``; what lies on disk of it is gone at the end.

    Raises:
        AudioError: ``unsupported``, ``too_large``, ``too_slow``, ``empty``; nothing beyond a limit is read.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise AudioError(
            "unsupported",
            f"the body is {kind[:80] or 'of no stated type'}; send multipart/form-data with a field audio",
        )
    if _stated_length(request) > MAX_BYTES:
        raise _too_large()
    form = await _read_form(request)
    try:
        yield _chosen(form)
    finally:
        await form.close()


async def _read_form(request: Request) -> FormData:
    bounded = Request(request.scope, _bounded(request.receive))
    try:
        with anyio.fail_after(BODY_SECONDS):
            return await bounded.form(max_files=1, max_fields=4, max_part_size=MAX_FORM_BYTES)
    except HTTPException as error:
        raise AudioError("unsupported", f"the form cannot be read: {error.detail}") from error
    except TimeoutError as error:
        raise _too_slow(BODY_SECONDS) from error


def _chosen(form: FormData) -> Upload:
    audio = form.get("audio")
    if not isinstance(audio, UploadFile):
        raise AudioError("unsupported", "no file in the form field audio")
    if not audio.size:
        raise AudioError("empty", "the file has 0 bytes")
    return Upload(audio.file, str(form.get("timeline", "")).lower() in {"true", "1"})


def _stated_length(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    """The same channel, broken off after ``MAX_BYTES``, or where nothing comes for ``STALL_SECONDS``."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        try:
            with anyio.fail_after(STALL_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise _too_slow(STALL_SECONDS) from error
        received += len(message.get("body", b""))
        if received > MAX_BYTES:
            raise _too_large()
        return message

    return bounded


def _too_large() -> AudioError:
    return AudioError("too_large", f"more than {MAX_BYTES // 2**20} MiB")


def _too_slow(seconds: float) -> AudioError:
    return AudioError("too_slow", f"the body did not arrive: nothing more came for {seconds:g} s")
