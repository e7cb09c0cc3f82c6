"""Decode a file to mono, in one pass and in bounded memory, and tell what was noticed on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soxr

from music_genre.audio.downmix import MAX_ABS_SAMPLE, OVERSCALE, clear_invalid, downmix, integer_scale
from music_genre.audio.ffmpeg import FfmpegReader
from music_genre.audio.header import BLOCK_DURATION_S, MAX_SAMPLE_RATE_HZ, AudioHeader
from music_genre.audio.kinds import AAC, FLAC, MPEG, OGG, AudioKind, detect_kind
from music_genre.audio.libsndfile import LibsndfileReader, StoppedEarlyError
from music_genre.audio.signal import AudioNote, AudioSignal, resample, silence_peak
from music_genre.audio.slices import FileSlice
from music_genre.errors import AudioError, IssueReason

MAX_HELD_SAMPLES = 15 * 60 * 48_000  # in memory at their own rate, 173 MB; more are held at HELD_SAMPLE_RATE_HZ
HELD_SAMPLE_RATE_HZ = 48_000
MAX_BYTES_PER_SECOND = MAX_SAMPLE_RATE_HZ * 2 * 4  # decoded, of all channels: stereo at the highest rate
MIN_COUNTED_S = 900.0  # of short parts of a file, as many bytes as of so many seconds are decoded
TRUNCATION_TOLERANCE_S = 0.2  # encoders pad by less


class MonoReader:
    """The mono samples of a file, block by block, and what was noticed.

    Args:
        file: seekable.
        max_seconds: of audio, at which reading stops.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``.
    """

    def __init__(self, file: BinaryIO, max_seconds: float) -> None:
        self.file, self.max_seconds = file, max_seconds
        self.kind, self.start = detect_kind(file)
        if self.start and self.kind not in (MPEG, FLAC, AAC):  # of others, no decoder expects a tag
            self.file = cast(BinaryIO, FileSlice(file, self.start, file.seek(0, io.SEEK_END)))
            self.start = 0
        self.reader = _open_reader(self.file, self.kind, self.start)
        self.header = self.reader.header
        self.header.check_supported()
        self.n_samples = self.n_bytes = self.n_invalid = self.n_cancelled = 0
        self.low, self.high = np.inf, -np.inf  # of all samples
        self.scale: float | None = None  # of integers in a float file; samples are to be divided by it
        self.stopped_early: StoppedEarlyError | None = None
        self.n_recovered = 0  # frames that FFmpeg decoded after libsndfile had stopped

    @property
    def is_at_limit(self) -> bool:
        """Whether a limit ended the reading, and not the file."""
        is_too_large = self.n_bytes > max(self.max_seconds, MIN_COUNTED_S) * MAX_BYTES_PER_SECOND
        return is_too_large or self.n_samples >= int(self.max_seconds * self.header.sample_rate_hz)

    def blocks(self) -> Iterator[np.ndarray]:
        """(n,) float32 mono at the header's sample rate, about a second each.

        Raises:
            AudioError: ``undecodable``: there is nothing that can be decoded.
        """
        rate = self.header.sample_rate_hz
        max_samples = int(self.max_seconds * rate)
        for samples, header in self._channel_blocks():
            self.n_bytes += samples.nbytes
            mono, is_cancelled = downmix(samples, header.layout)
            if header.sample_rate_hz != rate:  # of a stream that was joined
                mono = resample(AudioSignal(mono, header.sample_rate_hz), rate)
            mono = mono[: max_samples - self.n_samples]
            low, high = mono.min(), mono.max()
            if not (low >= -OVERSCALE and high <= OVERSCALE):  # also where one is NaN
                self.n_invalid += clear_invalid(mono, self._max_abs(mono))
                low, high = mono.min(), mono.max()
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
            self.n_samples += len(mono)
            self.n_cancelled += len(mono) * is_cancelled
            yield mono
            if self.is_at_limit:
                return
        if not self.n_samples:
            raise AudioError(IssueReason.UNDECODABLE, f"{self.kind.name} file without any audio that can be decoded")

    def notes(self) -> tuple[AudioNote, ...]:
        """What was noticed in the blocks so far."""
        notes = [self._damage()]
        if self.n_invalid:
            share = f"{self.n_invalid / self.n_samples:.2%} of its samples are NaN, infinite or out of range"
            notes.append(AudioNote(IssueReason.NOT_FINITE, share))
        if self.n_cancelled:
            seconds = self.n_cancelled / self.header.sample_rate_hz
            what = f"the channels cancel out in {seconds:.1f} s of it; there the loudest was used"
            notes.append(AudioNote(IssueReason.ANTIPHASE, what))
        if self.scale:
            what = f"a float file with integers of up to {self.scale:,.0f}; they were scaled"
            notes.append(AudioNote(IssueReason.RESCALED, what))
        return tuple(note for note in notes if note)

    def _max_abs(self, mono: np.ndarray) -> float:
        """The largest sample that is valid. Of an encoder that has no floats, larger ones come from damage."""
        if not self.header.is_float:
            return OVERSCALE
        self.scale = max(self.scale or 0.0, integer_scale(mono) or 0.0) or None  # a fade-in looks like smaller integers
        return MAX_ABS_SAMPLE * (self.scale or 1.0)

    def _channel_blocks(self) -> Iterator[tuple[np.ndarray, AudioHeader]]:
        """(n, channels) of the decoder; where libsndfile stops early, FFmpeg goes on from there."""
        n_frames = 0
        try:
            for samples, header in self.reader.blocks():
                n_frames += len(samples)
                yield samples, header
        except StoppedEarlyError as error:
            self.stopped_early = error
        else:
            return
        try:
            self.reader = FfmpegReader(self.file, self.kind, self.start)
        except AudioError:
            if not n_frames:
                raise
            return
        for samples, header in self.reader.blocks():
            skipped = min(len(samples), n_frames)
            n_frames -= skipped
            if skipped < len(samples):
                self.n_recovered += len(samples) - skipped
                yield samples[skipped:], header

    def _damage(self) -> AudioNote | None:
        """The note that a part is missing, at the end or before."""
        rate, stated_s = self.header.sample_rate_hz, self.header.duration_s
        is_short = not self.is_at_limit and stated_s is not None and self._missing_s > TRUNCATION_TOLERANCE_S
        is_failed = self.stopped_early is not None and self.stopped_early.has_failed
        has_gap = self.n_recovered > BLOCK_DURATION_S * rate and (is_failed or is_short)
        if is_short and self.kind.demuxer == OGG.demuxer:  # its last page, which is there, tells the length
            has_gap = True
        if isinstance(self.reader, FfmpegReader):
            has_gap |= self.reader.n_skipped_packets > 0 or (is_short and self.reader.has_gap)
            is_failed |= self.reader.has_given_up
        if is_short and not has_gap:
            detail = f"{self.n_samples / rate:.1f} s, its header says {stated_s:.1f} s"
            return AudioNote(IssueReason.TRUNCATED, detail)
        if has_gap or is_failed:
            of = f" of {stated_s:.1f}" if stated_s else ""
            detail = f"a damaged part was skipped; {self.n_samples / rate:.1f}{of} s could be decoded"
            return AudioNote(IssueReason.DAMAGED, detail)
        return None

    @property
    def _missing_s(self) -> float:
        return (self.header.duration_s or 0) - self.n_samples / self.header.sample_rate_hz


def decode(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode the first ``max_seconds`` of a file to mono.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``.
    """
    with open_audio(source) as file:
        reader = MonoReader(file, max_seconds)
        return to_signal(reader, list(reader.blocks()))


