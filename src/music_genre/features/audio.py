"""Decode, downmix, resample. libsndfile does the decoding."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from music_genre.errors import AudioError, IssueReason

SUPPORTED_FORMATS = "mp3, wav, flac, ogg, opus, au, aiff"
SUPPORTED_SUFFIXES = frozenset({".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".au", ".aif", ".aiff"})

BLOCK_DURATION_S = 10.0  # decoded at a time, so that memory stays flat however long a file claims to be
MAX_SAMPLES_PER_READ = 2**22  # of all channels together, where a block would be more
MAX_ABS_SAMPLE = 1e4  # the power of larger samples of a float file would overflow
MAX_CHANNELS = 8
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 1_000, 384_000
MAX_FRAMES = 15 * 60 * 48_000  # samples a channel that are held in memory: 173 MB
UNKNOWN_FRAMES = 2**62  # libsndfile gives about this much where a file does not say how long it is

SILENCE_THRESHOLD_DBFS = -80.0  # a clip whose largest sample is below is silent
QUIET_BLOCK_DBFS = SILENCE_THRESHOLD_DBFS + 20  # a tenth of a second whose root mean square is below is silent
TRUNCATION_TOLERANCE_S = 0.2  # encoders pad by less


@dataclass(frozen=True)
class AudioSignal:
    """Decoded audio.

    Args:
        samples: (samples,) mono float32 in [-1, 1].
        sample_rate_hz: of ``samples``.
    """

    samples: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, by decoding it.

    Args:
        duration_s: decoded length.
        sample_rate_hz: as stored.
        channels: as stored.
        peak: the largest absolute sample of the downmix.
        invalid_fraction: of the samples of the downmix: NaN, infinite or beyond ``MAX_ABS_SAMPLE``.
        silent_fraction: of the tenths of a second: root mean square below ``QUIET_BLOCK_DBFS``.
        header_duration_s: length by the header.
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    peak: float
    invalid_fraction: float
    silent_fraction: float
    header_duration_s: float


def decode(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode the first ``max_seconds`` of a file to mono.

    Raises:
        AudioError: ``empty``, ``undecodable``.
    """
    with _open(source) as file:
        rate = int(file.samplerate)
        samples = _read_mono(file, int(max_seconds * rate))
    return AudioSignal(samples, rate)


