"""Take one audio file out of a request: bounded in size, never trusted, never left on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from music_genre.errors import AudioFault

MAX_BYTES = 50 * 2**20
"""Of a whole request: a quarter of an hour of mp3, five minutes of CD audio."""

MAX_FORM_BYTES = 1024
"""Of a form field that is not the file."""


@dataclass(frozen=True)
class Upload:
    """What a request asks: the open file, and whether each part of it is wanted."""

    audio: BinaryIO
    timeline: bool


async def read_upload(request: Request) -> Upload:
    """Read the multipart fields ``audio`` and ``timeline``.

    Raises:
        AudioFault: ``unsupported``, ``too_large``, ``empty``; nothing beyond the limit is read.
    """
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise AudioFault(
            "unsupported",
            f"the body is {kind[:80] or 'of no stated type'}; send multipart/form-data with a field audio",
        )
    if int(request.headers.get("content-length", "0") or 0) > MAX_BYTES:
        raise AudioFault("too_large", f"more than {MAX_BYTES // 2**20} MiB")
    try:
        form = await Request(request.scope, _bounded(request.receive)).form(
            max_files=1, max_fields=4, max_part_size=MAX_FORM_BYTES
        )
    except HTTPException as error:
        raise AudioFault("unsupported", f"the form cannot be read: {error.detail}") from error
    audio = form.get("audio")
    if not isinstance(audio, UploadFile):
        raise AudioFault("unsupported", "no file in the form field audio")
    if not audio.size:
        raise AudioFault("empty", "the file has 0 bytes")
    return Upload(audio.file, str(form.get("timeline", "")).lower() in {"true", "1"})


def _bounded(receive: Receive) -> Receive:
    """The same channel, broken off after ``MAX_BYTES``."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BYTES:
            raise AudioFault("too_large", f"more than {MAX_BYTES // 2**20} MiB")
        return message

    return bounded
