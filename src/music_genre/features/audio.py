"""Decode, downmix, resample. libsndfile does the decoding: mp3, wav, flac, ogg, opus, au, aiff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from music_genre.errors import AudioError

BLOCK_SECONDS = 10.0
"""Decoded at a time: memory stays flat however long the file claims to be."""

LOUDEST = 1e4
"""Beyond this a sample of a float file is no sound; its power would overflow."""

MOST_VALUES = 2**22
"""Decoded at a time, all channels together, where ``BLOCK_SECONDS`` of a file would be more."""

MOST_CHANNELS, LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8, 1_000, 384_000
"""What sound recordings have; files that claim otherwise are made to hurt."""

MOST_FRAMES = 15 * 60 * 48_000
"""Samples a channel of a whole recording in memory: 173 MB."""

UNKNOWN_FRAMES = 2**62
"""libsndfile tells about this much where a file does not say how long it is."""

SILENT_DBFS = -80.0
"""A clip whose loudest sample lies under this is silent."""

MISSING_SECONDS = 0.2
"""A clip that ends this much before its header says is truncated; encoders' padding is well below."""


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
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True)
class AudioInfo:
    """What listening to a whole file tells.

    Args:
        seconds: decoded length.
        sample_rate_hz: as stored.
        channels: as stored.
        peak: the largest absolute sample of the downmix.
        lost_share: share of samples of the downmix that are no sound: NaN, infinite, beyond ``LOUDEST``.
        silent_share: share of tenths of a second whose root mean square lies under ``SILENT_DBFS`` + 20 dB.
        claimed_seconds: length by the header.
        artist: by the file's tags.
    """

    seconds: float
    sample_rate_hz: int
    channels: int
    peak: float
    lost_share: float
    silent_share: float
    claimed_seconds: float
    artist: str | None


def decode(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode the first ``max_seconds`` of a file to mono.

    Raises:
        AudioError: ``empty``, ``undecodable``.
    """
    with _open(source) as file:
        rate = int(file.samplerate)
        samples = _mono(file, int(max_seconds * rate))
    return AudioSignal(samples, rate)


def decode_whole(source: Path | BinaryIO, max_seconds: float) -> AudioSignal:
    """Decode a file to mono, all of it or nothing: where its header claims too much, nothing is decoded.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``, ``too_long``.
    """
    with _open(source) as file:
        rate, channels = int(file.samplerate), int(file.channels)
        if channels > MOST_CHANNELS or not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
            heard = f"up to {MOST_CHANNELS} are heard, at {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
            raise AudioError("unsupported", f"{channels} channels at {rate} Hz; {heard}")
        limit = int(min(max_seconds * rate, MOST_FRAMES))
        if limit < file.frames < UNKNOWN_FRAMES:
            raise AudioError("too_long", f"{file.frames / rate:.0f} s; at most {limit / rate:.0f} s are heard")
        samples = _mono(file, limit + 1)
    if len(samples) > limit:
        raise AudioError("too_long", f"at most {limit / rate:.0f} s are heard")
    return AudioSignal(samples, rate)


def listen(path: Path, max_seconds: float) -> AudioInfo:
    """Decode up to ``max_seconds`` of a file, block by block, and describe it.

    Raises:
        AudioError: ``empty``, ``undecodable``.
    """
    peak, frames, lost, quiet, tenths = 0.0, 0, 0, 0, 0
    with _open(path) as file:
        rate, channels = int(file.samplerate), int(file.channels)
        claimed, artist = _claimed_frames(file), file.artist.strip() or None
        for block, no_sound in _mono_blocks(file, int(max_seconds * rate)):
            frames += len(block)
            lost += no_sound
            peak = max(peak, float(np.max(np.abs(block))))
            loudness = _tenths_rms(block, rate)
            tenths += len(loudness)
            quiet += int(np.sum(loudness < 10 ** ((SILENT_DBFS + 20) / 20)))
    if not frames:
        raise AudioError("undecodable", "no audio frames")
    return AudioInfo(frames / rate, rate, channels, peak, lost / frames, quiet / max(tenths, 1), claimed / rate, artist)


def resample(recording: AudioSignal, sample_rate_hz: int) -> np.ndarray:
    """(samples,) float32 at ``sample_rate_hz``: to the bit what ``librosa.load`` would give (soxr, high quality),
    without the seconds that a process takes to import that.
    """
    import soxr

    samples, rate = recording.samples, recording.sample_rate_hz
    if rate == sample_rate_hz:
        return samples
    resampled: np.ndarray = soxr.resample(samples, rate, sample_rate_hz, "HQ")
    length = int(np.ceil(len(samples) * (sample_rate_hz / rate)))  # soxr rounds
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def is_silent(peak: float) -> bool:
    """Whether the loudest sample, in [0, 1], lies under ``SILENT_DBFS``."""
    return bool(peak < 10 ** (SILENT_DBFS / 20))


def _open(source: Path | BinaryIO) -> soundfile.SoundFile:
    size = source.stat().st_size if isinstance(source, Path) else source.seek(0, 2)
    if not size:
        raise AudioError("empty", "0 bytes")
    if not isinstance(source, Path):
        source.seek(0)
    try:
        return soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name that ends in .raw
        # Without a format that fits, libsndfile's own words ("File does not exist ...") mislead.
        raise AudioError(
            "undecodable", "no audio that libsndfile can read: mp3, wav, flac, ogg, opus, au, aiff"
        ) from error


def _claimed_frames(file: soundfile.SoundFile) -> int:
    """Length by the header. libsndfile corrects what does not fit the file and only says so in its log."""
    told = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if told and 0 < int(told[2]) < int(told[1]) < 0x7FFF0000:
        return int(file.frames * int(told[1]) / int(told[2]))
    return max(0, int(file.frames))


def _mono(file: soundfile.SoundFile, limit: int) -> np.ndarray:
    """(samples,) float32, at most ``limit`` of them."""
    blocks = [block for block, _ in _mono_blocks(file, limit)]
    if not blocks:
        raise AudioError("undecodable", "no audio frames")
    return np.concatenate(blocks)


def _mono_blocks(file: soundfile.SoundFile, limit: int) -> Iterator[tuple[np.ndarray, int]]:
    """(samples,) float32 blocks of at most ``BLOCK_SECONDS``, ``limit`` frames in all; what is no sound is 0 there, and
    counted.
    """
    block = max(1, int(min(BLOCK_SECONDS * file.samplerate, MOST_VALUES / file.channels)))
    while limit > 0:
        try:
            samples = file.read(min(block, limit), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError("undecodable", str(error.error_string)) from error
        if not len(samples):
            return
        limit -= len(samples)
        mono = _downmix(samples)
        no_sound = ~(np.abs(mono) <= LOUDEST)
        mono[no_sound] = 0
        yield mono, int(np.count_nonzero(no_sound))


def _downmix(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,): the mean. Adding columns is forty times faster than ``mean(axis=1)``."""
    mono = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        mono += samples[:, channel]
    if samples.shape[1] > 1:
        mono *= np.float32(1 / samples.shape[1])
    return mono


def _tenths_rms(block: np.ndarray, rate: int) -> np.ndarray:
    """(tenths,) root mean square of each full tenth of a second."""
    length = max(1, rate // 10)
    whole = block[: len(block) // length * length].reshape(-1, length)
    rms: np.ndarray = np.sqrt(np.mean(np.square(whole), axis=1))
    return rms
