"""Metrics of a classifier: accuracy and macro-F1 with intervals, log loss, calibration, per class, risk-coverage; and
paired comparisons of two classifiers.

In all of them ``labels`` are the (n,) positions of the right classes, ``probabilities`` (n, classes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, binomtest, bootstrap
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

CALIBRATION_BINS = 15  # of confidence, equally wide
N_BOOTSTRAP = 2000  # resamples of an interval


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The metrics of one split.

    Args:
        labels: (n,) positions of the right classes.
        probabilities: (n, classes).

    Returns:
        accuracy with its 95 % Wilson interval (``accuracy_low``, ``accuracy_high``), macro_f1 with its 95 % bootstrap
        interval (``macro_f1_low``, ``macro_f1_high``), log_loss, brier, ece.
    """
    predicted, classes = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])
    n_correct = int(np.sum(predicted == labels))
    interval = binomtest(n_correct, len(labels)).proportion_ci(method="wilson")
    macro_f1_low, macro_f1_high = macro_f1_ci(labels, predicted)
    return {
        "accuracy": n_correct / len(labels),
        "accuracy_low": float(interval.low),
        "accuracy_high": float(interval.high),
        "macro_f1": float(f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)),
        "macro_f1_low": macro_f1_low,
        "macro_f1_high": macro_f1_high,
        **probability_scores(labels, probabilities),
    }


def probability_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """How good the probabilities are, not only the class that comes first: log_loss, brier (the multi-class score of
    Brier, Monthly Weather Review 1950), ece. Arguments as for ``classification_metrics``.
    """
    classes, p = np.arange(probabilities.shape[1]), probabilities.astype(np.float64)
    return {
        "log_loss": float(log_loss(labels, p / p.sum(axis=1, keepdims=True), labels=classes)),
        "brier": float(np.mean(np.sum((p - np.eye(len(classes))[labels]) ** 2, axis=1))),
        "ece": expected_calibration_error(labels, probabilities),
    }


def calibration_curve(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Columns confidence, accuracy, fraction: of each of the ``CALIBRATION_BINS`` that holds a clip, the mean
    confidence and accuracy, and the fraction of all clips.
    """
    confidence = probabilities.max(axis=1)
    is_correct = probabilities.argmax(axis=1) == labels
    bins = _confidence_bins(confidence)
    rows = [(confidence[bins == b].mean(), is_correct[bins == b].mean(), np.mean(bins == b)) for b in np.unique(bins)]
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "fraction"])


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean distance between confidence and accuracy over ``CALIBRATION_BINS`` (Naeini et al., AAAI 2015)."""
    bins = calibration_curve(labels, probabilities)
    return float((bins["fraction"] * (bins["accuracy"] - bins["confidence"]).abs()).sum())


def chance_calibration_error(confidence: np.ndarray) -> float:
    """How large ``expected_calibration_error`` gets by chance on as few clips: in one of forty samples of perfectly
    calibrated predictions it is larger.

    Args:
        confidence: (n,) of the predictions.
    """
    bins = _confidence_bins(confidence)
    is_correct = np.random.default_rng(0).random((N_BOOTSTRAP, len(confidence))) < confidence
    distances = [np.abs((is_correct[:, bins == b] - confidence[bins == b]).sum(axis=1)) for b in np.unique(bins)]
    return float(np.percentile(np.sum(distances, axis=0) / len(confidence), 97.5))


def _confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """(n,) the bin of each confidence (n,), from 0."""
    return np.asarray(np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1))


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Accuracy of the most confident predictions: columns coverage (0.1 to 1), threshold, accuracy.

    A row is the fraction of clips that the model is most confident of, the lowest confidence among them, and the
    fraction of them that it predicts correctly.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    is_correct = (probabilities.argmax(axis=1) == labels)[order]
    fractions = np.arange(1, 11) / 10
    counts = np.maximum(1, np.round(fractions * len(labels)).astype(int))
    return pd.DataFrame(
        {
            "coverage": fractions,
            "threshold": confidence[order][counts - 1],
            "accuracy": [is_correct[:count].mean() for count in counts],
        }
    )