def decode_all(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode a whole file to mono. One whose header says that it is too long is not decoded at all.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``, ``too_long``.
    """
    with _open(source) as file:
        rate, channels = int(file.samplerate), int(file.channels)
        if channels > MAX_CHANNELS or not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
            limits = f"at most {MAX_CHANNELS} channels at {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz are supported"
            raise AudioError(IssueReason.UNSUPPORTED, f"{channels} channels at {rate} Hz; {limits}")
        max_frames = int(min(max_seconds * rate, MAX_FRAMES))
        maximum = f"maximum duration is {max_frames / rate:.0f} s"
        if max_frames < file.frames < UNKNOWN_FRAMES:
            raise AudioError(IssueReason.TOO_LONG, f"{file.frames / rate:.0f} s; {maximum}")
        samples = _read_mono(file, max_frames + 1)
    if len(samples) > max_frames:
        raise AudioError(IssueReason.TOO_LONG, maximum)
    return AudioSignal(samples, rate)


def probe(path: Path, max_seconds: float) -> AudioInfo:
    """Describe a file by decoding up to ``max_seconds`` of it, block by block.

    Raises:
        AudioError: ``empty``, ``undecodable``.
    """
    peak, n_samples, n_invalid, n_silent, n_blocks = 0.0, 0, 0, 0, 0
    with _open(path) as file:
        rate, channels = int(file.samplerate), int(file.channels)
        header_frames = _header_frames(file)
        for samples, invalid in _mono_blocks(file, int(max_seconds * rate)):
            n_samples += len(samples)
            n_invalid += invalid
            peak = max(peak, float(np.max(np.abs(samples))))
            rms = _block_rms(samples, rate)
            n_blocks += len(rms)
            n_silent += int(np.sum(rms < 10 ** (QUIET_BLOCK_DBFS / 20)))
    if not n_samples:
        raise AudioError(IssueReason.UNDECODABLE, "no audio frames")
    return AudioInfo(
        duration_s=n_samples / rate,
        sample_rate_hz=rate,
        channels=channels,
        peak=peak,
        invalid_fraction=n_invalid / n_samples,
        silent_fraction=n_silent / max(n_blocks, 1),
        header_duration_s=header_frames / rate,
    )


def resample(signal: AudioSignal, sample_rate_hz: int) -> np.ndarray:
    """(samples,) float32 at ``sample_rate_hz``: to the bit what ``librosa.load`` gives (soxr, high quality), without
    the seconds that a process takes to import librosa.
    """
    import soxr

    samples, rate = signal.samples, signal.sample_rate_hz
    if rate == sample_rate_hz:
        return samples
    resampled: np.ndarray = soxr.resample(samples, rate, sample_rate_hz, "HQ")
    length = int(np.ceil(len(samples) * (sample_rate_hz / rate)))  # soxr rounds
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def is_silent(peak: float) -> bool:
    """Whether the largest sample, in [0, 1], is below ``SILENCE_THRESHOLD_DBFS``."""
    return bool(peak < 10 ** (SILENCE_THRESHOLD_DBFS / 20))


def decoder_crashed(_: object) -> AudioError:
    """What is wrong with a file on which libsndfile ended its process."""
    return AudioError(IssueReason.UNDECODABLE, "the decoder crashed")


def _open(source: Path | BinaryIO) -> soundfile.SoundFile:
    size = source.stat().st_size if isinstance(source, Path) else source.seek(0, 2)
    if not size:
        raise AudioError(IssueReason.EMPTY, "0 bytes")
    if not isinstance(source, Path):
        source.seek(0)
    try:
        # As bytes, because soundfile encodes names strictly, and files may have names that are not text.
        return soundfile.SoundFile(os.fsencode(source) if isinstance(source, Path) else source)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name that ends in .raw
        # libsndfile's own message for a format it does not know ("File does not exist ...") misleads.
        detail = f"no audio that libsndfile can read: {SUPPORTED_FORMATS}"
        raise AudioError(IssueReason.UNDECODABLE, detail) from error


def _header_frames(file: soundfile.SoundFile) -> int:
    """Length by the header. libsndfile replaces a length that does not fit the file, and only logs what it was."""
    match = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if match and 0 < int(match[2]) < int(match[1]) < 0x7FFF0000:
        return int(file.frames * int(match[1]) / int(match[2]))
    return max(0, int(file.frames))


def _read_mono(file: soundfile.SoundFile, max_frames: int) -> np.ndarray:
    """(samples,) float32, at most ``max_frames``."""
    blocks = [samples for samples, _ in _mono_blocks(file, max_frames)]
    if not blocks:
        raise AudioError(IssueReason.UNDECODABLE, "no audio frames")
    return np.concatenate(blocks)


def _mono_blocks(file: soundfile.SoundFile, max_frames: int) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of (samples,) float32 of at most ``BLOCK_DURATION_S``, ``max_frames`` samples in all, and how many samples
    of each block are invalid; those are set to 0.
    """
    block_frames = max(1, int(min(BLOCK_DURATION_S * file.samplerate, MAX_SAMPLES_PER_READ / file.channels)))
    while max_frames > 0:
        try:
            samples = file.read(min(block_frames, max_frames), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(IssueReason.UNDECODABLE, str(error.error_string)) from error
        if not len(samples):
            return
        max_frames -= len(samples)
        mono = _downmix(samples)
        invalid = ~(np.abs(mono) <= MAX_ABS_SAMPLE)
        mono[invalid] = 0
        yield mono, int(np.count_nonzero(invalid))


def _downmix(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,): the mean. Adding columns is forty times faster than ``mean(axis=1)``."""
    mono = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        mono += samples[:, channel]
    if samples.shape[1] > 1:
        mono *= np.float32(1 / samples.shape[1])
    return mono


def _block_rms(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """(blocks,) root mean square of each full tenth of a second."""
    length = max(1, sample_rate_hz // 10)
    blocks = samples[: len(samples) // length * length].reshape(-1, length)
    rms: np.ndarray = np.sqrt(np.mean(np.square(blocks), axis=1))
    return rms
