"""Checks that depend on this machine or on the registry: latency, and macro-F1 beside the champion's.

They complete the gate's verdict, which follows from files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.compute import map_clips
from music_genre.errors import MusicGenreError
from music_genre.evaluation.serving_checks import latency_ms
from music_genre.features.params import FEATURES_VERSION
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.inference.batch import load_first_clip
from music_genre.models.bundle import BundleManifest, ModelBundle, read_manifest
from music_genre.models.serialization import read_training_clips
from music_genre.registry.criteria import Criterion, CriterionName, apply_threshold, difference_criterion
from music_genre.registry.gate import Candidate, GateResult
from music_genre.registry.listing import new_and_gone
from music_genre.registry.params import GateParams, RegistryParams
from music_genre.registry.versions import champion, download_bundle, find_version

MIN_COMPARED_CLIPS = 20  # with fewer an interval says nothing


@dataclass(frozen=True)
class ChampionPredictions:
    """What the champion predicts for validation's clips.

    Args:
        version: its number.
        digest: of its bundle.
        genres: that it knows, in label order.
        positions: (n,) of the clips of validation that it was not trained on.
        probabilities: (n, its genres) for these.
        obstacle: why there are no predictions; empty where there are.
    """

    version: str
    digest: str
    genres: tuple[str, ...] = ()
    positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    obstacle: str = ""


class RegistryChecks:
    """Checks candidates on this machine and against the champion, which predicts once.

    Args:
        client: of the connected store.
        params: the section ``registry`` of ``params.yaml``.
        seed: of the bootstrap.
        data: what the candidates were evaluated on.
        recordings: the audio of its clips by track id, where there is any.
    """

    def __init__(
        self,
        client: MlflowClient,
        params: RegistryParams,
        seed: int,
        data: SpectrogramStore,
        recordings: Mapping[int, Path],
    ) -> None:
        self.client, self.params, self.seed, self.data = client, params, seed, data
        number = champion(client, params.name)
        version = client.get_model_version(params.name, number) if number else None
        self.champion = predict_validation(version, data, recordings) if version else None

    def run(self, bundle: Path) -> tuple[list[Criterion], list[str]]:
        """The criteria of a candidate's bundle, and notes: what was not checked and why."""
        digest, model = folder_sha256(bundle), ModelBundle(bundle)
        latency = cached_measurement(find_version(self.client, self.params.name, digest), CriterionName.MAX_LATENCY_MS)
        if latency is None:
            latency = latency_ms(model)
        gate = self.params.gate
        criteria = [apply_threshold(CriterionName.MAX_LATENCY_MS, latency, gate)]
        if self.champion is None:
            return criteria, ["champion: there is none to compare with"]
        if self.champion.digest == digest:
            return criteria, ["champion: it is this model"]
        compared, note = compare_with_champion(self.champion, model, self.data, gate, self.seed)
        return [*criteria, *compared], [note]


def cached_measurement(version: ModelVersion | None, criterion: CriterionName) -> float | None:
    """The value that a version was registered with, if it passed the criterion: then it need not be measured again."""
    criteria = json.loads(version.tags.get("criteria", "[]")) if version else []
    return next((float(c["value"]) for c in criteria if c["name"] == criterion and c["passed"]), None)


