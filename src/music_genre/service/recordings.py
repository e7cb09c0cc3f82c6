"""Recordings that the service keeps: uploads that wait for feedback, and those that have it, a folder a genre.

The folder ``audio`` is a collection as it stands: ``data.folder.path`` can name it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import anyio

from music_genre.audio.folder import SYSTEM_FOLDERS
from music_genre.audio.kinds import detect_kind
from music_genre.errors import AudioError
from music_genre.service.observability import request_context
from music_genre.validation.request_log import AUDIO_DIR, PENDING_DIR, find_recordings, recording_name

PENDING_S, MAX_PENDING_BYTES = 3600.0, 2**30  # an upload waits an hour for feedback, while there is space
PENDING_STEP_BYTES = 2**26  # that a worker adds before it looks at the space again, which means a look at every file
MAX_AUDIO_BYTES = 20 * 2**30  # of all recordings with feedback
DAY_S = 24 * 3600.0
CLEANUP_INTERVAL_S = 600.0
MAX_NAME_BYTES = 255  # of a folder

logger = logging.getLogger("bentoml.music_genre")


class RecordingStore:
    """The recordings in the folder of a request log, which all workers share.

    Args:
        folder: of the request log.
        keep_audio: whether new recordings are kept; those that are there expire in any case.
        keep_days: how long after its feedback a recording is kept.
    """

    def __init__(self, folder: Path, keep_audio: bool, keep_days: int) -> None:
        self.folder, self.keep_audio, self.keep_days = folder, keep_audio, keep_days
        self.pending, self.audio = folder / PENDING_DIR, folder / AUDIO_DIR
        self.n_new_bytes = 0

    @asynccontextmanager
    async def keep(self, upload: BinaryIO) -> AsyncIterator[None]:
        """Keep the current request's upload until its feedback comes, if the block that predicts it ends well.

        It is copied beside the block, which waits for nothing. What cannot be kept is logged and fails no request.
        """
        context = request_context.get()
        if not self.keep_audio or context is None:
            yield
            return
        copying = asyncio.create_task(asyncio.to_thread(self.copy, upload))
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                copy = await copying
            if copy:
                copy.unlink(missing_ok=True)
            raise
        copy = await copying
        if copy:
            await asyncio.to_thread(self.commit, copy, context.request_id)

    def copy(self, upload: BinaryIO) -> Path | None:
        """Copy an upload to a hidden file in ``pending``; None where that is impossible."""
        try:
            kind, _ = detect_kind(upload)
            self.pending.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self.pending, prefix=".", suffix=kind.suffixes[0], delete=False
            ) as file:
                path = Path(file.name)
                try:
                    upload.seek(0)
                    shutil.copyfileobj(upload, file)
                    self.n_new_bytes += file.tell()
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            if self.n_new_bytes >= PENDING_STEP_BYTES:
                self.n_new_bytes = 0
                remove_oldest(self.pending, PENDING_S, MAX_PENDING_BYTES)
            return path
        except AudioError:
            return None
        except OSError as error:
            logger.warning("The recording cannot be kept: %s", error)
            return None

    def commit(self, copy: Path, request_id: str) -> None:
        """Give a copy the name of its request, in place of an upload that waits with the same id."""
        try:
            for path in find_recordings(self.folder, request_id):
                if path.parent == self.pending:
                    path.unlink(missing_ok=True)
            copy.replace(self.pending / recording_name(request_id, copy.suffix))
        except OSError as error:
            logger.warning("The recording cannot be kept: %s", error)

    def label(self, request_id: str, genre: str) -> None:
        """Move the newest recording of a request with feedback, if there is any, to the folder of its right genre.

        Where no folder can have that name, none is kept.
        """
        if not self.keep_audio:
            return
        found = find_recordings(self.folder, request_id)
        try:
            if found and is_folder_name(genre):
                newest, target = found.pop(0), self.audio / genre
                target.mkdir(parents=True, exist_ok=True)
                os.utime(newest)  # it is kept from now on
                newest.replace(target / newest.name)
                found = [path for path in found if path != target / newest.name]
            elif found:
                logger.warning("Recordings of the genre %r are not kept: no folder can have its name", genre)
            for path in found:
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("The recording cannot be kept: %s", error)

    def remove_expired(self) -> None:
        """Delete what has been kept for its time, and the oldest recordings where all take too much space."""
        remove_oldest(self.pending, PENDING_S, MAX_PENDING_BYTES)
        remove_oldest(self.audio, self.keep_days * DAY_S, MAX_AUDIO_BYTES)

    async def remove_expired_forever(self) -> None:
        """Call ``remove_expired`` every few minutes."""
        while True:
            try:
                await asyncio.to_thread(self.remove_expired)
            except OSError as error:
                logger.warning("Old recordings cannot be deleted: %s", error)
            await asyncio.sleep(CLEANUP_INTERVAL_S)


def remove_oldest(folder: Path, max_age_s: float, max_bytes: int) -> None:
    """Delete the files below a folder that are older, and the oldest of the others until the rest is small enough."""
    earliest, n_bytes = time.time() - max_age_s, 0
    for modified, size, path in sorted(_list_files(folder), reverse=True):
        n_bytes += size
        if modified < earliest or n_bytes > max_bytes:
            path.unlink(missing_ok=True)


def is_folder_name(genre: str) -> bool:
    """Whether a folder can have the name of a genre and is read as that genre again, by ``datasets.folder``."""
    try:
        n_bytes = len(genre.encode())
    except UnicodeEncodeError:
        return False
    is_hidden = genre.startswith(".") or genre.casefold() in SYSTEM_FOLDERS
    is_plain = genre == unicodedata.normalize("NFC", genre).strip() and not {"/", "\0"} & set(genre)
    return 0 < n_bytes <= MAX_NAME_BYTES and is_plain and not is_hidden


def _list_files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time, size and path of each file; one that another worker deletes meanwhile may be left out."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                stat = path.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield stat.st_mtime, stat.st_size, path
