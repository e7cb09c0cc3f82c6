"""Statistics of a spectrogram that the data checks and drift detection look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from music_genre.features.mel import upper_bands
from music_genre.features.params import FLOOR_DB, MelConfig

# Recordings of 8 kHz have no cell above -78 dB there, 98.5 % of the clips of FMA-small more than a hundredth of them.
UPPER_LEVEL_DB, MIN_UPPER_FRACTION = -75.0, 0.01


def upper_fraction(mel: np.ndarray, transform: MelConfig | None) -> float:
    """How much sound is in the upper half of the frequencies.

    Args:
        mel: (..., n_frames, n_mels) dB.
        transform: that made it; None for ready spectrograms.

    Returns:
        The fraction of the cells in its bands that exceed ``UPPER_LEVEL_DB``; NaN where the bands' frequencies are not
        known.
    """
    cells = mel[..., upper_bands(transform)] if transform else mel[..., :0]
    return float(np.mean(cells > UPPER_LEVEL_DB)) if cells.size else float("nan")


def is_band_limited(fraction: Any) -> Any:
    """Whether by ``upper_fraction`` the upper half of what a model looks at is missing: of one clip or of several."""
    return fraction < MIN_UPPER_FRACTION


def spectrogram_statistics(mel: np.ndarray, transform: MelConfig | None = None) -> dict[str, float]:
    """Columns of ``index.parquet`` about one clip; values that are not finite are counted and otherwise left out.

    Args:
        mel: (n_frames, n_mels) float16 dB, as stored.
        transform: that made it.

    Returns:
        n_frames, n_mels, finite_fraction, minimum_db, maximum_db, mean_db, std_db and silent_fraction: frames without
        a value above ``FLOOR_DB``. Values in dB are NaN where nothing is finite. And ``upper_fraction``.
    """
    finite = np.isfinite(mel)
    values = mel.astype(np.float32).ravel()
    if not finite.all():
        values = values[finite.ravel()] if finite.any() else np.array([np.nan], np.float32)
    return {
        "n_frames": mel.shape[0],
        "n_mels": mel.shape[1],
        "finite_fraction": float(finite.mean()),
        "minimum_db": float(values.min()),
        "maximum_db": float(values.max()),
        "mean_db": float(values.mean()),
        "std_db": float(values.std()),
        "silent_fraction": float(np.mean(mel.max(axis=1) <= FLOOR_DB)),
        "upper_fraction": upper_fraction(mel, transform),
    }
