"""Make the three clips that the web page offers: sequences of the synthetic genres, so that a timeline has changes.

``make samples`` runs it; the clips are in git.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from music_genre.datasets.synthesis import SAMPLE_RATE_HZ, STYLES, synthesize

CLIPS_DIR = Path(__file__).parents[1] / "src/music_genre/service/static/samples"
SEED = 2024
ARTIST = 1000  # no collection of usual size has so many
DURATION_S = 60
FADE_S = 1.0
OPUS_RATE_HZ = 48_000
COMPRESSION_LEVEL = 0.98  # of libsndfile: a minute of mono stays below 100 kB
SEQUENCES = {"folk-rock": ("Folk", "Rock", "Electronic"), "beats-pad": ("Hip-Hop", "Instrumental", "Pop")}
MIXTURE = "everything"  # the clip with all genres at once


def write_clips(folder: Path) -> None:
    """Write every clip as mono Opus of ``DURATION_S`` into a folder that exists."""
    for name, genres in SEQUENCES.items():
        sections = [_section(genre, DURATION_S // len(genres)) for genre in genres]
        _write(folder / f"{name}.ogg", _concatenate_with_fades(sections))
    _write(folder / f"{MIXTURE}.ogg", sum(_section(genre, DURATION_S) for genre in STYLES) / len(STYLES) ** 0.5)


def _section(genre: str, duration_s: int) -> np.ndarray:
    """(samples,) at ``SAMPLE_RATE_HZ``."""
    return synthesize(genre, ARTIST, 0, duration_s, SEED)


def _concatenate_with_fades(sections: list[np.ndarray]) -> np.ndarray:
    """(samples,), each section faded in and out."""
    ramp = np.linspace(0, 1, int(FADE_S * SAMPLE_RATE_HZ))
    for section in sections:
        section[: len(ramp)] *= ramp
        section[-len(ramp) :] *= ramp[::-1]
    return np.concatenate(sections)


def _write(path: Path, audio: np.ndarray) -> None:
    samples = soxr.resample(audio, SAMPLE_RATE_HZ, OPUS_RATE_HZ)
    soundfile.write(path, samples, OPUS_RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL)


if __name__ == "__main__":
    CLIPS_DIR.mkdir(exist_ok=True)
    write_clips(CLIPS_DIR)
