"""Statistics of a spectrogram that the data checks and drift detection look at."""

from __future__ import annotations

import numpy as np

from music_genre.features.mel import FLOOR_DB


def spectrogram_statistics(mel: np.ndarray) -> dict[str, float]:
    """Columns of ``index.parquet`` about one clip; values that are not finite are counted and otherwise left out.

    Args:
        mel: (n_frames, n_mels) float16 dB, as stored.

    Returns:
        n_frames, n_mels, finite_fraction, minimum_db, maximum_db, mean_db, std_db and silent_fraction: frames without
        a value above ``FLOOR_DB``. Values in dB are NaN where nothing is finite.
    """
    finite = np.isfinite(mel)
    values = mel[finite].astype(np.float32) if finite.any() else np.array([np.nan], np.float32)
    return {
        "n_frames": mel.shape[0],
        "n_mels": mel.shape[1],
        "finite_fraction": float(finite.mean()),
        "minimum_db": float(values.min()),
        "maximum_db": float(values.max()),
        "mean_db": float(values.mean()),
        "std_db": float(values.std()),
        "silent_fraction": float(np.mean(mel.max(axis=1) <= FLOOR_DB)),
    }