def decode_all(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode a whole file to mono. One whose header says that it is too long is not decoded at all.

    A long recording of a high sample rate is held at a lower one.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``, ``too_long``.
    """
    maximum = f"maximum duration is {max_seconds:.0f} s"
    with open_audio(source) as file:
        reader = MonoReader(file, max_seconds + 1)
        stated_s = reader.header.possible_duration_s
        if stated_s is not None and stated_s > max_seconds:
            raise AudioError(IssueReason.TOO_LONG, f"{stated_s:.0f} s; {maximum}")
        n_bytes, max_bytes = (stated_s or 0) * reader.header.bytes_per_second, max_seconds * MAX_BYTES_PER_SECOND
        if n_bytes > max_bytes:
            size = f"{stated_s:.0f} s are {n_bytes / 1e9:.1f} GB of samples; maximum is {max_bytes / 1e9:.1f} GB"
            raise AudioError(IssueReason.TOO_LONG, size)
        held = HeldSamples(reader.header.sample_rate_hz)
        for block in reader.blocks():
            held.add(block)
        if reader.is_at_limit or reader.n_samples > max_seconds * reader.header.sample_rate_hz:
            raise AudioError(IssueReason.TOO_LONG, maximum)
        return to_signal(reader, held.finish(), held.sample_rate_hz)


class HeldSamples:
    """Samples in memory: at their own rate, until they are so many that a lower one must do.

    Args:
        sample_rate_hz: of what will be added.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.blocks: list[np.ndarray] = []
        self.n_samples = 0
        self.resampler: soxr.ResampleStream | None = None

    def add(self, block: np.ndarray) -> None:
        """(n,) float32 that follow."""
        self.blocks.append(self.resampler.resample_chunk(block) if self.resampler else block)
        self.n_samples += len(block)
        if self.n_samples > MAX_HELD_SAMPLES and self.sample_rate_hz > HELD_SAMPLE_RATE_HZ:
            self.resampler = soxr.ResampleStream(self.sample_rate_hz, HELD_SAMPLE_RATE_HZ, 1, "float32", "HQ")
            self.sample_rate_hz = HELD_SAMPLE_RATE_HZ
            for index, held in enumerate(self.blocks):
                self.blocks[index] = self.resampler.resample_chunk(held)

    def finish(self) -> list[np.ndarray]:
        """All samples, at ``sample_rate_hz``."""
        if self.resampler:
            self.blocks.append(self.resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return self.blocks


def to_signal(reader: MonoReader, blocks: list[np.ndarray], sample_rate_hz: int | None = None) -> AudioSignal:
    """Blocks of a reader, joined; at the header's sample rate unless another is given."""
    samples = np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
    if reader.scale:
        samples = samples / np.float32(reader.scale)
    rate = sample_rate_hz or reader.header.sample_rate_hz
    return AudioSignal(samples, rate, silence_peak(reader.header.bits), reader.notes())


def decoder_crashed(_: object) -> AudioError:
    """What is wrong with a file on which a decoder ended its process."""
    return AudioError(IssueReason.UNDECODABLE, "the decoder crashed")


@contextmanager
def open_audio(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """A file to read from; one that is open stays so."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield source


def _open_reader(file: BinaryIO, kind: AudioKind, start: int) -> LibsndfileReader | FfmpegReader:
    if kind.by_soundfile:
        try:
            return LibsndfileReader(file, kind, start)
        except StoppedEarlyError:
            pass
    return FfmpegReader(file, kind, start)
