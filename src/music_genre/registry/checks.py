"""Checks that depend on this machine or on the registry: latency, and macro-F1 beside the champion's.

They complete the gate's verdict, which follows from files alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.compute import map_clips
from music_genre.errors import MusicGenreError
from music_genre.evaluation import metrics
from music_genre.evaluation.results import ModelResult
from music_genre.evaluation.serving_checks import latency_ms
from music_genre.features.params import FEATURES_VERSION
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.inference.batch import load_first_clip
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
    recordings: Mapping[int, Path],
) -> tuple[list[Criterion], list[str]]:
    """Check the selected model on this machine and against the champion.

    Args:
        client: of the connected store.
        params: the section ``registry`` of ``params.yaml``.
        seed: of the bootstrap.
        result: the model's evaluation.
        bundle: the model's bundle.
        data: what it was evaluated on.
        recordings: the audio of its clips by track id, where there is any.

    Returns:
        The criteria, and notes: what was not checked and why.
    """
    version = find_version(client, params.name, folder_sha256(bundle))
    latency = cached_measurement(version, CriterionName.MAX_LATENCY_MS)
    if latency is None:
        latency = latency_ms(ModelBundle(bundle))
    criteria = [apply_threshold(CriterionName.MAX_LATENCY_MS, latency, params.gate)]
    number = champion(client, params.name)
    if number is None:
        return criteria, ["champion: there is none to compare with"]
    if version is not None and str(version.version) == number:
        return criteria, ["champion: it is this model"]
    compared, note = compare_with_champion(
        client.get_model_version(params.name, number), result, data, recordings, params.gate, seed
    )
    return [*criteria, *compared], [note]


def compare_with_champion(
    version: ModelVersion,
    result: ModelResult,
    data: SpectrogramStore,
    recordings: Mapping[int, Path],
    gate: GateParams,
    seed: int,
) -> tuple[list[Criterion], str]:
    """Compare macro-F1 with the champion's on the same validation clips, whatever features either takes of them.

    Returns:
        The criterion, or none where the two cannot be compared; and a note with the difference, or why there is none.
    """
    try:
        champion_dir = download_bundle(version)
        manifest = read_manifest(champion_dir)
        reason = incompatibility(manifest, data, recordings)
        probabilities = np.empty(0) if reason else predict_validation(ModelBundle(champion_dir), data, recordings)
    except (MusicGenreError, OSError, ValueError, KeyError, TypeError) as error:
        reason = f"its files cannot be read ({' '.join(str(error).split())[:200]})"
    if reason is not None:
        return [], f"champion: not compared with version {version.version}: {reason}"
    clips = data.split("validation")
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


def incompatibility(champion: BundleManifest, data: SpectrogramStore, recordings: Mapping[int, Path]) -> str | None:
    """Why a champion's predictions for the validation clips cannot be had, or mean something else; None where they can.

    Args:
        champion: its manifest.
        data: the clips.
        recordings: their audio by track id, where there is any.
    """
    if champion.genres != data.genres:
        return f"it has other genres ({', '.join(champion.genres)})"
    if has_stored_features(champion, data):
        return None
    if champion.transform is None or data.transform is None:
        return "it has another transform"
    if champion.features_version != FEATURES_VERSION:
        return f"it takes features of version {champion.features_version}"
    missing = [i for i in data.split("validation").track_id.tolist() if i not in recordings]
    return f"it takes other features, and the audio of {len(missing)} clips is not here" if missing else None


def has_stored_features(champion: BundleManifest, data: SpectrogramStore) -> bool:
    """Whether the stored features of a collection are those that a model takes."""
    try:
        encoders = {name: data.embeddings(name).encoder for name in champion.encoders}
    except MusicGenreError:
        return False
    made_alike = champion.transform is None or champion.features_version == data.features_version
    return (
        (champion.transform, champion.shape) == (data.transform, data.shape)
        and made_alike
        and (encoders == dict(champion.encoders))
    )


def predict_validation(model: ModelBundle, data: SpectrogramStore, recordings: Mapping[int, Path]) -> np.ndarray:
    """(n, classes) probabilities of the validation clips: from their stored features, else from their audio."""
    manifest = model.manifest
    if has_stored_features(manifest, data):
        return model.predict_split(data, "validation")
    files = [recordings[track_id] for track_id in data.split("validation").track_id.tolist()]
    clips = map_clips(partial(load_first_clip, manifest=manifest), files, "Champion's features")
    return np.concatenate([model.predict(clip.inputs(manifest)) for clip in clips])


def complete_gate(gate: GateResult, criteria: list[Criterion], notes: list[str]) -> GateResult:
    """The gate's result with further criteria and notes."""
    return GateResult(gate.model, gate.candidates, [*gate.criteria, *criteria], [*gate.notes, *notes])
