"""The gate: select the model to register, and decide by its metrics, its size and its features whether it passes.

Everything here follows from files, so the verdict is the same wherever it is computed. ``registry.checks`` adds the
criteria that depend on the machine or on the registry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import pandas as pd

from music_genre.evaluation.metrics import macro_f1_difference_ci
from music_genre.evaluation.results import ModelResult
from music_genre.files import atomic_write_text
from music_genre.registry.params import GateParams

PASSED, REFUSED = "passed", "refused"
METRIC_DIGITS = 4  # of macro-F1, recall and ECE in reports: finer differences mean nothing on some thousand clips


class CriterionName(StrEnum):
    """The criteria. One with a threshold has the name of its key in ``params.yaml``, which says which way it bounds."""

    MIN_MACRO_F1 = "min_macro_f1"
    MIN_CLASS_RECALL = "min_class_recall"
    MAX_ECE = "max_ece"
    DATA_QUALITY = "data_quality"
    MAX_SIZE_MB = "max_size_mb"
    MAX_FEATURE_SKEW_DB = "max_feature_skew_db"
    MAX_LATENCY_MS = "max_latency_ms"
    MAX_MACRO_F1_DROP = "max_macro_f1_drop"


CRITERION_DESCRIPTIONS = {
    CriterionName.MIN_MACRO_F1: "macro-F1 on validation",
    CriterionName.MIN_CLASS_RECALL: "lowest recall of a genre on validation",
    CriterionName.MAX_ECE: "calibration error (ECE) on validation",
    CriterionName.DATA_QUALITY: "data checks",
    CriterionName.MAX_SIZE_MB: "size of the model in MB",
    CriterionName.MAX_FEATURE_SKEW_DB: "feature skew in dB",
    CriterionName.MAX_LATENCY_MS: "latency of one clip in ms",
    CriterionName.MAX_MACRO_F1_DROP: "certain drop of macro-F1 below the champion's",
}

CRITERION_DIGITS = {  # after the point, of values whose error is larger than that of the metrics
    CriterionName.MAX_SIZE_MB: 2,
    CriterionName.MAX_FEATURE_SKEW_DB: 1,  # stored features are float16: up to 0.03 dB off
    CriterionName.MAX_LATENCY_MS: 1,
}


@dataclass(frozen=True)
class Criterion:
    """One criterion of the gate.

    Args:
        name: a ``CriterionName``.
        value: what was measured.
        threshold: the bound of ``value``, itself allowed.
        passed: whether ``value`` is within it.
    """

    name: str
    value: float | bool
    threshold: float | bool
    passed: bool

    def __str__(self) -> str:
        mark, text = "passed" if self.passed else "FAILED", CRITERION_DESCRIPTIONS[CriterionName(self.name)]
        if isinstance(self.value, bool):
            return f"{mark}  {text}"
        return (
            f"{mark}  {text} {self.value:g} ({'at least' if is_minimum(self.name) else 'at most'} {self.threshold:g})"
        )


@dataclass(frozen=True)
class Candidate:
    """A model that the gate selects from.

    Args:
        name: of the model.
        n_parameters: trained numbers in it.
        validation_macro_f1: macro-F1 on validation.
        validation_min_recall: the lowest recall of a genre on validation.
        validation_ece: expected calibration error on validation.
        eligible: whether these meet their criteria.
    """

    name: str
    n_parameters: int
    validation_macro_f1: float
    validation_min_recall: float
    validation_ece: float
    eligible: bool


@dataclass(frozen=True)
class GateResult:
    """The gate's result: ``reports/gate.json``.

    Args:
        model: name of the selected model.
        candidates: every model that could have been selected.
        criteria: of the selected model.
        notes: what the criteria leave out: the genres with a low recall, what was not measured and why.
    """

    model: str
    candidates: Sequence[Candidate]
    criteria: Sequence[Criterion]
    notes: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """``passed`` where the model meets every criterion, else ``refused``."""
        return PASSED if all(criterion.passed for criterion in self.criteria) else REFUSED

    @property
    def failed(self) -> list[str]:
        """Names of the criteria that the model does not meet."""
        return [criterion.name for criterion in self.criteria if not criterion.passed]

    def __str__(self) -> str:
        lines = [f"gate: {self.model} {self.verdict}", *(f"  {criterion}" for criterion in self.criteria)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def write(self, path: Path) -> None:
        """Store as JSON."""
        values = {
            "model": self.model,
            "verdict": self.verdict,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "criteria": [asdict(criterion) for criterion in self.criteria],
            "notes": list(self.notes),
        }
        atomic_write_text(path, json.dumps(values, indent=2) + "\n")


def read_gate(path: Path) -> GateResult:
    """What ``GateResult.write`` stored.

    Raises:
        FileNotFoundError: there is no such file.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    return GateResult(
        values["model"],
        [Candidate(**candidate) for candidate in values["candidates"]],
        [Criterion(**criterion) for criterion in values["criteria"]],
        values["notes"],
    )


