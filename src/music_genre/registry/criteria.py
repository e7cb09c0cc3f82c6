"""The criteria of the gate: a measured value, with its interval where it has one, against a threshold.

A metric on few clips says little, so a model fails a threshold only where the whole 95 % interval lies beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.stats import binomtest

from music_genre.evaluation.metrics import (
    chance_calibration_error,
    macro_f1_difference,
    macro_f1_difference_ci,
)
from music_genre.evaluation.results import ModelResult
from music_genre.registry.params import GateParams

METRIC_DIGITS = 4  # of macro-F1 and recall in reports: finer differences mean nothing on some thousand clips
PROBABILITY_DIGITS = 2  # of log loss and ECE, whose third digit depends on the processor that trains


class CriterionName(StrEnum):
    """The criteria. One with a threshold has the name of its key in ``params.yaml``, which says which way it bounds."""

    MIN_MACRO_F1 = "min_macro_f1"
    MIN_CLASS_RECALL = "min_class_recall"
    MAX_ECE = "max_ece"
    MAX_MACRO_F1_BELOW_BASELINE = "max_macro_f1_below_baseline"
    DATA_QUALITY = "data_quality"
    MAX_SIZE_MB = "max_size_mb"
    MAX_FEATURE_SKEW_DB = "max_feature_skew_db"
    MAX_EXPORT_DIFFERENCE_PPM = "max_export_difference_ppm"
    MAX_LATENCY_MS = "max_latency_ms"
    MAX_MACRO_F1_DROP = "max_macro_f1_drop"


CRITERION_DESCRIPTIONS = {
    CriterionName.MIN_MACRO_F1: "macro-F1 on validation",
    CriterionName.MIN_CLASS_RECALL: "lowest recall of a genre on validation",
    CriterionName.MAX_ECE: "calibration error (ECE) on validation",
    CriterionName.MAX_MACRO_F1_BELOW_BASELINE: "macro-F1 against the baseline's",
    CriterionName.DATA_QUALITY: "data checks",
    CriterionName.MAX_SIZE_MB: "size of the model in MB",
    CriterionName.MAX_FEATURE_SKEW_DB: "feature skew in dB",
    CriterionName.MAX_EXPORT_DIFFERENCE_PPM: "difference of a probability by export to ONNX in ppm",
    CriterionName.MAX_LATENCY_MS: "latency of one clip in ms",
    CriterionName.MAX_MACRO_F1_DROP: "macro-F1 against the champion's",
}

DIFFERENCES = {CriterionName.MAX_MACRO_F1_BELOW_BASELINE, CriterionName.MAX_MACRO_F1_DROP}  # positive: it is worse

CRITERION_DIGITS = {  # after the point, of values whose error is larger than that of the metrics
    CriterionName.MAX_ECE: PROBABILITY_DIGITS,
    CriterionName.MAX_SIZE_MB: 2,
    CriterionName.MAX_FEATURE_SKEW_DB: 1,  # stored features are float16: up to 0.03 dB off
    CriterionName.MAX_EXPORT_DIFFERENCE_PPM: 0,  # the last digit of float32 is the processor's
    CriterionName.MAX_LATENCY_MS: 1,
}


@dataclass(frozen=True)
class Criterion:
    """One criterion of the gate.

    Args:
        name: a ``CriterionName``.
        value: what was measured.
        threshold: its bound, itself allowed.
        passed: whether ``value``, or some value in its interval, is within the bound.
        low, high: 95 % interval of ``value``, of a calibration error what chance does not explain and all of it; None
            where it is no estimate.
        n_clips: that ``value`` was measured on; None where it is no metric.
    """

    name: str
    value: float | bool
    threshold: float | bool
    passed: bool
    low: float | None = None
    high: float | None = None
    n_clips: int | None = None

    @property
    def bound(self) -> str:
        """The threshold in words."""
        if isinstance(self.value, bool):
            return "must pass"
        if self.name in DIFFERENCES:
            return f"not certainly lower{f' by more than {self.threshold:g}' if self.threshold else ''}"
        return f"{'at least' if is_minimum(self.name) else 'at most'} {self.threshold:g}"

    @property
    def measured(self) -> str:
        """The value in words, with its interval and the number of clips."""
        if isinstance(self.value, bool):
            return "passed" if self.value else "failed"
        in_words = _difference if self.name in DIFFERENCES else "{:g}".format
        interval = "" if self.low is None or self.high is None else f" [{in_words(self.low)}, {in_words(self.high)}]"
        return f"{in_words(self.value)}{interval}{f' on {self.n_clips} clips' if self.n_clips else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        mark, text = "passed" if self.passed else "FAILED", CRITERION_DESCRIPTIONS[CriterionName(self.name)]
        if isinstance(self.value, bool):
            return f"{mark}  {text}"
        colon = ":" if self.name in DIFFERENCES else ""
        return f"{mark}  {text}{colon} {self.measured} ({self.bound})"


def failed_names(criteria: Sequence[Criterion]) -> list[str]:
    """Names of the criteria that are not met."""
    return [criterion.name for criterion in criteria if not criterion.passed]


def _difference(value: float) -> str:
    return f"{abs(value):g} {'lower' if value > 0 else 'higher'}" if value else "equal"


def is_minimum(name: str) -> bool:
    """Whether a criterion's threshold is a lower bound."""
    return name.startswith("min_")


