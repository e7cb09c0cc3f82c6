"""The pages of Ogg files, by RFC 3533."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_LINKS = 256  # that were chained; what follows belongs to the last
MIN_PAGES, MIN_PAGE_BYTES = 20_000, 100  # more pages are allowed where they have so many bytes on average
HEADER_BYTES, CAPTURE_PATTERN, SEARCH_BYTES = 27, b"OggS", 2**16
FIRST_PAGE_FLAG = 2


class Page(NamedTuple):
    """A page by its header.

    Args:
        start: in the file, in bytes.
        is_first: whether a logical stream begins with it.
        serial: of its logical stream.
        segment_sizes: a byte each.
    """

    start: int
    is_first: bool
    serial: bytes
    segment_sizes: bytes

    @property
    def body_start(self) -> int:
        """Where the segments begin, in the file, in bytes."""
        return self.start + HEADER_BYTES + len(self.segment_sizes)

    @property
    def stop(self) -> int:
        """Where the page ends, in the file, in bytes."""
        return self.body_start + sum(self.segment_sizes)


def read_pages(file: BinaryIO, start: int = 0) -> Iterator[Page]:
    """Pages in order; what lies between them is passed over.

    Raises:
        ValueError: they are so many and so small that they hold no recording.
    """
    n_pages, position = 0, start
    while True:
        file.seek(position)
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return
        if not header.startswith(CAPTURE_PATTERN):
            distance = (header + file.read(SEARCH_BYTES)).find(CAPTURE_PATTERN, 1)
            position += distance if distance > 0 else SEARCH_BYTES
            continue
        page = Page(position, bool(header[5] & FIRST_PAGE_FLAG), header[14:18], file.read(header[26]))
        position = page.stop
        n_pages += 1
        if n_pages > MIN_PAGES + (position - start) // MIN_PAGE_BYTES:
            raise ValueError("pages of Ogg that are too small")
        yield page


def split_links(file: BinaryIO) -> list[tuple[int, int]]:
    """The links of a chained file, as ``cat a.ogg b.ogg`` makes it: (start, stop) of each in bytes.

    Raises:
        ValueError: see ``read_pages``.
    """
    size = file.seek(0, io.SEEK_END)
    starts, was_first = [0], True
    for page in read_pages(file):
        if page.is_first and not was_first and len(starts) < MAX_LINKS:
            starts.append(page.start)
        was_first = page.is_first
    return list(zip(starts, [*starts[1:], size], strict=True))
