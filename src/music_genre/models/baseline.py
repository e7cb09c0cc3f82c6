"""The classical reference: a support-vector machine with an RBF kernel on statistics of mel bands or of MFCCs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.params import BaselineParams, Features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling"]
"""What a stored baseline may hold beyond skops' own list."""

CEPSTRA = 20
"""Mel-frequency cepstral coefficients of a frame, as the FMA data set's own features have them."""


def band_statistics(mel: np.ndarray) -> np.ndarray:
    """Four figures a band: mean, standard deviation, mean absolute change from frame to frame, maximum.

    Args:
        mel: (n, frames, n_mels) dB.

    Returns:
        (n, 4 * n_mels) float32.
    """
    change = np.abs(np.diff(mel, axis=1)).mean(axis=1)
    return np.concatenate([mel.mean(axis=1), mel.std(axis=1), change, mel.max(axis=1)], axis=1).astype(np.float32)


def cepstra(mel: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients: (n, frames, n_mels) dB to (n, frames, ``CEPSTRA``), by an orthonormal cosine
    transform over the bands of each frame.
    """
    from scipy.fft import dct

    return np.asarray(dct(mel, axis=2, norm="ortho")[:, :, :CEPSTRA])


def statistics(mel: np.ndarray, features: Features) -> np.ndarray:
    """What a machine trained on ``features`` takes: (n, frames, n_mels) dB to (n, 4 * bands or coefficients)."""
    return band_statistics(cepstra(mel) if features == "mfcc" else mel)


def statistics_of(batches: Iterable[np.ndarray], features: Features) -> np.ndarray:
    """``statistics`` of clips that come batch by batch."""
    return np.concatenate([statistics(mel, features) for mel in batches])


def fit(statistics: np.ndarray, label: np.ndarray, settings: BaselineParams) -> Pipeline:
    """Train on ``statistics`` and labels (n,); the result has ``predict_proba`` and knows its ``features_of``.

    The machine's scores become probabilities by one temperature, fitted on training clips left out in turn.

    Raises:
        MusicGenreError: a genre has a single clip, so that none can be left out.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = SVC(C=settings.c, gamma=settings.gamma)
    folds = int(min(5, np.bincount(label).min()))
    if folds < 2:
        raise MusicGenreError("a genre has a single training clip; the baseline takes at least two of each")
    calibrated = CalibratedClassifierCV(machine, method="temperature", cv=folds, ensemble=False)
    # The first step is named after what it takes: the stored machine tells.
    return Pipeline([(settings.features, StandardScaler()), ("machine", calibrated)]).fit(statistics, label)


def features_of(machine: Pipeline) -> Features:
    """What ``statistics`` a trained machine takes."""
    features: Features = machine.steps[0][0]
    return features


def load(path: Path) -> Pipeline:
    """Read a stored baseline; types beyond skops' own list and ``TRUSTED_TYPES`` are refused."""
    from skops.io import load as read

    machine: Pipeline = read(path, trusted=TRUSTED_TYPES)
    return machine


def count_parameters(machine: Pipeline) -> int:
    """Fitted figures: support vectors, their coefficients and the intercepts."""
    fitted = machine[-1].calibrated_classifiers_[0].estimator
    return int(fitted.support_vectors_.size + fitted.dual_coef_.size + fitted.intercept_.size)
