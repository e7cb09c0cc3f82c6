"""Decode by FFmpeg's libraries: the kinds that libsndfile lacks, and files that it gives up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from music_genre.audio.header import BLOCK_DURATION_S, AudioHeader
from music_genre.audio.kinds import AudioKind
from music_genre.errors import AudioError, IssueReason

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Nothing but the file itself is opened, whatever it names; and what many streams cost is bounded.
OPTIONS = {"protocol_whitelist": "none", "max_streams": "64"}
MAX_BAD_PACKETS = 10_000  # after which a file is given up
BITS_BY_FORMAT = {"u8": 8, "u8p": 8}


def open_container(file: BinaryIO, kind: AudioKind) -> InputContainer:
    """A file for FFmpeg to read, as the kind that it is and as no other.

    Raises:
        av.FFmpegError: it is damaged.
    """
    import av

    file.seek(0)
    return av.open(file, "r", format=kind.demuxer, options=OPTIONS, metadata_errors="replace", buffer_size=2**16)


class FfmpegReader:
    """A file that FFmpeg can open.

    Args:
        file: seekable.
        kind: what it is; nothing else is tried.

    Raises:
        AudioError: ``undecodable``, with the reason and what to do.
    """

    def __init__(self, file: BinaryIO, kind: AudioKind) -> None:
        from av.error import FFmpegError

        self.n_bad_packets = self.n_skipped_packets = 0
        try:
            self.container = open_container(file, kind)
        except (FFmpegError, ValueError) as error:
            raise _refused(kind, "which is incomplete or damaged beyond reading: fetch or export it again") from error
        if not self.container.streams.audio:
            what = "a video without sound" if self.container.streams.video else "without a recording in it"
            raise _refused(kind, what)
        self.stream: AudioStream = self.container.streams.audio[0]
        codec = self.stream.codec_context
        if codec is None or not codec.sample_rate:
            raise _refused(kind, "whose sound is protected or of an unknown codec: export it as flac or mp3")
        codec.thread_type = "NONE"
        self.header = AudioHeader(
            int(codec.sample_rate),
            int(codec.channels),
            tuple(channel.name for channel in codec.layout.channels),
            self._stated_duration() if kind.states_duration else None,
            BITS_BY_FORMAT.get(codec.format.name if codec.format else "", 0),
        )

    def blocks(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        """(n, channels) float32 of about ``BLOCK_DURATION_S`` in order, with the header of their stream.

        What cannot be decoded is left out and, where something good comes after it, counted in ``n_skipped_packets``.
        """
        return _join(self._frames())

    def _frames(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        from av.error import FFmpegError

        packets = self.container.demux(self.stream)
        while self.n_bad_packets < MAX_BAD_PACKETS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                return
            try:
                frames = packet.decode()
            except FFmpegError:
                self.n_bad_packets += 1
                continue
            for frame in frames:
                self.n_skipped_packets = self.n_bad_packets
                layout = tuple(channel.name for channel in frame.layout.channels)
                yield _samples(frame), AudioHeader(frame.sample_rate, len(layout), layout)

    def _stated_duration(self) -> float | None:
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None


def _join(frames: Iterator[tuple[np.ndarray, AudioHeader]]) -> Iterator[tuple[np.ndarray, AudioHeader]]:
    """Frames of a decoder, joined to blocks of about a second of the same form."""
    held: list[np.ndarray] = []
    n_held, of = 0, None
    for samples, header in frames:
        if held and of is not None and (header.sample_rate_hz, header.layout) != (of.sample_rate_hz, of.layout):
            yield np.concatenate(held), of
            held, n_held = [], 0
        held.append(samples)
        n_held, of = n_held + len(samples), header
        if n_held >= BLOCK_DURATION_S * header.sample_rate_hz:
            yield (held[0] if len(held) == 1 else np.concatenate(held)), header
            held, n_held = [], 0
    if held and of is not None:
        yield np.concatenate(held), of


def _samples(frame: AudioFrame) -> np.ndarray:
    """(n, channels) float32 of a decoded frame of any format."""
    values: np.ndarray[Any, Any] = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(frame.samples, -1)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    scale = 1 if samples.dtype.kind == "f" else 1 / -float(np.iinfo(samples.dtype).min)
    return np.ascontiguousarray(samples * np.float32(scale), np.float32)


def _refused(kind: AudioKind, reason: str) -> AudioError:
    return AudioError(IssueReason.UNDECODABLE, f"{kind.name} file {reason}")