def is_minimum(name: str) -> bool:
    """Whether a criterion's threshold is a lower bound."""
    return name.startswith("min_")


def apply_threshold(name: CriterionName, value: float, gate: GateParams) -> Criterion:
    """Compare a measured value, rounded to the digits that mean something, with its threshold in ``params.yaml``."""
    threshold: float = getattr(gate, name)
    rounded = round(value, CRITERION_DIGITS.get(name, METRIC_DIGITS)) + 0.0  # no -0.0
    return Criterion(name, rounded, threshold, rounded >= threshold if is_minimum(name) else rounded <= threshold)


def metric_criteria(result: ModelResult, gate: GateParams) -> list[Criterion]:
    """The criteria on a model's metrics on validation."""
    validation = result.metrics["validation"]
    return [
        apply_threshold(CriterionName.MIN_MACRO_F1, validation["macro_f1"], gate),
        apply_threshold(CriterionName.MIN_CLASS_RECALL, min(result.validation_recall.values()), gate),
        apply_threshold(CriterionName.MAX_ECE, validation["ece"], gate),
    ]


def summarize(result: ModelResult, gate: GateParams) -> Candidate:
    """A model as a candidate of the gate."""
    criteria = metric_criteria(result, gate)
    macro_f1, min_recall, ece = (float(criterion.value) for criterion in criteria)
    eligible = all(criterion.passed for criterion in criteria)
    return Candidate(result.name, result.n_parameters, macro_f1, min_recall, ece, eligible)


def select_candidate(results: Sequence[ModelResult], gate: GateParams, seed: int) -> ModelResult:
    """The smallest model whose macro-F1 on validation is not significantly below the best one's.

    Models that meet the criteria on metrics come first: the others are considered only where none does.

    Args:
        results: the models' evaluations; at least one.
        gate: the thresholds.
        seed: of the bootstrap.
    """
    passing = [result for result in results if summarize(result, gate).eligible]
    eligible = passing or list(results)
    best = max(eligible, key=lambda result: result.metrics["validation"]["macro_f1"])
    for result in sorted(eligible, key=lambda result: result.n_parameters):
        if result is best:
            break
        low, _ = paired_difference_ci(best.validation_predictions, result.validation_predictions, seed)
        if low <= 0:
            return result
    return best


def paired_difference_ci(a: pd.DataFrame, b: pd.DataFrame, seed: int) -> tuple[float, float]:
    """95 % interval of the difference in macro-F1 of two models on the same clips.

    Args:
        a: predictions of the model whose macro-F1 is subtracted from: columns track_id, actual, predicted.
        b: predictions of the other model.
        seed: of the bootstrap.
    """
    first, second = a.sort_values("track_id"), b.sort_values("track_id")
    actual = first["actual"].to_numpy()
    return macro_f1_difference_ci(actual, first["predicted"].to_numpy(), second["predicted"].to_numpy(), seed)


def evaluate_gate(
    results: Sequence[ModelResult],
    selected: ModelResult,
    gate: GateParams,
    data_quality: bool,
    size_mb: float,
    feature_skew_db: float | None,
    notes: Sequence[str] = (),
) -> GateResult:
    """Decide whether the selected model passes the gate.

    Args:
        results: all candidates' evaluations.
        selected: one of them.
        gate: the thresholds.
        data_quality: whether the data passed its checks.
        size_mb: of the model's bundle.
        feature_skew_db: largest difference between features by the model's transform and the stored ones; None where it
            was not measured.
        notes: of the measurements.
    """
    candidates = [summarize(result, gate) for result in results]
    criteria = [
        *metric_criteria(selected, gate),
        Criterion(CriterionName.DATA_QUALITY, data_quality, True, data_quality),
        apply_threshold(CriterionName.MAX_SIZE_MB, size_mb, gate),
    ]
    if feature_skew_db is not None:
        criteria.append(apply_threshold(CriterionName.MAX_FEATURE_SKEW_DB, feature_skew_db, gate))
    return GateResult(selected.name, candidates, criteria, [*_notes(candidates, selected, gate), *notes])


def _notes(candidates: Sequence[Candidate], selected: ModelResult, gate: GateParams) -> list[str]:
    """Why the selected model is not the one with the highest macro-F1, and which genres have a low recall."""
    notes = []
    if not any(candidate.eligible for candidate in candidates):
        notes.append("no candidate meets the criteria on metrics")
    eligible = [candidate for candidate in candidates if candidate.eligible] or candidates
    best = max(eligible, key=lambda candidate: candidate.validation_macro_f1)
    if best.name != selected.name:
        notes.append(f"{selected.name} is selected: it is smaller, and {best.name} is not significantly better")
    low = [
        f"{genre} {recall:.3f}"
        for genre, recall in selected.validation_recall.items()
        if recall < gate.min_class_recall
    ]
    if low:
        notes.append(f"recall below {gate.min_class_recall:g}: {', '.join(low)}")
    return notes
