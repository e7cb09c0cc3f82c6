"""Two evaluated models side by side: params that differ, metrics, a paired test, and the genres that moved.

Differences are always the second's value minus the first's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from music_genre.evaluation.metrics import macro_f1_difference_ci, mcnemar
from music_genre.evaluation.results import EVALUATED_SPLITS
from music_genre.tracking.run_params import canonical, is_own, relative_key

# By metric: the names of its 95 % interval's ends.
COMPARED_METRICS: dict[str, tuple[str, str] | None] = {
    "accuracy": ("accuracy_low", "accuracy_high"),
    "macro_f1": ("macro_f1_low", "macro_f1_high"),
    "log_loss": None,
    "ece": None,
}
BOOTSTRAP_SEED = 0  # the same models give the same interval


@dataclass(frozen=True)
class EvaluatedRun:
    """A trained model, what it was trained with and how it was evaluated.

    Args:
        label: what people know it by, such as ``version 3``.
        model: its name.
        params: values under the dotted keys of ``params.yaml``.
        has_all_params: whether these are all that the model depends on, or only its own.
        data_digest: DVC's, of the spectrograms; empty where it is unknown.
        metrics: by split; a split may be missing.
        per_class: columns split, genre, precision, recall, f1, support; None where there is none.
        predictions: columns track_id, split, actual, predicted, confidence; None where there are none.
        notes: what is missing, and why.
    """

    label: str
    model: str
    params: Mapping[str, Any]
    has_all_params: bool
    data_digest: str
    metrics: Mapping[str, Mapping[str, float]]
    per_class: pd.DataFrame | None
    predictions: pd.DataFrame | None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ParamDifference:
    """A param that differs; None where one side does not have it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Metric:
    """A metric of one model, with its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MetricDifference:
    """A metric of both models; None where it is unknown.

    Args:
        name: of the metric.
        a: of the first model.
        b: of the second.
        difference: b minus a.
    """

    name: str
    a: Metric | None
    b: Metric | None
    difference: float | None


@dataclass(frozen=True)
class PairedTest:
    """Both models on the same clips of validation.

    Args:
        n_clips: that both predicted.
        a_only: clips that the first model alone predicts correctly.
        b_only: clips that the second alone does.
        p_value: McNemar's, exact.
        accuracy_difference: b minus a.
        macro_f1_low: lower end of the 95 % interval of the difference in macro-F1, b minus a (paired bootstrap).
        macro_f1_high: its upper end.
    """

    n_clips: int
    a_only: int
    b_only: int
    p_value: float
    accuracy_difference: float
    macro_f1_low: float
    macro_f1_high: float


@dataclass(frozen=True)
class Recall:
    """Clips of a genre that a model predicts correctly, of all."""

    correct: int
    clips: int

    @property
    def value(self) -> float:
        return self.correct / self.clips


@dataclass(frozen=True)
class GenreDifference:
    """A genre whose recall differs on validation; None where a model has no clips of it."""

    genre: str
    a: Recall | None
    b: Recall | None
    difference: float | None


@dataclass(frozen=True)
class Comparison:
    """What differs between two models.

    Args:
        params: that differ.
        metrics: by split.
        paired: on validation; None where no clip was predicted by both.
        genres: whose recall on validation differs, the largest difference first; None where it is unknown.
        notes: what could not be compared, and why.
    """

    params: Sequence[ParamDifference]
    metrics: Mapping[str, Sequence[MetricDifference]]
    paired: PairedTest | None
    genres: Sequence[GenreDifference] | None
    notes: Sequence[str]


def compare_runs(a: EvaluatedRun, b: EvaluatedRun) -> Comparison:
    """What differs from ``a`` to ``b``, as far as both are known."""
    notes = [f"{side}: {note}" for side, run in (("A", a), ("B", b)) for note in run.notes]
    if not (a.has_all_params and b.has_all_params):
        sides = " and ".join(side for side, run in (("A", a), ("B", b)) if not run.has_all_params)
        notes.append(f"of {sides} only the model's own params are known: only these are compared")
    paired, paired_notes = paired_test(a.predictions, b.predictions)
    return Comparison(
        params=diff_params(a, b),
        metrics={split: diff_metrics(a.metrics.get(split, {}), b.metrics.get(split, {})) for split in EVALUATED_SPLITS},
        paired=paired,
        genres=None if a.per_class is None or b.per_class is None else diff_genres(a.per_class, b.per_class),
        notes=[*notes, *paired_notes],
    )


def diff_params(a: EvaluatedRun, b: EvaluatedRun) -> list[ParamDifference]:
    """The params that differ; those of the models' own sections are paired by name, whatever the model or recipe is.

    Where the whole of one side's params is not known, only what both can have is compared.
    """
    own_only = not (a.has_all_params and b.has_all_params)
    sides = [
        {
            relative_key(key, run.model, run.params): (key, canonical(value))
            for key, value in run.params.items()
            if not own_only or is_own(key, run.model)
        }
        for run in (a, b)
    ]
    differences = [ParamDifference("model", a.model, b.model)] if a.model != b.model else []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        (key_a, value_a), (key_b, value_b) = (side.get(name, ("", None)) for side in sides)
        # Compared by their text, because True == 1.
        if repr(value_a) != repr(value_b):
            keys = {key_a, key_b} - {""}
            differences.append(ParamDifference(keys.pop() if len(keys) == 1 else name, value_a, value_b))
    if a.data_digest and b.data_digest and a.data_digest != b.data_digest:
        differences.append(ParamDifference("digest of data/spectrograms", a.data_digest[:12], b.data_digest[:12]))
    return differences


def diff_metrics(a: Mapping[str, float], b: Mapping[str, float]) -> list[MetricDifference]:
    """The ``COMPARED_METRICS`` of one split that either model has."""
    rows = []
    for name, ends in COMPARED_METRICS.items():
        first, second = (_metric(values, name, ends) for values in (a, b))
        if first or second:
            difference = second.value - first.value if first and second else None
            rows.append(MetricDifference(name, first, second, difference))
    return rows


def _metric(values: Mapping[str, float], name: str, ends: tuple[str, str] | None) -> Metric | None:
    if name not in values:
        return None
    low, high = (values.get(end) for end in ends) if ends else (None, None)
    return Metric(values[name], low, high)


def paired_test(a: pd.DataFrame | None, b: pd.DataFrame | None) -> tuple[PairedTest | None, list[str]]:
    """Test two models on the clips of validation that both predicted, of the same genre.

    Args:
        a: the first model's predictions: columns track_id, split, actual, predicted; None where there are none.
        b: the second's.

    Returns:
        The test, None where there is no such clip; and what was left out.
    """
    if a is None or b is None:
        return None, ["without the predictions of both there is no paired test"]
    first, second = (table[table["split"] == "validation"] for table in (a, b))
    common = first.merge(second, on="track_id", suffixes=("", "_b"), validate="one_to_one")
    clips = common[common["actual"] == common["actual_b"]]
    notes = []
    if not len(first) == len(common) == len(second):
        notes.append(
            f"other clips: A predicted {len(first)} of validation, B {len(second)}; {len(common)} are in both,"
            " and the paired test is on these"
        )
    if len(clips) < len(common):
        notes.append(f"clips with another label in B, which the paired test leaves out: {len(common) - len(clips)}")
    if clips.empty:
        return None, [*notes, "without clips in common there is no paired test"]
    actual, of_a, of_b = (clips[column].to_numpy() for column in ("actual", "predicted", "predicted_b"))
    outcome = mcnemar(actual, of_b, of_a)
    low, high = macro_f1_difference_ci(actual, of_b, of_a, BOOTSTRAP_SEED)
    test = PairedTest(
        len(clips),
        int(outcome["second_only"]),
        int(outcome["first_only"]),
        outcome["p_value"],
        outcome["difference"],
        low,
        high,
    )
    return test, notes


def diff_genres(a: pd.DataFrame, b: pd.DataFrame) -> list[GenreDifference]:
    """The genres whose recall on validation differs, the largest difference first; those of one side alone last.

    Args:
        a: the first model's table: columns split, genre, recall, support.
        b: the second's.
    """
    first, second = _recalls(a), _recalls(b)
    rows = []
    for genre in sorted({*first, *second}):
        before, after = first.get(genre), second.get(genre)
        difference = after.value - before.value if before and after else None
        if difference != 0:
            rows.append(GenreDifference(genre, before, after, difference))
    return sorted(rows, key=lambda row: -1.0 if row.difference is None else abs(row.difference), reverse=True)


def _recalls(per_class: pd.DataFrame) -> dict[str, Recall]:
    rows = per_class[(per_class["split"] == "validation") & (per_class["support"] > 0)]
    return {
        str(row["genre"]): Recall(round(row["recall"] * row["support"]), int(row["support"]))
        for row in rows.to_dict("records")
    }
