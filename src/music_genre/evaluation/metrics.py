"""Figures of a model: accuracy and macro-F1 with their intervals, log loss, calibration, per class, what confidence is
worth; and whether two models differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

CALIBRATION_BINS = 15
RESAMPLES = 2000


def summary(label: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
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
    macro_f1_low, macro_f1_high = macro_f1_interval(label, predicted)
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
    Monthly Weather Review 1950), ece. Arguments as for ``summary``.
    """
    classes, exact = np.arange(probabilities.shape[1]), probabilities.astype(np.float64)
    return {
        "log_loss": float(log_loss(label, exact / exact.sum(axis=1, keepdims=True), labels=classes)),
        "brier": float(np.mean(np.sum((exact - np.eye(len(classes))[label]) ** 2, axis=1))),
        "ece": expected_calibration_error(label, probabilities),
    }


def reliability(label: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
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
    bins = reliability(label, probabilities)
    return float((bins["share"] * (bins["accuracy"] - bins["confidence"]).abs()).sum())


def coverage(label: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """What "not sure" buys: columns coverage (0.1 to 1), threshold, accuracy.

    A row is the share of clips that the model is surest of, the least confidence among them, and how many of them it
    names rightly.
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


def confident_from(label: np.ndarray, probabilities: np.ndarray, accuracy: float) -> float:
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
        difference of accuracy (first above second), first_only and second_only (clips that one alone names rightly),
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


def worst_mistakes(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The wrong answers of ``predictions`` that the model was surest of, the surest first."""
    wrong = table[table["actual"] != table["predicted"]]
    return wrong.sort_values(["confidence", "track_id"], ascending=[False, True]).head(count)


def confusion(table: pd.DataFrame, genres: Sequence[str]) -> np.ndarray:
    """(classes, classes) counts of ``predictions``: rows are actual genres, columns predicted ones."""
    actual = pd.Categorical(table["actual"], categories=list(genres))
    predicted = pd.Categorical(table["predicted"], categories=list(genres))
    return np.asarray(pd.crosstab(actual, predicted, dropna=False))


def macro_f1_difference(actual: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of how far macro-F1 of ``first`` lies above that of ``second`` on the same clips (paired
    bootstrap).

    Args:
        actual: (n,) right genres.
        first: (n,) one model's answers.
        second: (n,) the other's.
        seed: of the resampling.
    """
    names, codes = np.unique(np.concatenate([actual, first, second]), return_inverse=True)
    truth, one, other = codes.reshape(3, -1)
    random = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(truth), len(truth))
        differences.append(
            _macro_f1(truth[drawn], one[drawn], len(names)) - _macro_f1(truth[drawn], other[drawn], len(names))
        )
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def macro_f1_interval(actual: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of macro-F1, from (n,) right classes and (n,) answers; the same for the same clips."""
    random, classes = np.random.default_rng(0), int(max(actual.max(), predicted.max())) + 1
    drawn = [random.integers(0, len(actual), len(actual)) for _ in range(RESAMPLES)]
    low, high = np.percentile([_macro_f1(actual[d], predicted[d], classes) for d in drawn], [2.5, 97.5])
    return float(low), float(high)


def _macro_f1(actual: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Macro-F1 over the classes that occur; thirty times faster than the library's, which a bootstrap notices."""
    counts = np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    occurring = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(2 * np.diag(counts)[occurring > 0] / occurring[occurring > 0]))
