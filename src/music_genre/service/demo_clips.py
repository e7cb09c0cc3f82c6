"""The three clips that the web page offers: medleys of the synthetic styles, so that a timeline has something to tell.

``python -m music_genre.service.demo_clips`` (``make samples``) writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from music_genre.datasets.synthesis import SAMPLE_RATE_HZ, STYLES, synthesise

FOLDER = Path(__file__).parent / "static/samples"
SEED = 2024
SECONDS = 60
FADE_SECONDS = 1.0
OPUS_RATE_HZ = 48_000
SMALL = 0.98
"""libsndfile's compression level that keeps a minute of mono below 100 kB."""

SEQUENCES = {"folk-rock": ("Folk", "Rock", "Electronic"), "beats-pad": ("Hip-Hop", "Instrumental", "Pop")}
"""File by file, the styles that follow one another."""

MIXTURE = "everything"
"""The file with all styles at once."""


def write_medleys(folder: Path) -> None:
    """Write every medley as mono Opus of ``SECONDS`` into a folder that exists."""
    for name, genres in SEQUENCES.items():
        _write(folder / f"{name}.ogg", _one_after_another([_style(genre, SECONDS // len(genres)) for genre in genres]))
    _write(folder / f"{MIXTURE}.ogg", sum(_style(genre, SECONDS) for genre in STYLES) / len(STYLES) ** 0.5)


def _style(genre: str, seconds: int) -> np.ndarray:
    """(samples,) at ``SAMPLE_RATE_HZ``, by an artist that no collection of usual size has."""
    return synthesise(genre, 1000, 0, seconds, SEED)


def _one_after_another(parts: list[np.ndarray]) -> np.ndarray:
    """(samples,) with every part faded in and out."""
    ramp = np.linspace(0, 1, int(FADE_SECONDS * SAMPLE_RATE_HZ))
    for part in parts:
        part[: len(ramp)] *= ramp
        part[-len(ramp) :] *= ramp[::-1]
    return np.concatenate(parts)


def _write(path: Path, audio: np.ndarray) -> None:
    samples = soxr.resample(audio, SAMPLE_RATE_HZ, OPUS_RATE_HZ)
    soundfile.write(path, samples, OPUS_RATE_HZ, format="OGG", subtype="OPUS", compression_level=SMALL)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_medleys(FOLDER)
