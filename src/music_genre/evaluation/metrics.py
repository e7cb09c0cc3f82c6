"""Figures of a model: accuracy and macro-F1 with their intervals, log loss, calibration, per class, what confidence is
worth; and whether two models differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

CALIBRATION_BINS = 15
N_BOOTSTRAP = 2000


def classification_metrics(label: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The figures of one split.

    Args:
        label: (n,) positions of the right classes.
        probabilities: (n, classes).

    Returns:
        accuracy with its 95 % Wilson interval (``accuracy_low``, ``accuracy_high``), macro_f1 with its 95 % bootstrap
        interval (``macro_f1_low``, ``macro_f1_high``), log_loss, brier, ece.
    """
    predicted, classes = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])
    right = int(np.sum(predicted == label))
    interval = binomtest(right, len(label)).proportion_ci(method="wilson")
    macro_f1_low, macro_f1_high = macro_f1_ci(label, predicted)
    return {
        "accuracy": right / len(label),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "macro_f1": float(f1_score(label, predicted, labels=classes, average="macro", zero_division=0)),
        "macro_f1_low": macro_f1_low,
        "macro_f1_high": macro_f1_high,
        **probability_scores(label, probabilities),
    }


def probability_scores(label: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """How good the probabilities are, whatever class comes first: log_loss, brier (the multi-class score of Brier,
    Monthly Weather Review 1950), ece. Arguments as for ``classification_metrics``.
    """
    classes, exact = np.arange(probabilities.shape[1]), probabilities.astype(np.float64)
    return {
        "log_loss": float(log_loss(label, exact / exact.sum(axis=1, keepdims=True), labels=classes)),
        "brier": float(np.mean(np.sum((exact - np.eye(len(classes))[label]) ** 2, axis=1))),
        "ece": expected_calibration_error(label, probabilities),
    }


def calibration_curve(label: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Columns confidence, accuracy, share: the means of each of 15 equal bins of confidence that holds a clip, and its
    share of all clips.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == label
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = [(confidence[bins == b].mean(), right[bins == b].mean(), np.mean(bins == b)) for b in np.unique(bins)]
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "share"])


def expected_calibration_error(label: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean distance between confidence and accuracy over 15 equal bins of confidence (Naeini et al., AAAI 2015)."""
    bins = calibration_curve(label, probabilities)
    return float((bins["share"] * (bins["accuracy"] - bins["confidence"]).abs()).sum())


def risk_coverage(label: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """What "not sure" buys: columns coverage (0.1 to 1), threshold, accuracy.

    A row is the share of clips that the model is most confident of, the least confidence among them, and how many of them it
    predicts correctly.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == label)[order]
    shares = np.arange(1, 11) / 10
    kept = np.maximum(1, np.round(shares * len(label)).astype(int))
    return pd.DataFrame(
        {
            "coverage": shares,
            "threshold": confidence[order][kept - 1],
            "accuracy": [right[:count].mean() for count in kept],
        }
    )


def confidence_threshold(label: np.ndarray, probabilities: np.ndarray, accuracy: float) -> float:
    """The least confidence from which on answers reach an accuracy: the point of the risk-coverage curve that keeps
    most answers.

    Args:
        label: (n,) positions of the right classes.
        probabilities: (n, classes).
        accuracy: share of the sure answers that must be right.

    Returns:
        a confidence; 1 where even the surest answers fall short.
    """
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == label)[np.argsort(-confidence, kind="stable")]
    thresholds, clips = np.unique(-confidence, return_counts=True)
    kept = np.cumsum(clips)
    reached = np.cumsum(right)[kept - 1] / kept >= accuracy
    return float(-thresholds[reached][-1]) if reached.any() else 1.0


def mcnemar(label: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Whether two models differ on the same clips: McNemar's test (Psychometrika, 1947), exact.

    Args:
        label: (n,) positions of the right classes.
        first: (n,) one model's answers.
        second: (n,) the other's.

    Returns:
        difference of accuracy (first above second), first_only and second_only (clips that one alone predicts correctly),
        p_value of a difference at least as large where neither is better.
    """
    first_only = int(np.sum((first == label) & (second != label)))
    second_only = int(np.sum((first != label) & (second == label)))
    either = first_only + second_only
    return {
        "difference": (first_only - second_only) / len(label),
        "first_only": first_only,
        "second_only": second_only,
        "p_value": float(binomtest(first_only, either).pvalue) if either else 1.0,
    }


def per_class(label: np.ndarray, probabilities: np.ndarray, genres: Sequence[str]) -> pd.DataFrame:
    """Columns genre, precision, recall, f1, support: a row a genre, in label order."""
    figures = precision_recall_fscore_support(
        label, probabilities.argmax(axis=1), labels=np.arange(len(genres)), zero_division=0
    )
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), figures, strict=True))).assign(
        genre=list(genres)
    )[["genre", "precision", "recall", "f1", "support"]]


def predictions(
    track_id: np.ndarray, label: np.ndarray, probabilities: np.ndarray, genres: Sequence[str]
) -> pd.DataFrame:
    """Columns track_id, actual, predicted, confidence: a row a clip."""
    names = np.asarray(genres)
    return pd.DataFrame(
        {
            "track_id": track_id,
            "actual": names[label],
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
        }
    )


def top_errors(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The wrong answers of ``predictions`` that the model was most confident of, the surest first."""
    wrong = table[table["actual"] != table["predicted"]]
    return wrong.sort_values(["confidence", "track_id"], ascending=[False, True]).head(count)


def confusion_matrix(table: pd.DataFrame, genres: Sequence[str]) -> np.ndarray:
    """(classes, classes) counts of ``predictions``: rows are actual genres, columns predicted ones."""
    actual = pd.Categorical(table["actual"], categories=list(genres))
    predicted = pd.Categorical(table["predicted"], categories=list(genres))
    return np.asarray(pd.crosstab(actual, predicted, dropna=False))


def macro_f1_difference_ci(actual: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of how far macro-F1 of ``first`` lies above that of ``second`` on the same clips (paired
    bootstrap).

    Args:
        actual: (n,) right genres.
        first: (n,) one model's answers.
        second: (n,) the other's.
        seed: of the resampling.
    """
    names, codes = np.unique(np.concatenate([actual, first, second]), return_inverse=True)

    def difference(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return _macro_f1(truth, a, len(names)) - _macro_f1(truth, b, len(names))

    return _bootstrap_ci(tuple(codes.reshape(3, -1)), difference, seed)


def macro_f1_ci(actual: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of macro-F1, from (n,) labels and (n,) predictions; the same for the same clips."""
    n_classes = int(max(actual.max(), predicted.max())) + 1
    return _bootstrap_ci((actual, predicted), lambda truth, a: _macro_f1(truth, a, n_classes), 0)


def _bootstrap_ci(samples: tuple[np.ndarray, ...], statistic: Callable[..., float], seed: int) -> tuple[float, float]:
    """95 % interval of a statistic of paired samples (n,), bias-corrected and accelerated (Efron, JASA 1987)."""
    # Where every resample gives the same value, as where every clip is right, BCa divides by zero: see below.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            samples,
            statistic,
            n_resamples=N_BOOTSTRAP,
            paired=True,
            vectorized=False,
            confidence_level=0.95,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    if np.isfinite([found.low, found.high]).all():
        return float(found.low), float(found.high)
    value = float(statistic(*samples))
    return value, value


def _macro_f1(actual: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Macro-F1 over the classes that occur; thirty times faster than the library's, which a bootstrap notices."""
    counts = np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    occurring = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(2 * np.diag(counts)[occurring > 0] / occurring[occurring > 0]))
