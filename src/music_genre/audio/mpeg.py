"""The outside of MPEG audio: tags, frames, and the header frame that tells a stream's length.

Sizes follow ISO/IEC 11172-3 and 13818-3, ID3v2.4 and the Xing header as LAME writes it.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

MAX_STREAMS = 256  # that were joined; what follows is left out
MIN_FRAMES = 3  # in a row that make bytes a stream
# Kilobits a second by (is MPEG-1, layer), for the index in a header.
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
XING_BYTES_FLAG = 2
MAX_TAGS = 1_000  # frames of ID3
ID3V1_SIZE, APE_FOOTER_SIZE = 128, 32


class Frame(NamedTuple):
    """A frame by its header.

    Args:
        size: in bytes, with the header.
        side_info: bytes between the header and the main data, where a Xing header lies.
        signature: what all frames of a stream have in common: version, layer, sample rate.
    """

    size: int
    side_info: int
    signature: tuple[int, int, int]


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that a file begins with; 0 where it has none."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def tag_size(file: BinaryIO) -> int:
    """``id3_size`` of a file."""
    return id3_size(_read(file, 0, 10))


def has_many_tags(file: BinaryIO) -> bool:
    """Whether the ID3v2 tag at the beginning of a file has more than ``MAX_TAGS`` frames, each of which FFmpeg compares
    with all others.
    """
    head = _read(file, 0, 10)
    end, position, is_short = id3_size(head), 10, len(head) > 3 and head[3] == 2  # version 2.2: headers of 6 bytes
    for _ in range(MAX_TAGS):
        prefix = _read(file, position, 10)
        if position >= end or not prefix.strip(b"\0"):
            return False
        sizes = prefix[3:6] if is_short else prefix[4:8]
        bits = 7 if len(head) > 3 and head[3] == 4 else 8
        size = sum(byte << bits * place for place, byte in enumerate(reversed(sizes)))
        position += (6 if is_short else 10) + size
    return position < end


def read_frame(data: bytes, offset: int) -> Frame | None:
    """The frame whose header lies at an offset; None where there is none."""
    if offset + 4 > len(data) or data[offset] != 0xFF or data[offset + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[offset + 1] >> 3 & 3, 4 - (data[offset + 1] >> 1 & 3)
    bit_rate_index, rate_index = data[offset + 2] >> 4, data[offset + 2] >> 2 & 3
    if version == 1 or layer == 4 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    bit_rate, rate = BIT_RATES[version == 3, layer][bit_rate_index] * 1000, SAMPLE_RATES[version][rate_index]
    padding, is_mono = data[offset + 2] >> 1 & 1, data[offset + 3] >> 6 == 3
    if layer == 1:
        size = (12 * bit_rate // rate + padding) * 4
    else:
        size = (72 if layer == 3 and version != 3 else 144) * bit_rate // rate + padding
    side_info = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
    return Frame(size, side_info, (version, layer, rate))


def find_frame(data: bytes) -> int | None:
    """Offset of the first of ``MIN_FRAMES`` frames of one stream in a row; at the very beginning fewer will do, where
    the data end with them.
    """
    if _frames_follow(data, 0):
        return 0
    offset = data.find(b"\xff")
    while offset >= 0:
        if _frames_follow(data, offset, may_end=False):
            return offset
        offset = data.find(b"\xff", offset + 1)
    return None


def _frames_follow(data: bytes, offset: int, may_end: bool = True) -> bool:
    first = read_frame(data, offset)
    frame, position = first, offset
    for _ in range(MIN_FRAMES - 1):
        if first is None or frame is None or frame.signature != first.signature:
            return False
        position += frame.size
        if position >= len(data):
            return may_end
        frame = read_frame(data, position)
    return first is not None and frame is not None and frame.signature == first.signature


def is_adts(data: bytes) -> bool:
    """Whether data begin with AAC frames, which differ from MPEG audio by a layer of 0."""
    position = 0
    for _ in range(MIN_FRAMES):
        if len(data) < position + 7 or data[position] != 0xFF or data[position + 1] & 0xF6 != 0xF0:
            return False
        position += (data[position + 3] & 3) << 11 | data[position + 4] << 3 | data[position + 5] >> 5
        if position >= len(data):
            return True
    return True


def audio_end(file: BinaryIO) -> int:
    """Where the audio of a file ends in bytes: before tags at the end, ID3v1 and APE."""
    end = file.seek(0, os.SEEK_END)
    if _read(file, end - ID3V1_SIZE, 3) == b"TAG":
        end -= ID3V1_SIZE
    footer = _read(file, end - APE_FOOTER_SIZE, APE_FOOTER_SIZE)
    if footer[:8] == b"APETAGEX":
        size, flags = struct.unpack("<I4xI", footer[12:24])
        end -= min(end, size + (APE_FOOTER_SIZE if flags & 0x80000000 else 0))
    return end


def split_streams(file: BinaryIO, start: int) -> tuple[list[tuple[int, int]], bool]:
    """Streams that were joined, as ``cat a.mp3 b.mp3`` does it.

    Args:
        file: MPEG audio.
        start: where its first frame or tag begins.

    Returns:
        (start, stop) of each stream in bytes, and whether the length of every stream is stated: by a Xing header.
    """
    end = audio_end(file)
    streams: list[tuple[int, int]] = []
    while start < end and len(streams) < MAX_STREAMS:
        body = start + id3_size(_read(file, start, 10))
        size = _xing_size(_read(file, body, 4096))
        if not size:
            return [*streams, (start, end)], size is not None
        stop = body + size
        following = stop + (ID3V1_SIZE if _read(file, stop, 3) == b"TAG" else 0)
        beginning = _read(file, following, 4096)
        if following >= end or not (id3_size(beginning) or _frames_follow(beginning, 0)):
            return [*streams, (start, end)], True
        streams.append((start, stop))
        start = following
    return streams, start >= end


def _xing_size(data: bytes) -> int | None:
    """Bytes of the stream whose first frame is at the beginning of ``data``, by its Xing header. 0 where the header
    does not tell; None where there is no such header.
    """
    frame = read_frame(data, 0)
    if frame is None:
        return None
    position = 4 + frame.side_info
    if data[position : position + 4] not in (b"Xing", b"Info"):
        return None
    flags, n_frames, n_bytes = struct.unpack(">III", data[position + 4 : position + 16].ljust(12, b"\0"))
    return int(n_bytes) if flags & 1 and flags & XING_BYTES_FLAG and n_frames else 0


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(max(0, offset))
    return file.read(size) if offset >= 0 else b""
