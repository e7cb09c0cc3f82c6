"""The classical reference: a support-vector machine with an RBF kernel on statistics of mel bands or of MFCCs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from music_genre.errors import MusicGenreError
from music_genre.models.params import ModelParams
from music_genre.models.registry import Classifier

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling"]
"""What a stored classifier may hold beyond skops' own list."""

N_MFCC = 20  # as in the FMA data set's own features

FeatureKind = Literal["mel_statistics", "mfcc_statistics"]


class BaselineParams(ModelParams):
    """The section ``models.baseline``.

    Args:
        features: what a clip's statistics are of.
        C: penalty of the support-vector machine.
        gamma: width of its kernel, as scikit-learn has it.
    """

    features: FeatureKind
    C: Annotated[float, Field(gt=0)]
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)]


def mfcc(mel: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients: (n, frames, n_mels) dB to (n, frames, ``N_MFCC``), by an orthonormal cosine
    transform over the bands of each frame.
    """
    from scipy.fft import dct

    return np.asarray(dct(mel, axis=2, norm="ortho")[:, :, :N_MFCC])


def clip_statistics(mel: np.ndarray, kind: FeatureKind) -> np.ndarray:
    """Four numbers a band (or coefficient): mean, standard deviation, mean absolute change from frame to frame, maximum.

    Args:
        mel: (n, frames, n_mels) dB.
        kind: statistics of mel bands or of MFCCs.

    Returns:
        (n, 4 * bands or coefficients) float32.
    """
    x = mfcc(mel) if kind == "mfcc_statistics" else mel
    change = np.abs(np.diff(x, axis=1)).mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), change, x.max(axis=1)], axis=1).astype(np.float32)


def extract(mel: np.ndarray, params: BaselineParams) -> np.ndarray:
    """``clip_statistics`` as the params ask for them."""
    return clip_statistics(mel, params.features)


def fit(features: np.ndarray, labels: np.ndarray, params: BaselineParams) -> Pipeline:
    """Train on features (n, d) and labels (n,); the result has ``predict_proba``.

    Scores become probabilities by one temperature, fitted on training clips left out in turn.

    Raises:
        MusicGenreError: a genre has a single clip, so that none can be left out.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    svc = SVC(C=params.C, gamma=params.gamma)
    folds = int(min(5, np.bincount(labels).min()))
    if folds < 2:
        raise MusicGenreError("a genre has a single training clip; the baseline takes at least two of each")
    calibrated = CalibratedClassifierCV(svc, method="temperature", cv=folds, ensemble=False)
    # The first step has the name of what it takes, by which ``feature_kind`` knows it after loading.
    return Pipeline([(params.features, StandardScaler()), ("svc", calibrated)]).fit(features, labels)


def feature_kind(classifier: Pipeline) -> FeatureKind:
    """What statistics a trained classifier takes."""
    kind: FeatureKind = classifier.steps[0][0]
    return kind


def load(path: Path) -> Pipeline:
    """Read a stored classifier; types beyond skops' own list and ``TRUSTED_TYPES`` are refused."""
    from skops.io import load as read

    classifier: Pipeline = read(path, trusted=TRUSTED_TYPES)
    return classifier


def count_parameters(classifier: Pipeline) -> int:
    """Fitted numbers: support vectors, their coefficients and the intercepts."""
    fitted = classifier[-1].calibrated_classifiers_[0].estimator
    return int(fitted.support_vectors_.size + fitted.dual_coef_.size + fitted.intercept_.size)


MODEL = Classifier(BaselineParams, extract, fit)
