"""The gate: which model is put forward, what is asked of it on validation, and what was found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.evaluation.metrics import macro_f1_difference_ci
from music_genre.features.audio import decode
from music_genre.features.mel import MelConfig, extract_first_clip
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import BundleManifest, ModelBundle, temporary_bundle
from music_genre.registry.params import GateParams

PASSED, REFUSED = "passed", "refused"
FEATURES, LATENCY, CHAMPION = "features_db", "latency_ms", "macro_f1_above_champion"
LISTENED, TIMED = 8, 15
"""Clips whose features are made again, and forward passes that are timed."""


@dataclass(frozen=True)
class Candidate:
    """A model that may be registered.

    Args:
        name: of the model.
        parameters: trained figures in it; of two models that do as well, the smaller is the simpler.
        metrics: ``metrics.json``.
        predictions: of the validation split: columns track_id, actual, predicted.
    """

    name: str
    parameters: int
    metrics: Mapping[str, Mapping[str, float]]
    predictions: pd.DataFrame

    @property
    def validation_macro_f1(self) -> float:
        return self.metrics["validation"]["macro_f1"]

    @property
    def recalls(self) -> dict[str, float]:
        """Share of each genre's validation clips that were named rightly."""
        right = self.predictions["actual"] == self.predictions["predicted"]
        return {str(genre): float(share) for genre, share in right.groupby(self.predictions["actual"]).mean().items()}


@dataclass(frozen=True)
class Criterion:
    """A line of the gate's verdict: what was found against what was asked."""

    name: str
    value: float | bool
    threshold: float | bool
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """A candidate and what the gate says.

    Args:
        candidate: the model.
        criteria: every one that was judged.
        notes: what a figure leaves out: which genres fell below the floor, what could not be judged and why.
    """

    candidate: Candidate
    criteria: list[Criterion]
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return PASSED if all(criterion.passed for criterion in self.criteria) else REFUSED


def judge_files(
    names: Sequence[str],
    reports: Path,
    summary: Path,
    models: Path,
    data: SpectrogramStore,
    gate: GateParams,
    seed: int,
) -> GateResult:
    """Choose a model and judge it by what the stages left on disk: the same on every machine.

    Args:
        names: of the candidates.
        reports: ``reports/evaluation``.
        summary: of the data checks.
        models: the folder of trained models.
        data: what they were trained on.
        gate: what is asked.
        seed: of the resampling.
    """
    chosen = choose([read_candidate(reports, name) for name in names], gate, seed)
    quality = json.loads(summary.read_text(encoding="utf-8"))["success"]
    with temporary_bundle(models, chosen.name, data) as folder:
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return judge(chosen, quality, megabytes, gate)


def read_candidate(reports: Path, name: str) -> Candidate:
    """A model's figures on validation, with test for the record, from ``reports/evaluation``."""
    comparison, predictions = pd.read_csv(reports / "comparison.csv"), pd.read_csv(reports / name / "predictions.csv")
    return Candidate(
        name,
        int(comparison.loc[comparison["model"] == name, "parameters"].iloc[0]),
        json.loads((reports / name / "metrics.json").read_text(encoding="utf-8")),
        predictions[predictions["split"] == "validation"],
    )


def choose(candidates: Sequence[Candidate], gate: GateParams, seed: int) -> Candidate:
    """Of the models that reach the gate's figures (of all, where none does) the simplest one whose validation macro-F1
    the best does not beat beyond the 95 % interval of the paired difference.
    """
    reaching = [candidate for candidate in candidates if all(c.passed for c in figures(candidate, gate))]
    able = reaching or list(candidates)
    best = max(able, key=lambda candidate: candidate.validation_macro_f1)
    for candidate in sorted(able, key=lambda candidate: candidate.parameters):
        if candidate is best or paired_difference(best.predictions, candidate.predictions, seed)[0] <= 0:
            return candidate
    return best


