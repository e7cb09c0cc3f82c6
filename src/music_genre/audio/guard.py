"""What a file may cost before it is known to be a recording: FFmpeg reads it through here.

FFmpeg trusts what a file claims: a few kilobytes make it fill gigabytes of tables, or compare each of a million tags
with every other. So no table grows beyond a size, the file ends where FFmpeg computes and finds nothing, and tags that
it would compare after it has read them are kept from it.
"""

from __future__ import annotations

import ctypes
import io
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar

from music_genre.audio.container_headers import find_recording
from music_genre.audio.kinds import AudioKind

Found = TypeVar("Found")

MAX_ALLOCATION = 32 * 2**20  # bytes of one table of FFmpeg's: the packets of nine hours of AAC
MAX_OPENING_S = 0.3  # of this thread's processor time; opening a recording takes hundredths
MAX_READING_S, MAX_READING_SHARE = 0.5, 0.1  # of it between packets, and as a part of the audio's length
OPENING_READ_BYTES = 4096  # at a time: how often the time is looked at


class GuardedFile(io.RawIOBase):
    """The part of a file that is recording, for FFmpeg. Its methods raise nothing, as PyAV would raise it again at a
    later call, for another file.

    Args:
        file: seekable.
        kind: what it is.
        start: where it begins in bytes: after an ID3 tag.
        has_tags: whether the tags belong to it.

    Raises:
        ValueError: it is no recording.
    """

    def __init__(self, file: BinaryIO, kind: AudioKind, start: int, has_tags: bool = False) -> None:
        self.file = file
        self.head, self.start, stop = find_recording(file, kind, start, has_tags)
        self.size = len(self.head) + max(0, stop - self.start)
        self.position = 0
        self.error: OSError | None = None
        self.max_read_bytes = OPENING_READ_BYTES
        self.reading_s = 0.0
        # The exact clock is slow. It is asked once it is late by the other, as it is on a busy machine.
        self.clock = time.perf_counter
        self.allowed_s = MAX_OPENING_S
        self.deadline = self.clock() + self.allowed_s  # there the file ends

    def finish_opening(self) -> None:
        """The file is a recording: it may be read for any time."""
        self.clock, self.deadline, self.max_read_bytes = time.perf_counter, math.inf, self.size

    def limit(self, find: Callable[[], Found], audio_s: float) -> Found:
        """What FFmpeg finds, in limited time, after so many seconds of audio."""
        begin, clock = self.clock(), self.clock
        self.allowed_s = MAX_READING_S + MAX_READING_SHARE * audio_s
        self.deadline = begin + self.allowed_s - self.reading_s
        found = find()
        if self.clock is clock:
            self.reading_s += clock() - begin
        return found

    def _is_late(self) -> bool:
        if self.clock() <= self.deadline:
            return False
        if self.clock is time.thread_time:
            return True
        self.clock, self.reading_s = time.thread_time, 0.0
        self.deadline = self.clock() + self.allowed_s
        return False

    def check(self) -> None:
        """Tell whether the file could be read.

        Raises:
            OSError: what reading it raised.
        """
        if self.error:
            raise self.error

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes."""
        if self._is_late():
            return b""
        size = min(size, self.max_read_bytes)
        if self.position < len(self.head):
            data = self.head[self.position : self.position + size]
        elif self.position >= self.size:
            return b""
        else:
            size = min(size, self.size - self.position)
            try:
                self.file.seek(self.start + self.position - len(self.head))
                data = self.file.read(size)
            except OSError as error:
                self.error = error
                return b""
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; it is returned. A file may lead FFmpeg anywhere: beyond its ends there is nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, min(base + offset, self.size))
        return self.position

    def tell(self) -> int:
        """The position."""
        return self.position

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """The position can be moved."""
        return True


@cache
def limit_allocations() -> None:
    """Let no table of FFmpeg's in this process be larger than ``MAX_ALLOCATION``."""
    import av

    folder = Path(av.__file__).parent
    for library in (*folder.parent.glob("av.libs/libavutil*"), *folder.glob(".dylibs/libavutil*")):
        ctypes.CDLL(str(library)).av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION))
