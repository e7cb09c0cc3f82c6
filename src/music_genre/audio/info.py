"""What a recording is, found in the same pass that decodes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from music_genre.audio.decoding import MonoReader, open_audio, to_signal
from music_genre.audio.signal import AudioNote, AudioSignal, silence_peak
from music_genre.errors import IssueReason

QUIET_RMS = 1e-3  # -60 dBFS; a tenth of a second whose root mean square is below is silent


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, by decoding it.

    Args:
        duration_s: decoded length.
        sample_rate_hz: as stored.
        channels: as stored.
        peak: the largest distance of the downmix from its mean, in [0, 1].
        is_silent: whether that is no more than noise of rounding.
        invalid_fraction: of the samples: NaN, infinite or out of range.
        silent_fraction: of the tenths of a second: root mean square below ``QUIET_RMS``.
        notes: what was noticed.
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    peak: float
    is_silent: bool
    invalid_fraction: float
    silent_fraction: float
    notes: tuple[AudioNote, ...]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> AudioInfo:
        """From what ``dataclasses.asdict`` made, after a way through JSON."""
        notes = tuple(AudioNote(IssueReason(code), message) for code, message in values["notes"])
        return cls(**values | {"notes": notes})


def inspect_recording(
    source: Path | BinaryIO, max_seconds: float, keep_seconds: float = 0
) -> tuple[AudioInfo, AudioSignal]:
    """Describe up to ``max_seconds`` of a file; keep the first ``keep_seconds`` of them: what ``decode`` gives.

    Raises:
        AudioError: ``empty``, ``undecodable``, ``unsupported``.
    """
    levels, kept = _Levels(), []
    with open_audio(source) as file:
        reader = MonoReader(file, max_seconds)
        n_missing = int(keep_seconds * reader.header.sample_rate_hz)
        for block in reader.blocks():
            levels.add(block, reader.header.sample_rate_hz)
            if n_missing > 0:
                kept.append(block[:n_missing])
                n_missing -= len(block)
        header, scale = reader.header, reader.scale or 1.0
        peak = max(reader.high - levels.mean, levels.mean - reader.low) / scale
        info = AudioInfo(
            duration_s=reader.n_samples / header.sample_rate_hz,
            sample_rate_hz=header.sample_rate_hz,
            channels=header.channels,
            peak=peak,
            is_silent=peak < silence_peak(header.bits),
            invalid_fraction=reader.n_invalid / reader.n_samples,
            silent_fraction=levels.silent_fraction(QUIET_RMS * scale),
            notes=reader.notes(),
        )
        return info, to_signal(reader, kept or [np.zeros(0, np.float32)])


class _Levels:
    """Levels of a recording, gathered block by block; its mean, which is no sound, is known at the end."""

    def __init__(self) -> None:
        self.means: list[np.ndarray] = []  # of each tenth of a second
        self.mean_squares: list[np.ndarray] = []

    def add(self, samples: np.ndarray, sample_rate_hz: int) -> None:
        """(n,) float32 that follow."""
        length = max(1, sample_rate_hz // 10)
        tenths = samples[: len(samples) // length * length].reshape(-1, length)
        self.means.append(tenths.mean(axis=1, dtype=np.float32))
        self.mean_squares.append(np.einsum("ts,ts->t", tenths, tenths) / length)

    @property
    def mean(self) -> float:
        """Of all samples."""
        means = np.concatenate(self.means)
        return float(means.mean(dtype=np.float64)) if len(means) else 0.0

    def silent_fraction(self, quiet_rms: float) -> float:
        """The fraction of tenths of a second whose root mean square, without the mean, is below ``quiet_rms``."""
        means, squares = np.concatenate(self.means), np.concatenate(self.mean_squares)
        powers = squares - 2 * self.mean * means + self.mean**2
        return float(np.mean(powers < quiet_rms**2)) if len(powers) else 0.0