def paired_difference(first: pd.DataFrame, second: pd.DataFrame, seed: int) -> tuple[float, float]:
    """95 % interval of how far macro-F1 of the first predictions lies above that of the second, on the same clips."""
    one, other = first.sort_values("track_id"), second.sort_values("track_id")
    return macro_f1_difference_ci(
        one["actual"].to_numpy(), one["predicted"].to_numpy(), other["predicted"].to_numpy(), seed
    )


def figures(candidate: Candidate, gate: GateParams) -> list[Criterion]:
    """What is asked of a model's answers on validation."""
    macro_f1, ece = candidate.validation_macro_f1, candidate.metrics["validation"]["ece"]
    recall = min(candidate.recalls.values())
    return [
        Criterion("validation_macro_f1", macro_f1, gate.min_macro_f1, macro_f1 >= gate.min_macro_f1),
        Criterion("validation_recall", recall, gate.min_class_recall, recall >= gate.min_class_recall),
        Criterion("validation_ece", ece, gate.max_ece, ece <= gate.max_ece),
    ]


def judge(candidate: Candidate, data_quality: bool, megabytes: float, gate: GateParams) -> GateResult:
    """The part of the verdict that follows from files alone: the same on every machine."""
    criteria = [
        *figures(candidate, gate),
        Criterion("data_quality", data_quality, True, data_quality),
        Criterion("megabytes", megabytes, gate.max_size_mb, megabytes <= gate.max_size_mb),
    ]
    low = {genre: recall for genre, recall in candidate.recalls.items() if recall < gate.min_class_recall}
    named = ", ".join(f"{genre} {recall:.3f}" for genre, recall in low.items())
    return GateResult(candidate, criteria, [f"recall below {gate.min_class_recall}: {named}"] if low else [])


def features_criterion(difference_db: float, gate: GateParams) -> Criterion:
    """Whether audio looks to the model as it did in training."""
    return Criterion(FEATURES, difference_db, gate.max_feature_skew_db, difference_db <= gate.max_feature_skew_db)


def latency_criterion(milliseconds: float, gate: GateParams) -> Criterion:
    """Whether the model answers fast enough on this machine."""
    return Criterion(LATENCY, milliseconds, gate.max_latency_ms, milliseconds <= gate.max_latency_ms)


def champion_criterion(interval: tuple[float, float], gate: GateParams) -> Criterion:
    """Whether the candidate is not surely worse than the champion: the upper end of the difference's interval."""
    return Criterion(CHAMPION, interval[1], -gate.max_macro_f1_drop, interval[1] >= -gate.max_macro_f1_drop)


def feature_difference(transform: MelConfig, audio: Sequence[Path], stored: np.ndarray) -> float:
    """Largest distance in dB between features that the model's own transform makes of audio, and the pipeline's.

    Args:
        transform: the packed model's.
        audio: (n,) files.
        stored: (n, frames, n_mels) dB, of the same clips, rounded to float16 as the pipeline stores them.
    """
    distances = [
        np.abs(
            extract_first_clip(decode(path, transform.clip_duration_s + 1), transform).astype(np.float16) - clip
        ).max()
        for path, clip in zip(audio, stored, strict=True)
    ]
    return float(max(distances))


def latency_ms(model: ModelBundle, clip: np.ndarray) -> float:
    """Fastest of some forward passes of one clip (1, frames, n_mels): what a busy machine adds is left out."""
    model.predict(clip)
    times = []
    for _ in range(TIMED):
        start = time.perf_counter()
        model.predict(clip)
        times.append(time.perf_counter() - start)
    return round(1000 * min(times), 2)


def incomparable(champion: BundleManifest, candidate: BundleManifest) -> str | None:
    """Why two models' answers to the same clips cannot be compared, if so."""
    if champion.genres != candidate.genres:
        return f"it names other genres ({', '.join(champion.genres)})"
    if (champion.transform, champion.shape) != (candidate.transform, candidate.shape):
        return "it hears clips through another transform"
    return None
