"""Container headers as a decoder needs them: without tags and indices, which can cost more to read than the audio."""

from __future__ import annotations

import io
from typing import BinaryIO, Literal

from music_genre.audio.kinds import AIFF, FLAC, MATROSKA, OGG, OPUS, SPEEX, WAV, AudioKind
from music_genre.audio.ogg import read_pages

MAX_TAGS_BYTES = 32 * 1024  # of a block of tags that is read before it is compared
MAX_HEADERS = 10_000  # before the first frame

STREAM_INFO, VORBIS_COMMENT = 0, 4  # blocks of FLAC
EBML, SEGMENT, INFO, TRACKS, TAGS, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1254C367, 0x1F43B675
MAX_BYTES_BY_ELEMENT = {EBML: 1024, INFO: MAX_TAGS_BYTES, TRACKS: 2**20, TAGS: MAX_TAGS_BYTES}
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
CHUNKS = (b"fmt ", b"ds64", b"fact", b"COMM", b"FVER")  # of WAV and AIFF, without the samples
TAG_CHUNKS = (b"LIST", b"bext", b"id3 ", b"ID3 ", b"NAME", b"AUTH", b"ANNO", b"(c) ")
MAX_COMPARISONS = 5 * 10**8  # of bytes, among the tags of a packet


def find_recording(file: BinaryIO, kind: AudioKind, start: int, has_tags: bool) -> tuple[bytes, int, int]:
    """What a decoder needs of a file: bytes to begin with, and the start and the stop of what follows in the file.

    Args:
        file: seekable.
        kind: what it is.
        start: where it begins in bytes.
        has_tags: whether the tags are needed, too.

    Raises:
        ValueError: its tags are too many.
    """
    end = file.seek(0, io.SEEK_END)
    if kind is FLAC:
        return *_head_of_flac(file, start), end
    if kind is MATROSKA:
        return *_head_of_matroska(file, start, end), end
    if kind in (WAV, AIFF):
        chunks = CHUNKS + (TAG_CHUNKS if has_tags else ())
        return _parts_of_chunks(file, start, end, "little" if kind is WAV else "big", chunks)
    if kind in (OGG, OPUS, SPEEX):
        _check_packets(file, start)
    return b"", start, end


def _head_of_flac(file: BinaryIO, start: int) -> tuple[bytes, int]:
    """A header of the first stream info and, where they are few, the first comments; and where the frames begin."""
    blocks: dict[int, bytes] = {}
    position = start + 4
    for _ in range(MAX_HEADERS):
        file.seek(position)
        prefix = file.read(4).ljust(4, b"\xff")
        number, size = prefix[0] & 0x7F, int.from_bytes(prefix[1:], "big")
        if number in (STREAM_INFO, VORBIS_COMMENT) and size <= MAX_TAGS_BYTES:
            blocks.setdefault(number, bytes([number]) + prefix[1:] + file.read(size))
        position += 4 + size
        if prefix[0] & 0x80:
            break
    *others, last = [blocks[number] for number in sorted(blocks)] or [b"\0"]
    return b"".join((b"fLaC", *others, bytes([last[0] | 0x80]), last[1:])), position


def _head_of_matroska(file: BinaryIO, start: int, end: int) -> tuple[bytes, int]:
    """The first elements of the kinds that decoding needs, and tags if they are few, but no index; and where the first
    cluster begins.
    """
    elements: dict[int, bytes] = {}
    position = start
    for _ in range(MAX_HEADERS):
        file.seek(position)
        number, prefix, size = _read_element(file)
        if number == SEGMENT:
            elements.setdefault(SEGMENT, prefix[:4] + UNKNOWN_SIZE)
            size = 0
        if number == CLUSTER:
            return b"".join(elements.values()), position
        if size is None:
            break
        if size <= MAX_BYTES_BY_ELEMENT.get(number, -1):
            elements.setdefault(number, prefix + file.read(size))
        position = min(position + len(prefix) + size, end)
    return b"".join(elements.values()), end


def _read_element(file: BinaryIO) -> tuple[int, bytes, int | None]:
    """ID, header and data size of an EBML element; the size is None where it is unknown, or there is no element."""
    lengths, prefix = [], b""
    for _ in ("number", "size"):
        first = file.read(1)
        if not first or not first[0]:
            return 0, b"", None
        lengths.append(9 - first[0].bit_length())
        prefix += first + file.read(lengths[-1] - 1)
    size_mask = (1 << 7 * lengths[1]) - 1
    size = int.from_bytes(prefix[lengths[0] :], "big") & size_mask
    return int.from_bytes(prefix[: lengths[0]], "big"), prefix, None if size == size_mask else size


def _parts_of_chunks(
    file: BinaryIO, start: int, end: int, order: Literal["little", "big"], wanted: tuple[bytes, ...]
) -> tuple[bytes, int, int]:
    """The chunks that are wanted, as far as they are small, and where the chunk of the samples starts and stops."""
    file.seek(start)
    head, position, size_64 = file.read(12), start + 12, 0
    samples = (end, end)
    for _ in range(MAX_HEADERS):
        file.seek(position)
        prefix = file.read(8)
        if len(prefix) < 8:
            break
        number, size = prefix[:4], int.from_bytes(prefix[4:], order)
        if number == b"ds64":  # sizes of 64 bits: of the file, of the samples
            size_64 = int.from_bytes(file.read(16)[8:], order)
            file.seek(position + 8)
        if number in (b"data", b"SSND") and samples == (end, end):
            size = size_64 if size == 2**32 - 1 else size
            samples = position, min(end, position + 8 + size) if size else end
            size = samples[1] - position - 8
        elif number in wanted and size <= MAX_TAGS_BYTES - len(head):
            head += prefix + file.read(size + size % 2)
        position += 8 + size + size % 2
    return head, *samples


def _check_packets(file: BinaryIO, start: int) -> None:
    """See that no packet of Ogg has more tags than can be compared: each has an equals sign.

    Raises:
        ValueError: one has, or the pages are too small.
    """
    costs: dict[bytes, tuple[int, int]] = {}  # bytes and signs of each stream since its last packet ended
    for page in read_pages(file, start):
        file.seek(page.body_start)
        body = file.read(page.stop - page.body_start)
        n_bytes, n_signs = costs.get(page.serial, (0, 0))
        n_bytes, n_signs = n_bytes + len(body), n_signs + body.count(b"=")
        if n_bytes * n_signs > MAX_COMPARISONS:
            raise ValueError("tags of Ogg that are too many")
        if ends := page.segment_sizes.rstrip(b"\xff"):  # a packet ends in this page
            n_bytes = 255 * (len(page.segment_sizes) - len(ends))
            n_signs = body.count(b"=", len(body) - n_bytes)
        costs[page.serial] = n_bytes, n_signs
