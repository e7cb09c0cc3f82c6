"""The classical reference: a support-vector machine with an RBF kernel on statistics of every mel band."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.params import BaselineParams

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling"]
"""What a stored baseline may hold beyond skops' own list."""


def band_statistics(mel: np.ndarray) -> np.ndarray:
    """Four figures a band: mean, standard deviation, mean absolute change from frame to frame, maximum.

    Args:
        mel: (n, frames, n_mels) dB.

    Returns:
        (n, 4 * n_mels) float32.
    """
    change = np.abs(np.diff(mel, axis=1)).mean(axis=1)
    return np.concatenate([mel.mean(axis=1), mel.std(axis=1), change, mel.max(axis=1)], axis=1).astype(np.float32)


def statistics_of(batches: Iterable[np.ndarray]) -> np.ndarray:
    """``band_statistics`` of clips that come batch by batch: (n, 4 * n_mels)."""
    return np.concatenate([band_statistics(mel) for mel in batches])


def fit(statistics: np.ndarray, label: np.ndarray, settings: BaselineParams) -> Pipeline:
    """Train on statistics (n, 4 * n_mels) and labels (n,); the result has ``predict_proba``.

    The machine's scores become probabilities by one temperature, fitted on training clips left out in turn.

    Raises:
        MusicGenreError: a genre has a single clip, so that none can be left out.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = SVC(C=settings.c, gamma=settings.gamma)
    folds = int(min(5, np.bincount(label).min()))
    if folds < 2:
        raise MusicGenreError("a genre has a single training clip; the baseline takes at least two of each")
    calibrated = CalibratedClassifierCV(machine, method="temperature", cv=folds, ensemble=False)
    return make_pipeline(StandardScaler(), calibrated).fit(statistics, label)


def load(path: Path) -> Pipeline:
    """Read a stored baseline; types beyond skops' own list and ``TRUSTED_TYPES`` are refused."""
    from skops.io import load as read

    machine: Pipeline = read(path, trusted=TRUSTED_TYPES)
    return machine


def count_parameters(machine: Pipeline) -> int:
    """Fitted figures: support vectors, their coefficients and the intercepts."""
    fitted = machine[-1].calibrated_classifiers_[0].estimator
    return int(fitted.support_vectors_.size + fitted.dual_coef_.size + fitted.intercept_.size)