def compare_with_champion(
    champion: ChampionPredictions, model: ModelBundle, data: SpectrogramStore, gate: GateParams, seed: int
) -> tuple[list[Criterion], str]:
    """Compare macro-F1 on the clips of validation that neither model was trained on, among the genres that both know.

    Returns:
        The criterion, or none where the two cannot be compared; and a note on what was compared, or why nothing was.
    """
    with_version = f"with version {champion.version}"
    if champion.obstacle:
        return [], f"champion: not compared {with_version}: {champion.obstacle}"
    clips, genres = data.split("validation"), data.genres
    shared = [genre for genre in genres if genre in champion.genres]
    known = np.isin(np.array(genres)[clips.label[champion.positions]], shared)
    positions = champion.positions[known]
    which = f"{len(positions)} clips that neither was trained on, of the {len(shared)} genres that both know"
    if len(positions) < MIN_COMPARED_CLIPS or len(shared) < 2:
        return [], f"champion: not compared {with_version}: there are {which}, too few to tell"
    actual = np.array(genres)[clips.label[positions]]
    own = _likeliest(model.predict_split(data, "validation")[positions], genres, shared)
    other = _likeliest(champion.probabilities[known], champion.genres, shared)
    criterion = difference_criterion(CriterionName.MAX_MACRO_F1_DROP, (actual, own, other), gate, seed)
    new, gone = new_and_gone(champion.genres, genres)
    changes = "".join(f"; {what}: {', '.join(some)}" for what, some in (("new", new), ("gone", gone)) if some)
    return [criterion], f"champion: compared {with_version} on {which}{changes}"


def _likeliest(probabilities: np.ndarray, genres: tuple[str, ...], among: list[str]) -> np.ndarray:
    """(n,) the likeliest of some genres, from (n, classes) probabilities of all."""
    columns = [genres.index(genre) for genre in among]
    return np.asarray(np.array(among)[probabilities[:, columns].argmax(axis=1)])


def predict_validation(
    version: ModelVersion, data: SpectrogramStore, recordings: Mapping[int, Path]
) -> ChampionPredictions:
    """What a registered version predicts for those of validation's clips that it was not trained on.

    Its features are the stored ones where these are alike, else made of the audio.
    """
    number = str(version.version)
    try:
        folder = download_bundle(version)
        digest, manifest = folder_sha256(folder), read_manifest(folder)
        positions = np.flatnonzero(~np.isin(data.split("validation").track_id, read_training_clips(folder)))
        obstacle = incompatibility(manifest, data, recordings, positions)
        if obstacle:
            return ChampionPredictions(number, digest, obstacle=obstacle)
        probabilities = _predict(ModelBundle(folder), data, recordings, positions)
    except (MusicGenreError, OSError, ValueError, KeyError, TypeError) as error:
        obstacle = f"its files cannot be read ({' '.join(str(error).split())[:200]})"
        return ChampionPredictions(number, "", obstacle=obstacle)
    return ChampionPredictions(number, digest, manifest.genres, positions, probabilities)


def incompatibility(
    champion: BundleManifest, data: SpectrogramStore, recordings: Mapping[int, Path], positions: np.ndarray
) -> str:
    """Why a champion's predictions for some validation clips cannot be had; empty where they can.

    Args:
        champion: its manifest.
        data: the clips.
        recordings: their audio by track id, where there is any.
        positions: (n,) of the clips in validation.
    """
    if has_stored_features(champion, data):
        return ""
    if champion.transform is None or data.transform is None:
        return "it has another transform"
    if champion.features_version != FEATURES_VERSION:
        return f"it takes features of version {champion.features_version}"
    missing = [i for i in data.split("validation").track_id[positions].tolist() if i not in recordings]
    return f"it takes other features, and the audio of {len(missing)} clips is not here" if missing else ""


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


def _predict(
    model: ModelBundle, data: SpectrogramStore, recordings: Mapping[int, Path], positions: np.ndarray
) -> np.ndarray:
    """(n, classes) probabilities of the validation clips at ``positions``."""
    manifest = model.manifest
    if has_stored_features(manifest, data):
        return np.asarray(model.predict_split(data, "validation")[positions])
    files = [recordings[track_id] for track_id in data.split("validation").track_id[positions].tolist()]
    clips = map_clips(partial(load_first_clip, manifest=manifest), files, "Champion's features")
    rows = [model.predict(clip.inputs(manifest)) for clip in clips]
    return np.concatenate(rows) if rows else np.empty((0, len(manifest.genres)))


def complete_gate(gate: GateResult, candidate: Candidate, criteria: list[Criterion], notes: list[str]) -> GateResult:
    """The gate's result for one of its candidates, with further criteria and notes."""
    return GateResult(candidate.name, gate.candidates, [*candidate.criteria, *criteria], [*gate.notes, *notes])