def apply_threshold(
    name: CriterionName,
    value: float,
    gate: GateParams,
    interval: tuple[float, float] | None = None,
    n_clips: int | None = None,
) -> Criterion:
    """Compare a measured value, or its 95 % interval, rounded to the digits that mean something, with its threshold in
    ``params.yaml``.
    """
    threshold: float = getattr(gate, name)
    low, high = (_rounded(name, bound) for bound in interval or (value, value))
    passed = high >= threshold if is_minimum(name) else low <= threshold
    shown = (low, high) if interval else (None, None)
    return Criterion(name, _rounded(name, value), threshold, passed, shown[0], shown[1], n_clips)


def _rounded(name: CriterionName, value: float) -> float:
    return round(value, CRITERION_DIGITS.get(name, METRIC_DIGITS)) + 0.0  # no -0.0


def metric_criteria(result: ModelResult, gate: GateParams) -> list[Criterion]:
    """The criteria on a model's metrics on validation."""
    validation, n_clips = result.validation, len(result.validation_predictions)
    macro_f1 = validation["macro_f1_low"], validation["macro_f1_high"]
    # What a calibrated model shows by chance on as few clips is no evidence against it.
    by_chance = chance_calibration_error(result.validation_predictions["confidence"].to_numpy())
    ece = max(0.0, validation["ece"] - by_chance), validation["ece"]
    return [
        apply_threshold(CriterionName.MIN_MACRO_F1, validation["macro_f1"], gate, macro_f1, n_clips),
        recall_criterion(result, gate),
        apply_threshold(CriterionName.MAX_ECE, validation["ece"], gate, ece, n_clips),
    ]


def recall_criterion(result: ModelResult, gate: GateParams) -> Criterion:
    """The recall of the genre that is the most certain to be below the threshold, with its Wilson interval."""
    intervals = {}
    for row in result.validation_genres.itertuples():
        interval = binomtest(round(row.recall * row.support), row.support).proportion_ci(method="wilson")
        intervals[float(interval.high), float(row.recall)] = float(interval.low), int(row.support)
    high, recall = min(intervals)
    low, n_clips = intervals[high, recall]
    return apply_threshold(CriterionName.MIN_CLASS_RECALL, recall, gate, (low, high), n_clips)


def difference_criterion(
    name: CriterionName,
    predictions: tuple[np.ndarray, np.ndarray, np.ndarray],
    gate: GateParams,
    seed: int,
) -> Criterion:
    """Whether macro-F1 of a model is not certainly below that of another on the same clips.

    Args:
        name: of the criterion.
        predictions: (n,) right genres, those that the model predicts, those that the other one predicts.
        gate: the thresholds.
        seed: of the bootstrap.
    """
    actual, own, other = predictions
    below, _ = macro_f1_difference(actual, other, own, seed)
    interval = macro_f1_difference_ci(actual, other, own, seed)
    return apply_threshold(name, below, gate, interval, len(actual))
