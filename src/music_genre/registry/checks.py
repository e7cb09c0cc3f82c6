"""Checks that depend on this machine or on the registry: latency, and macro-F1 beside the champion's.

They complete the gate's verdict, which follows from files alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.errors import MusicGenreError
from music_genre.evaluation import metrics
from music_genre.evaluation.results import ModelResult
from music_genre.evaluation.serving_checks import latency_ms
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.models.bundle import BundleManifest, ModelBundle, read_manifest
from music_genre.registry.gate import Criterion, CriterionName, GateResult, apply_threshold, paired_difference_ci
from music_genre.registry.params import GateParams, RegistryParams
from music_genre.registry.versions import cached_measurement, champion, download_bundle, find_version


def run_registry_checks(
    client: MlflowClient,
    params: RegistryParams,
    seed: int,
    result: ModelResult,
    bundle: Path,
    data: SpectrogramStore,
) -> tuple[list[Criterion], list[str]]:
    """Check the selected model on this machine and against the champion.

    Args:
        client: of the connected store.
        params: the section ``registry`` of ``params.yaml``.
        seed: of the bootstrap.
        result: the model's evaluation.
        bundle: the model's bundle.
        data: what it was evaluated on.

    Returns:
        The criteria, and notes: what was not checked and why.
    """
    version = find_version(client, params.name, folder_sha256(bundle))
    latency = cached_measurement(version, CriterionName.MAX_LATENCY_MS)
    if latency is None:
        latency = latency_ms(ModelBundle(bundle), data.split("validation").read(np.arange(1)))
    criteria = [apply_threshold(CriterionName.MAX_LATENCY_MS, latency, params.gate)]
    number = champion(client, params.name)
    if number is None:
        return criteria, ["champion: there is none to compare with"]
    if version is not None and str(version.version) == number:
        return criteria, ["champion: it is this model"]
    compared, note = compare_with_champion(
        client.get_model_version(params.name, number), result, bundle, data, params.gate, seed
    )
    return [*criteria, *compared], [note]


def compare_with_champion(
    version: ModelVersion,
    result: ModelResult,
    bundle: Path,
    data: SpectrogramStore,
    gate: GateParams,
    seed: int,
) -> tuple[list[Criterion], str]:
    """Compare macro-F1 with the champion's on the same validation clips.

    Returns:
        The criterion, or none where the two cannot be compared; and a note with the difference, or why there is none.
    """
    try:
        champion_dir = download_bundle(version)
        reason = incompatibility(read_manifest(champion_dir), read_manifest(bundle))
    except (MusicGenreError, OSError, ValueError, KeyError) as error:
        reason = f"its files cannot be read ({' '.join(str(error).split())[:200]})"
    if reason is not None:
        return [], f"champion: not compared with version {version.version}: {reason}"
    clips = data.split("validation")
    probabilities = ModelBundle(champion_dir).predict_split(clips)
    champion_predictions = metrics.predictions(clips.track_id, clips.label, probabilities, data.genres)
    low, high = paired_difference_ci(result.validation_predictions, champion_predictions, seed)
    note = (
        f"champion: macro-F1 is {low:+.3f} to {high:+.3f} above that of version {version.version} on the same clips"
        " (95 % interval)"
    )
    return [drop_criterion(high, gate)], note


def drop_criterion(difference_high: float, gate: GateParams) -> Criterion:
    """Whether macro-F1 is not significantly below the champion's.

    Args:
        difference_high: upper end of the interval of the difference, the model's macro-F1 minus the champion's.
        gate: the thresholds.
    """
    return apply_threshold(CriterionName.MAX_MACRO_F1_DROP, -difference_high, gate)


def incompatibility(champion: BundleManifest, candidate: BundleManifest) -> str | None:
    """Why the predictions of two models for the same clips cannot be compared; None where they can."""
    if champion.genres != candidate.genres:
        return f"it has other genres ({', '.join(champion.genres)})"
    if (champion.transform, champion.shape) != (candidate.transform, candidate.shape):
        return "it has another transform"
    if champion.transform is not None and champion.features_version != candidate.features_version:
        return f"it takes features of version {champion.features_version}"
    return None


def complete_gate(gate: GateResult, criteria: list[Criterion], notes: list[str]) -> GateResult:
    """The gate's result with further criteria and notes."""
    return GateResult(gate.model, gate.candidates, [*gate.criteria, *criteria], [*gate.notes, *notes])
