"""Files as decoders read them: whole, or a part."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

MAX_POSITION = 2**40  # in bytes: no file system minds it


class WholeFile:
    """A file that can be asked for any position. libsndfile goes where a damaged header leads, and what that raises
    would be printed.

    Args:
        file: seekable.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.read, self.tell = file.read, file.tell
        if hasattr(file, "readinto"):
            self.readinto = file.readinto

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; it is returned."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell()}.get(whence)
        if base is None:
            base = self.file.seek(0, io.SEEK_END)
        return self.file.seek(max(0, min(base + offset, MAX_POSITION)))


class FileSlice(io.RawIOBase):
    """A part of a file, as a file.

    Args:
        file: seekable.
        start: of the part in bytes.
        stop: its end.
    """

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self.file, self.start, self.stop, self.position = file, start, stop, start

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; the number of bytes."""
        if self.position >= self.stop:
            return 0
        self.file.seek(self.position)
        data = self.file.read(min(len(buffer), self.stop - self.position))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; it is returned."""
        base = {io.SEEK_SET: self.start, io.SEEK_CUR: self.position, io.SEEK_END: self.stop}[whence]
        self.position = max(self.start, base + offset)
        return self.position - self.start

    def tell(self) -> int:
        """The position."""
        return self.position - self.start

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """The position can be moved."""
        return True
