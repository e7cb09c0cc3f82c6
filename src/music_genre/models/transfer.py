"""Transfer learning: logistic regression on the mean of a pretrained encoder's embeddings.

With few labelled clips a linear classifier on what was learnt from many songs is more accurate than a network that is
trained from scratch.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from music_genre.config import SECTION_NAME
from music_genre.models.calibration import EPS, fit_temperature
from music_genre.models.linear_head import LinearHead
from music_genre.models.params import ModelParams
from music_genre.models.registry import EmbeddingClassifier

N_FOLDS = 5
NEVER = -1e4  # logit of a genre without a clip


class TransferParams(ModelParams):
    """The section ``models.transfer``.

    Args:
        input: ``embeddings/<encoder>``.
        C: inverse strengths of the regularization; the one with the least log loss on folds by artist is taken.
    """

    input: Annotated[str, Field(pattern=f"^embeddings/{SECTION_NAME.pattern}$")]
    C: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


def fit(
    embeddings: np.ndarray, labels: np.ndarray, artists: np.ndarray, n_classes: int, params: TransferParams
) -> LinearHead:
    """Fit the classifier, its regularization and its temperature on training clips alone.

    Args:
        embeddings: (n, windows, dimension) float32.
        labels: (n,) int64.
        artists: (n,) int64, equal for clips of one artist: never in two folds.
        n_classes: genres.
        params: the section.
    """
    x = embeddings.mean(axis=1)
    out_of_fold = {c: _out_of_fold_probabilities(x, labels, artists, n_classes, c) for c in params.C}
    best, temperature = min(params.C), 1.0  # where no artist can be held out, nothing tells of overfitting
    judged = ~np.isnan(out_of_fold[best][:, 0])
    if judged.any():
        best = min(params.C, key=lambda c: _log_loss(out_of_fold[c][judged], labels[judged]))
        temperature = fit_temperature(out_of_fold[best][judged], labels[judged], 1 / (judged.sum() + 2))
    weights, bias = (values / temperature for values in _fit_linear(x, labels, n_classes, best))
    return LinearHead(weights.astype(np.float32), bias.astype(np.float32), best, temperature)


def _out_of_fold_probabilities(
    x: np.ndarray, labels: np.ndarray, artists: np.ndarray, n_classes: int, c: float
) -> np.ndarray:
    """(n, n_classes) probabilities of every clip by a classifier that saw no clip of its artist; NaN where it saw none
    of its genre either.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    probabilities = np.full((len(labels), n_classes), np.nan)
    n_folds = min(N_FOLDS, len(np.unique(artists)), int(np.bincount(labels).max()))
    if n_folds < 2:
        return probabilities
    for train, rest in StratifiedGroupKFold(n_folds, shuffle=True, random_state=0).split(x, labels, artists):
        held_out = rest[np.isin(labels[rest], labels[train])]
        if len(np.unique(labels[train])) > 1 and len(held_out):
            weights, bias = _fit_linear(x[train], labels[train], n_classes, c)
            probabilities[held_out] = LinearHead(weights, bias, c, 1.0).predict(x[held_out, np.newaxis])
    return probabilities


def _fit_linear(x: np.ndarray, labels: np.ndarray, n_classes: int, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on standardized numbers as one linear function: (dimension, classes) weights and (classes,)
    bias, float64. A genre without a clip is never believed.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale = np.where(std > 0, std, 1.0)
    model = LogisticRegression(C=c, max_iter=2000).fit((x - mean) / scale, labels)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row, of the second class
        coefficients, intercepts = np.vstack([-coefficients, coefficients]) / 2, np.r_[-intercepts, intercepts] / 2
    weights, bias = np.zeros((x.shape[1], n_classes)), np.full(n_classes, NEVER)
    weights[:, model.classes_] = (coefficients / scale).T
    bias[model.classes_] = intercepts - coefficients @ (mean / scale)
    return weights, bias


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], EPS, 1)).mean())


MODEL = EmbeddingClassifier(TransferParams, fit)
