"""Decoded audio: its length, its silence, another sample rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soxr

from music_genre.errors import IssueReason

SILENCE_PEAK = 1e-4  # -80 dBFS; a clip whose samples reach no farther from their mean is silent
SILENT_STEPS = 2.5  # steps of coarse integers that noise of rounding does not reach


class AudioNote(NamedTuple):
    """What was noticed about a recording that can be used.

    Args:
        code: for tables and programs.
        message: what was found, and what was done about it.
    """

    code: IssueReason
    message: str


@dataclass(frozen=True)
class AudioSignal:
    """Decoded audio.

    Args:
        samples: (samples,) mono float32 in [-1, 1].
        sample_rate_hz: of ``samples``.
        silence_peak: the largest distance from their mean that silent samples have.
        notes: what was noticed when it was decoded.
    """

    samples: np.ndarray
    sample_rate_hz: int
    silence_peak: float = SILENCE_PEAK
    notes: tuple[AudioNote, ...] = ()

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.sample_rate_hz


def silence_peak(bits: int) -> float:
    """``AudioSignal.silence_peak`` of integers of so many bits; 0 bits: of anything finer than coarse integers."""
    return max(SILENCE_PEAK, SILENT_STEPS * 2 ** (1 - bits)) if bits else SILENCE_PEAK


def peak(samples: np.ndarray) -> float:
    """The largest distance of samples from their mean, which is no sound."""
    low, high, mean = float(samples.min()), float(samples.max()), float(samples.mean())
    return max(high - mean, mean - low)


def resample(signal: AudioSignal, sample_rate_hz: int) -> np.ndarray:
    """(samples,) float32 at ``sample_rate_hz``: to the bit what ``librosa.load`` gives (soxr, high quality), without
    the seconds that a process takes to import librosa.
    """
    samples, rate = signal.samples, signal.sample_rate_hz
    if rate == sample_rate_hz:
        return samples
    resampled: np.ndarray = soxr.resample(samples, rate, sample_rate_hz, "HQ")
    length = int(np.ceil(len(samples) * (sample_rate_hz / rate)))  # soxr rounds
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))
