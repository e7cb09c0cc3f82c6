"""Decode by libsndfile, where that is right: in sequence, from a file object, mono and stereo."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from music_genre.audio import mpeg, ogg
from music_genre.audio.header import BLOCK_DURATION_S, AudioHeader
from music_genre.audio.kinds import FLAC, MPEG, OGG, OPUS, AudioKind
from music_genre.audio.slices import FileSlice, WholeFile

MAX_NAMED_CHANNELS = 2  # of more, libsndfile does not tell which is which
UNKNOWN_FRAMES = 2**62  # about what libsndfile gives where a file does not say how long it is
MAX_UNREAD_BYTES = 8192  # at the end of a stream that was decoded to its end: padding, half a frame
MAX_TAG_BYTES = 64 * 1024  # of an ID3 tag that libsndfile sees: it compares each text with every other
BITS_BY_SUBTYPE = {"PCM_S8": 8, "PCM_U8": 8}
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")


class StoppedEarlyError(Exception):
    """The decoder failed, or stopped before the end of the file.

    Args:
        has_failed: it reported an error.
    """

    def __init__(self, has_failed: bool) -> None:
        super().__init__()
        self.has_failed = has_failed


class _Stream(NamedTuple):
    """A part of a file, from ``start`` to ``stop`` in bytes, that libsndfile has opened."""

    start: int
    stop: int
    part: WholeFile | FileSlice
    opened: soundfile.SoundFile
    header: AudioHeader


class LibsndfileReader:
    """A file that libsndfile can open.

    Args:
        file: seekable.
        kind: what it is.
        start: where its audio begins in bytes.

    Raises:
        StoppedEarlyError: libsndfile cannot read it, or does not know its channels.
        AudioError: ``unsupported``.
    """

    def __init__(self, file: BinaryIO, kind: AudioKind, start: int) -> None:
        self.file, self.kind = file, kind
        is_length_stated = True
        self.size = self.end = file.seek(0, io.SEEK_END)
        bounds = [(0, self.size)]
        if kind is MPEG:
            streams, is_length_stated = mpeg.split_streams(file, start)
            self.end = streams[-1][1]
            if len(streams) > 1 or start > min(mpeg.tag_size(file), MAX_TAG_BYTES):
                bounds = streams
        elif kind in (OGG, OPUS):
            bounds = self._ogg_links()
        self.streams = [self._open(*stream) for stream in bounds]
        headers = [stream.header for stream in self.streams]
        durations = [header.duration_s for header in headers if header.duration_s is not None]
        stated = sum(durations) if is_length_stated and len(durations) == len(headers) else None
        possible = [header.possible_duration_s or 0.0 for header in headers]
        self.header = replace(headers[0], duration_s=stated, possible_duration_s=stated and sum(possible))

    def _ogg_links(self) -> list[tuple[int, int]]:
        try:
            return ogg.split_links(self.file)
        except ValueError as error:
            raise StoppedEarlyError(has_failed=True) from error

    def blocks(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        """(n, channels) float32 of ``BLOCK_DURATION_S`` or less in order, with the header of their stream. The next
        block takes the same place in memory.

        Raises:
            StoppedEarlyError: at an error, or at the end, where there is more that was not decoded.
        """
        for stream in self.streams:
            block_size = int(BLOCK_DURATION_S * stream.header.sample_rate_hz)
            block = np.empty((block_size, stream.header.channels), np.float32)
            with stream.opened:
                while True:
                    try:
                        samples = stream.opened.read(out=block)
                    except soundfile.LibsndfileError as error:
                        raise StoppedEarlyError(has_failed=True) from error
                    if not len(samples):
                        break
                    yield samples, stream.header
            unread = min(stream.stop, self.end) - stream.start - stream.part.tell()
            if self.kind in (MPEG, FLAC, OGG, OPUS) and unread > MAX_UNREAD_BYTES:
                raise StoppedEarlyError(has_failed=False)

    def _open(self, start: int, stop: int) -> _Stream:
        # A part costs a tenth of the decoding.
        part = WholeFile(self.file) if (start, stop) == (0, self.size) else FileSlice(self.file, start, stop)
        part.seek(0)
        try:
            opened = _SequentialFile(part)
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: raw samples of an unknown form
            raise StoppedEarlyError(has_failed=True) from error
        if not opened.samplerate:
            raise StoppedEarlyError(has_failed=False)
        rate, n_frames = int(opened.samplerate), _stated_frames(opened)
        duration_s = n_frames / rate if n_frames < UNKNOWN_FRAMES else None
        possible_s = duration_s and min(duration_s, max(0, int(opened.frames)) / rate)
        bits = BITS_BY_SUBTYPE.get(opened.subtype, 0)
        is_float = opened.subtype in FLOAT_SUBTYPES
        header = AudioHeader(rate, int(opened.channels), (), duration_s, possible_s, bits, is_float)
        header.check_supported()
        if header.channels > MAX_NAMED_CHANNELS:
            raise StoppedEarlyError(has_failed=False)
        return _Stream(start, stop, part, opened, header)


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end.

    Otherwise soundfile seeks after every block. Files of unknown length do not survive that, and after it an mp3
    decoder lacks the bits that it had in reserve.
    """

    def seekable(self) -> bool:
        """Whether to seek."""
        return False


def _stated_frames(file: soundfile.SoundFile) -> int:
    """Length by the header. libsndfile replaces a length that does not fit the file, and only logs what it was."""
    match = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if match and 0 < int(match[2]) < int(match[1]) < 0x7FFF0000:
        return int(file.frames * int(match[1]) / int(match[2]))
    return max(0, int(file.frames))
