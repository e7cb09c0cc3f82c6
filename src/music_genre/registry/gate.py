"""The gate: which model is to be registered, by its metrics, its size and its features, and whether it passes.

Everything here follows from files, so the verdict is the same wherever it is computed. ``registry.checks`` adds the
criteria that depend on the machine or on the registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from music_genre.evaluation.results import ModelResult, align_predictions
from music_genre.files import atomic_write_text
from music_genre.registry import PASSED, REFUSED
from music_genre.registry.criteria import (
    METRIC_DIGITS,
    PROBABILITY_DIGITS,
    Criterion,
    CriterionName,
    apply_threshold,
    difference_criterion,
    failed_names,
    metric_criteria,
)
from music_genre.registry.params import RegistryParams
from music_genre.registry.selection import rank


@dataclass(frozen=True)
class Candidate:
    """A model that the gate selects from.

    Args:
        name: of the model.
        reason: why it is preferred to those after it.
        n_parameters: trained numbers in it.
        size_mb: of its bundle.
        validation_macro_f1: macro-F1 on validation.
        validation_log_loss: log loss on validation.
        criteria: of this model.
    """

    name: str
    reason: str
    n_parameters: int
    size_mb: float
    validation_macro_f1: float
    validation_log_loss: float
    criteria: Sequence[Criterion]

    @property
    def failed(self) -> list[str]:
        """Names of the criteria that the model does not meet."""
        return failed_names(self.criteria)


@dataclass(frozen=True)
class GateResult:
    """The gate's result: ``reports/gate.json``.

    Args:
        model: name of the selected model.
        candidates: every model that could have been selected, in the order in which they are tried.
        criteria: of the selected model.
        notes: what the criteria leave out: why this model, the genres with a low recall, what was not measured and why.
    """

    model: str
    candidates: Sequence[Candidate]
    criteria: Sequence[Criterion]
    notes: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        """``passed`` where the model meets every criterion, else ``refused``."""
        return REFUSED if self.failed else PASSED

    @property
    def failed(self) -> list[str]:
        """Names of the criteria that the model does not meet."""
        return failed_names(self.criteria)

    @property
    def passing(self) -> list[Candidate]:
        """The candidates that meet every criterion, in the order in which they are tried."""
        return [candidate for candidate in self.candidates if not candidate.failed]

    def __str__(self) -> str:
        lines = [f"gate: {self.model} {self.verdict}", *(f"  {criterion}" for criterion in self.criteria)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def is_of(self, results: Sequence[ModelResult]) -> bool:
        """Whether the result follows from these evaluations."""
        scores = {(candidate.name, candidate.validation_macro_f1) for candidate in self.candidates}
        return scores == {(result.name, round(result.validation["macro_f1"], METRIC_DIGITS)) for result in results}

    def write(self, path: Path) -> None:
        """Store as JSON."""
        values = {
            "model": self.model,
            "verdict": self.verdict,
            "candidates": [
                asdict(candidate) | {"criteria": [criterion.to_dict() for criterion in candidate.criteria]}
                for candidate in self.candidates
            ],
            "criteria": [criterion.to_dict() for criterion in self.criteria],
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
        [
            Candidate(**candidate | {"criteria": [Criterion(**criterion) for criterion in candidate["criteria"]]})
            for candidate in values["candidates"]
        ],
        [Criterion(**criterion) for criterion in values["criteria"]],
        values["notes"],
    )


@dataclass(frozen=True)
class Measurements:
    """What the gate judges by beside the models' evaluations.

    Args:
        size_mb: of each model's bundle.
        data_quality: whether the data passed its checks.
        feature_skew_db: largest difference between features by the models' transform and the stored ones; None where it
            was not measured.
        export_difference_ppm: of each model with networks, see ``serving_checks.export_difference_ppm``.
    """

    size_mb: Mapping[str, float]
    data_quality: bool
    feature_skew_db: float | None
    export_difference_ppm: Mapping[str, float] = field(default_factory=dict)


def evaluate_gate(
    results: Sequence[ModelResult],
    baselines: Sequence[str],
    measured: Measurements,
    params: RegistryParams,
    seed: int,
    notes: Sequence[str] = (),
) -> GateResult:
    """Select a model: the first in order of preference that meets every criterion; where none does, the first.

    Args:
        results: all candidates' evaluations.
        baselines: names of those that no other may be certainly worse than.
        measured: of the candidates.
        params: the section ``registry`` of ``params.yaml``.
        seed: of the bootstrap.
        notes: of the measurements.
    """
    references = [result for result in results if result.name in baselines]
    by_name = {result.name: result for result in results}
    candidates = [
        Candidate(
            result.name,
            reason,
            result.n_parameters,
            round(measured.size_mb[result.name], 2),
            round(result.validation["macro_f1"], METRIC_DIGITS),
            round(result.validation["log_loss"], PROBABILITY_DIGITS),
            _criteria(result, references, measured, params, seed),
        )
        for result, reason in rank(results, measured.size_mb, params.max_macro_f1_cost, seed)
    ]
    selected = next((candidate for candidate in candidates if not candidate.failed), candidates[0])
    own_notes = _notes(candidates, selected, by_name[selected.name], params)
    return GateResult(selected.name, candidates, selected.criteria, [*own_notes, *notes])


def _criteria(
    result: ModelResult, references: Sequence[ModelResult], measured: Measurements, params: RegistryParams, seed: int
) -> list[Criterion]:
    gate, name = params.gate, result.name
    own = result.validation_predictions
    below = [
        difference_criterion(
            CriterionName.MAX_MACRO_F1_BELOW_BASELINE,
            align_predictions(own, reference.validation_predictions),
            gate,
            seed,
        )
        for reference in references
        if reference is not result
    ]
    criteria = [
        *metric_criteria(result, gate),
        *below,
        Criterion(CriterionName.DATA_QUALITY, measured.data_quality, True, measured.data_quality),
        apply_threshold(CriterionName.MAX_SIZE_MB, measured.size_mb[name], gate),
    ]
    if measured.feature_skew_db is not None:
        criteria.append(apply_threshold(CriterionName.MAX_FEATURE_SKEW_DB, measured.feature_skew_db, gate))
    if name in measured.export_difference_ppm:
        difference = measured.export_difference_ppm[name]
        criteria.append(apply_threshold(CriterionName.MAX_EXPORT_DIFFERENCE_PPM, difference, gate))
    return criteria


def _notes(
    candidates: Sequence[Candidate], selected: Candidate, result: ModelResult, params: RegistryParams
) -> list[str]:
    """Why this model, and which of its genres have a low recall."""
    tried = candidates[: candidates.index(selected)]
    notes = [f"{candidate.name} was tried first and fails {', '.join(candidate.failed)}" for candidate in tried]
    if selected.failed and len(candidates) > 1:
        notes.append("no candidate meets every criterion")
    notes.append(f"{selected.name} is selected: {selected.reason}")
    floor = params.gate.min_class_recall
    low = [
        f"{row.genre} {round(row.recall * row.support):d} of {row.support:d}"
        for row in result.validation_genres.itertuples()
        if row.recall < floor
    ]
    return [*notes, f"recall below {floor:g}: {', '.join(low)}"] if low else notes
