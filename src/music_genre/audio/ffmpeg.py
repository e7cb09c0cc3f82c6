"""Decode by FFmpeg's libraries: the kinds that libsndfile lacks, and files that it gives up."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from music_genre.audio import mpeg
from music_genre.audio.guard import GuardedFile, limit_allocations
from music_genre.audio.header import BLOCK_DURATION_S, AudioHeader
from music_genre.audio.kinds import AAC, MPEG, WAVPACK, AudioKind
from music_genre.audio.slices import FileSlice
from music_genre.errors import AudioError, IssueReason

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

# Nothing but the file itself is opened, whatever it names; and what many streams cost is bounded.
OPTIONS = {"protocol_whitelist": "none", "max_streams": "64"}
PROTECTED_TAGS = ("drms", "enca")  # of what was bought: to the decoder it is damage from end to end
MAX_BAD_PACKETS = 10_000  # after which a file is given up
MAX_FAILED_READS = 100  # in a row, likewise
MIN_GAP_S = 0.1  # between frames by their times, which some containers round
WAVPACK_MARK, SEARCH_BYTES = b"wvpk", 2**20
CHECKED_CODECS = ("flac", "tta", "wavpack")  # whose checksums tell damage; unchecked, it is decoded to noise
RENEWED_CODECS, MAX_RENEWALS = ("aac",), 100  # whose decoder can stay silent after damage
MAX_PACKETS, MAX_PACKETS_PER_SECOND = 10_000, 1_000  # beyond both, most of the work is not for audio
MAX_FORMS = 256  # sample rates and layouts, one after the other; what follows is left out
DTYPES = {name: np.dtype(code) for name, code in zip(("u8", "s16", "s32", "s64", "flt", "dbl"), "Bhiqfd", strict=True)}
BITS_BY_FORMAT = {"u8": 8, "u8p": 8}


def open_container(file: BinaryIO, kind: AudioKind) -> InputContainer:
    """A file with its tags for FFmpeg to read, as the kind that it is and as no other.

    Raises:
        av.FFmpegError: it is damaged.
        ValueError: its tags are too many, or its codec is unknown.
        OSError: it cannot be read.
    """
    start = 0 if kind in (MPEG, AAC) and not mpeg.has_many_tags(file) else mpeg.tag_size(file)
    container = _open(GuardedFile(file, kind, start, has_tags=True), kind)
    if any(stream.codec_context is None for stream in container.streams.audio):
        raise ValueError("unknown codec")
    return container


def _open(guard: GuardedFile, kind: AudioKind) -> InputContainer:
    import av

    limit_allocations()
    try:
        return av.open(guard, "r", format=kind.demuxer, options=OPTIONS, metadata_errors="replace", buffer_size=2**16)
    finally:
        guard.finish_opening()
        guard.check()


class FfmpegReader:
    """A file that FFmpeg can open.

    Args:
        file: seekable.
        kind: what it is; nothing else is tried.
        start: where it begins in bytes: after an ID3 tag.

    Raises:
        AudioError: ``undecodable``, with the reason and what to do.
    """

    def __init__(self, file: BinaryIO, kind: AudioKind, start: int) -> None:
        from av.error import FFmpegError

        self.file, self.kind = file, kind
        self.n_bad_packets = self.n_skipped_packets = 0
        self.seconds = 0.0  # decoded so far
        self.has_gap = False  # by the times of frames
        self.has_given_up = False  # though the file goes on
        try:
            self.guard = GuardedFile(file, kind, start)
            self.container = _open(self.guard, kind)
        except (FFmpegError, ValueError) as error:
            raise _refused(kind, "which is incomplete or damaged beyond reading: fetch or export it again") from error
        if not self.container.streams.audio:
            what = "which is a video without sound" if self.container.streams.video else "without a recording in it"
            raise _refused(kind, what)
        self.stream: AudioStream = self.container.streams.audio[0]
        codec = self.stream.codec_context
        if codec is None or not codec.sample_rate or codec.codec_tag in PROTECTED_TAGS:
            raise _refused(kind, "whose sound is protected or of an unknown codec: export it as flac or mp3")
        self._prepare_decoder()
        duration_s = self._stated_duration() if kind.states_duration else None
        self.header = AudioHeader(
            int(codec.sample_rate),
            int(codec.channels),
            tuple(channel.name for channel in codec.layout.channels),
            duration_s,
            duration_s,
            BITS_BY_FORMAT.get(codec.format.name if codec.format else "", 0),
            codec.name.startswith("pcm_f")
            or (codec.name == "wavpack" and codec.format is not None and "flt" in codec.format.name),
        )

    def blocks(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        """(n, channels) float32 of about ``BLOCK_DURATION_S`` in order, with the header of their stream.

        What cannot be decoded is left out and, where something good comes after it, counted in ``n_skipped_packets``.
        """
        return _join(self._frames())

    def _frames(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        from av.error import FFmpegError

        renewed: AudioCodecContext | None = None  # decoder
        end_s, n_forms, form = None, 0, None  # of the frame before
        for packet in self._packets():
            try:
                frames = renewed.decode(packet) if renewed else packet.decode()
            except FFmpegError:
                self.n_bad_packets += 1
                if self.stream.codec_context.name in RENEWED_CODECS and self.n_bad_packets < MAX_RENEWALS:
                    renewed = self._new_decoder()
                continue
            for frame in frames:
                layout = tuple(channel.name for channel in frame.layout.channels)
                header = AudioHeader(frame.sample_rate, len(layout), layout)
                if not (frame.samples and header.is_supported):
                    self.n_bad_packets += 1
                    continue
                n_forms += header != form
                form = header
                if n_forms > MAX_FORMS:
                    self.has_given_up = True
                    return
                if packet.size:  # otherwise the decoder's last, after which comes nothing
                    self.n_skipped_packets = self.n_bad_packets
                if frame.time is not None:
                    self.has_gap |= end_s is not None and frame.time > end_s + MIN_GAP_S
                    end_s = frame.time + frame.samples / frame.sample_rate
                yield _samples(frame), header
                self.seconds += frame.samples / frame.sample_rate
        self.guard.check()

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """Packets of the stream; where the container is damaged, those that can be found after it."""
        from av.error import FFmpegError

        packets, n_failed, n_packets = self.container.demux(self.stream), 0, 0
        start = end = 0  # of the container and of the packet before in bytes
        while self.n_bad_packets < MAX_BAD_PACKETS and n_failed < MAX_FAILED_READS:
            n_packets += 1
            if n_packets > MAX_PACKETS + MAX_PACKETS_PER_SECOND * self.seconds:
                break
            try:
                packet = self.guard.limit(packets.__next__, self.seconds)
            except StopIteration:
                self.has_given_up = n_failed > 0
                return
            except FFmpegError:
                self.n_bad_packets += 1
                n_failed += 1
                if self.kind is WAVPACK:
                    start = end = self.guard.limit(partial(self._reopen_after, end), self.seconds)
                packets = self.container.demux(self.stream)
            else:
                n_failed = 0 if packet.size else n_failed  # none where the file ends
                end = max(end, start + (packet.pos or 0) + packet.size)
                yield packet
        self.has_given_up = True

    def _prepare_decoder(self) -> None:
        codec = self.stream.codec_context
        codec.thread_type = "NONE"
        if codec.name in CHECKED_CODECS:
            codec.options = {"err_detect": "crccheck+explode"}

    def _new_decoder(self) -> AudioCodecContext:
        from av.audio.codeccontext import AudioCodecContext

        of = self.stream.codec_context
        decoder = cast(AudioCodecContext, AudioCodecContext.create(of.name, "r"))
        decoder.extradata, decoder.sample_rate, decoder.layout = of.extradata, of.sample_rate, of.layout
        decoder.thread_type = "NONE"
        return decoder

    def _reopen_after(self, position: int) -> int:
        """Go on at the next block of a WavPack file; where it begins. FFmpeg does not look for it."""
        from av.error import FFmpegError

        size = self.file.seek(0, io.SEEK_END)
        start = _find(self.file, WAVPACK_MARK, position + 1)
        guard = GuardedFile(cast(BinaryIO, FileSlice(self.file, start, size)), self.kind, 0)
        guard.reading_s = self.guard.reading_s
        try:
            container = _open(guard, self.kind)
        except FFmpegError:
            return start
        if container.streams.audio:
            self.guard, self.container, self.stream = guard, container, container.streams.audio[0]
            self._prepare_decoder()
        return start

    def _stated_duration(self) -> float | None:
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None


def _find(file: BinaryIO, mark: bytes, position: int) -> int:
    """Where a mark comes next in a file, from a position on; the file's end where it does not."""
    file.seek(position)
    while chunk := file.read(SEARCH_BYTES):
        found = chunk.find(mark)
        if found >= 0:
            return position + found
        if len(chunk) < SEARCH_BYTES:
            break
        position = file.seek(position + len(chunk) - len(mark) + 1)
    return file.seek(0, io.SEEK_END)


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
    from av.audio import plane

    # Not `frame.planes`, nor what uses it: PyAV 18 looks for the end of the list where eight channels leave none.
    plane_of: Any = plane.AudioPlane
    is_planar, n_channels = frame.format.is_planar, frame.layout.nb_channels
    dtype = DTYPES[frame.format.name.removesuffix("p")]
    if is_planar:
        planes = [np.frombuffer(plane_of(frame, channel), dtype, frame.samples) for channel in range(n_channels)]
        samples = np.stack(planes, axis=1)
    else:
        values = np.frombuffer(plane_of(frame, 0), dtype, frame.samples * n_channels)
        samples = values.reshape(frame.samples, n_channels)
    if dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    with np.errstate(all="ignore"):  # a float may be anything
        scale = 1 if dtype.kind == "f" else 1 / -float(np.iinfo(dtype).min)
        return np.ascontiguousarray(samples * np.float32(scale), np.float32)


def _refused(kind: AudioKind, reason: str) -> AudioError:
    return AudioError(IssueReason.UNDECODABLE, f"{kind.name} file {reason}")