def confidence_threshold(labels: np.ndarray, probabilities: np.ndarray, accuracy: float) -> float:
    """The lowest confidence at and above which predictions reach an accuracy: the point of the risk-coverage curve that
    covers most clips.

    Args:
        labels: (n,) positions of the right classes.
        probabilities: (n, classes).
        accuracy: fraction of the confident predictions that must be correct.

    Returns:
        a confidence; 1 where even the most confident predictions fall short.
    """
    confidence = probabilities.max(axis=1)
    is_correct = (probabilities.argmax(axis=1) == labels)[np.argsort(-confidence, kind="stable")]
    thresholds, counts = np.unique(-confidence, return_counts=True)
    covered = np.cumsum(counts)
    reaches = np.cumsum(is_correct)[covered - 1] / covered >= accuracy
    return float(-thresholds[reaches][-1]) if reaches.any() else 1.0


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Whether two models differ on the same clips: McNemar's test (Psychometrika, 1947), exact.

    Args:
        labels: (n,) positions of the right classes.
        first: (n,) one model's predictions.
        second: (n,) the other's.

    Returns:
        difference (accuracy of the first minus the second's), first_only and second_only (clips that one alone
        predicts correctly), p_value (of a difference at least as large where neither is better).
    """
    first_only = int(np.sum((first == labels) & (second != labels)))
    second_only = int(np.sum((first != labels) & (second == labels)))
    either = first_only + second_only
    return {
        "difference": (first_only - second_only) / len(labels),
        "first_only": first_only,
        "second_only": second_only,
        "p_value": float(binomtest(first_only, either).pvalue) if either else 1.0,
    }


def per_class(labels: np.ndarray, probabilities: np.ndarray, genres: Sequence[str]) -> pd.DataFrame:
    """Columns genre, precision, recall, f1, support: a row a genre, in label order."""
    scores = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(genres)), zero_division=0
    )
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), scores, strict=True))).assign(
        genre=list(genres)
    )[["genre", "precision", "recall", "f1", "support"]]


def predictions(
    track_id: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, genres: Sequence[str]
) -> pd.DataFrame:
    """Columns track_id, actual, predicted, confidence: a row a clip."""
    names = np.asarray(genres)
    return pd.DataFrame(
        {
            "track_id": track_id,
            "actual": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
        }
    )


def top_errors(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The errors of ``predictions``, the most confident first."""
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
        first: (n,) one model's predictions.
        second: (n,) the other's.
        seed: of the resampling.
    """
    names, codes = np.unique(np.concatenate([actual, first, second]), return_inverse=True)

    def difference(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return _macro_f1(truth, a, len(names)) - _macro_f1(truth, b, len(names))

    return _bootstrap_ci(tuple(codes.reshape(3, -1)), difference, seed)


def macro_f1_difference(actual: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """How far macro-F1 of ``first`` lies above that of ``second`` on the same clips, and the standard error of that.

    The error is of the paired bootstrap, at least 1 / n: models that agree on n clips need not on the next one.
    Arguments as for ``macro_f1_difference_ci``.
    """
    names, codes = np.unique(np.concatenate([actual, first, second]), return_inverse=True)
    (truth, *predicted), counts = np.unique(codes.reshape(3, -1), axis=1, return_counts=True)
    n = len(actual)
    # Row 0 are the clips as they are.
    times = np.vstack([counts, np.random.default_rng(seed).multinomial(n, counts / n, size=N_BOOTSTRAP)])
    of_first, of_second = (
        macro_f1_of_counts(resampled_confusion(truth, of_model, len(names), times)) for of_model in predicted
    )
    differences = of_first - of_second
    return float(differences[0]), max(float(differences[1:].std()), 1 / n)


def macro_f1_ci(actual: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of macro-F1, from (n,) labels and (n,) predictions; the same for the same clips."""
    n_classes = int(max(actual.max(), predicted.max())) + 1
    return _bootstrap_ci((actual, predicted), lambda truth, a: _macro_f1(truth, a, n_classes), 0)


def _bootstrap_ci(samples: tuple[np.ndarray, ...], statistic: Callable[..., float], seed: int) -> tuple[float, float]:
    """95 % interval of a statistic of paired samples (n,), bias-corrected and accelerated (Efron, JASA 1987)."""
    # Where every resample gives the same value, as where every clip is right, BCa divides by zero: see below.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            samples,
            statistic,
            n_resamples=N_BOOTSTRAP,
            paired=True,
            vectorized=False,
            confidence_level=0.95,
            method="BCa",
            batch=256,  # bounds the memory of the jackknife, which is else quadratic in the number of clips
            rng=np.random.default_rng(seed),
        ).confidence_interval
    if np.isfinite([interval.low, interval.high]).all():
        return float(interval.low), float(interval.high)
    value = float(statistic(*samples))
    return value, value


def _macro_f1(actual: np.ndarray, predicted: np.ndarray, n_classes: int) -> float:
    """Macro-F1 over the classes that occur. It exists because scikit-learn's takes thirty times as long, and an
    interval needs thousands of them.
    """
    counts = np.bincount(actual * n_classes + predicted, minlength=n_classes**2)
    return float(macro_f1_of_counts(counts.reshape(1, n_classes, n_classes))[0])


def macro_f1_of_counts(confusion: np.ndarray) -> np.ndarray:
    """(m,) macro-F1, over the classes that occur, of (m, classes, classes) counts: rows are actual classes."""
    occurring = confusion.sum(axis=1) + confusion.sum(axis=2)
    f1 = 2 * np.diagonal(confusion, axis1=1, axis2=2) / np.maximum(occurring, 1)
    return np.asarray(f1.sum(axis=1) / (occurring > 0).sum(axis=1))


def resampled_confusion(actual: np.ndarray, predicted: np.ndarray, n_classes: int, times: np.ndarray) -> np.ndarray:
    """(m, classes, classes) counts of m samples in which case i, (``actual[i]``, ``predicted[i]``), occurs
    ``times[:, i]`` times.
    """
    is_cell = actual * n_classes + predicted == np.arange(n_classes**2)[:, np.newaxis]
    return np.asarray((times @ is_cell.T).reshape(len(times), n_classes, n_classes))
