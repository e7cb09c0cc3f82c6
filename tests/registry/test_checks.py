"""Checks on this machine and against the champion."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.evaluation.results import ModelResult, align_predictions
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import BundledMember, BundleManifest, ModelBundle
from music_genre.models.packing import temporary_bundle
from music_genre.registry.checks import (
    ChampionPredictions,
    RegistryChecks,
    compare_with_champion,
    incompatibility,
)
from music_genre.registry.criteria import Criterion, CriterionName, difference_criterion
from music_genre.registry.params import GateParams, RegistryParams
from music_genre.tracking import runs

TRANSFORM = MelConfig(sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=32, n_frames=64, clip_duration_s=4)
MANIFEST = BundleManifest(
    name="crnn",
    members=(BundledMember("crnn", 1.0, 1.0, "crnn.keras", "spectrograms"),),
    temperature=1.0,
    genres=("Folk", "Rock"),
    shape=(64, 32),
    transform=TRANSFORM,
    min_duration_s=1.0,
    features_version=1,
)


Check = Callable[[str], tuple[list[Criterion], list[str]]]


@pytest.fixture
def check(writable_checkout: Path, gate_params: GateParams) -> Iterator[Check]:
    """Checks a model of the checkout, whose champion is the model that its gate selected."""
    data = SpectrogramStore.open(writable_checkout / "data/spectrograms")
    gate = gate_params.model_copy(update={"max_latency_ms": 10_000})
    params = RegistryParams(name="music-genre", max_macro_f1_cost=0.02, gate=gate)

    def run(name: str) -> tuple[list[Criterion], list[str]]:
        checks = RegistryChecks(runs.connect(writable_checkout), params, 7, data, {})
        with temporary_bundle(writable_checkout / "models", name, data) as bundle:
            return checks.run(bundle)

    return run


@pytest.fixture
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout's validation has fewer clips than a comparison needs."""
    monkeypatch.setattr("music_genre.registry.checks.MIN_COMPARED_CLIPS", 2)


def champion_of(checkout: Path) -> str:
    return str(runs.connect(checkout).get_model_version_by_alias("music-genre", "champion").tags["model"])


def other_model(checkout: Path) -> str:
    return next(name for name in ("baseline", "parallel") if name != champion_of(checkout))


@pytest.mark.usefixtures("few_clips")
def test_model_is_compared_with_the_champion_on_clips_that_neither_was_trained_on(
    check: Check, writable_checkout: Path
) -> None:
    criteria, (note,) = check(other_model(writable_checkout))
    assert [criterion.name for criterion in criteria] == ["max_latency_ms", "max_macro_f1_drop"]
    n_clips = len(SpectrogramStore.open(writable_checkout / "data/spectrograms").split("validation"))
    assert criteria[1].n_clips == n_clips
    assert note == (
        f"champion: compared with version 1 on {n_clips} clips that neither was trained on, of the 3 genres that both"
        " know"
    )


@pytest.mark.usefixtures("few_clips")
def test_clips_that_the_champion_was_trained_on_are_left_out(
    check: Check, writable_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = SpectrogramStore.open(writable_checkout / "data/spectrograms").split("validation")
    monkeypatch.setattr("music_genre.registry.checks.read_training_clips", lambda _: clips.track_id[:3])
    criteria, (note,) = check(other_model(writable_checkout))
    assert criteria[1].n_clips == len(clips) - 3
    assert f"on {len(clips) - 3} clips that neither was trained on" in note


def test_too_few_clips_are_said_and_not_compared(check: Check, writable_checkout: Path) -> None:
    criteria, (note,) = check(other_model(writable_checkout))
    assert [criterion.name for criterion in criteria] == ["max_latency_ms"]
    assert note.endswith("of the 3 genres that both know, too few to tell")


def test_champion_is_not_compared_with_itself(check: Check, writable_checkout: Path) -> None:
    criteria, notes = check(champion_of(writable_checkout))
    assert [criterion.name for criterion in criteria] == ["max_latency_ms"]
    assert notes == ["champion: it is this model"]


def test_champion_whose_files_are_lost_is_not_compared(check: Check, writable_checkout: Path) -> None:
    with sqlite3.connect(writable_checkout / "mlflow.db") as store:
        for table, column in (("logged_models", "artifact_location"), ("model_versions", "storage_location")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, '/mlartifacts/', '/lost/')")
    criteria, (note,) = check("baseline")
    assert [criterion.name for criterion in criteria] == ["max_latency_ms"]
    assert note.startswith("champion: not compared with version 1: its files cannot be read (")


def test_only_a_certainly_lower_macro_f1_than_the_champions_is_refused(
    make_result: Callable[..., ModelResult], gate_params: GateParams
) -> None:
    champion, alike, worse = (make_result("crnn", 10, wrong=wrong) for wrong in (range(10), range(4, 16), range(60)))

    def criterion(result: ModelResult, params: GateParams) -> Criterion:
        predictions = align_predictions(result.validation_predictions, champion.validation_predictions)
        return difference_criterion(CriterionName.MAX_MACRO_F1_DROP, predictions, params, 7)

    assert criterion(alike, gate_params).passed
    assert not criterion(worse, gate_params).passed
    assert criterion(worse, gate_params).value > 0
    assert criterion(worse, gate_params.model_copy(update={"max_macro_f1_drop": 0.9})).passed


def test_models_of_other_genres_are_compared_on_those_that_both_know(
    trained_checkout: Path, gate_params: GateParams
) -> None:
    data = SpectrogramStore.open(trained_checkout / "data/spectrograms")
    clips = data.split("validation")
    # A champion that knows another genre first, and the last of the checkout's not; it is always right.
    genres = ("Blues", *data.genres[:2])
    right = np.array([genres.index(data.genres[label]) if label < 2 else 0 for label in clips.label])
    champion = ChampionPredictions("1", "", genres, np.arange(len(clips)), np.eye(3)[right])
    with temporary_bundle(trained_checkout / "models", "baseline", data) as bundle:
        model = ModelBundle(bundle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("music_genre.registry.checks.MIN_COMPARED_CLIPS", 2)
        (criterion,), note = compare_with_champion(champion, model, data, gate_params, 7)
    n_known = int((clips.label < 2).sum())
    assert criterion.n_clips == n_known
    own = np.array(data.genres[:2])[model.predict_split(data, "validation")[clips.label < 2][:, :2].argmax(axis=1)]
    n_wrong = int((own != np.array(data.genres)[clips.label[clips.label < 2]]).sum())
    assert (criterion.value > 0) == (n_wrong > 0)
    assert note.endswith(f"of the 2 genres that both know; new: {data.genres[2]}; gone: Blues")


def collection(transform: MelConfig | None = TRANSFORM, genres: tuple[str, ...] = ("Folk", "Rock")) -> SpectrogramStore:
    """One validation clip, whose id is 7."""
    row = {"track_id": 7, "split": "validation", "label": 0, "shard": "a.npy", "row": 0, "n_frames": 64, "n_mels": 32}
    return SpectrogramStore(Path("data/spectrograms"), pd.DataFrame([row]), genres, 1.0, FEATURES_VERSION, transform)


def test_champion_is_compared_by_its_own_features_where_the_audio_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: np.zeros((1, 64, 32)))
    champion, first = replace(MANIFEST, features_version=FEATURES_VERSION), np.arange(1)
    other = TRANSFORM.model_copy(update={"n_fft": 1024})
    assert incompatibility(champion, collection(), {}, first) == ""
    assert incompatibility(champion, collection(other), {7: Path("7.mp3")}, first) == ""
    lost = "it takes other features, and the audio of 1 clips is not here"
    assert incompatibility(champion, collection(other), {}, first) == lost
    assert incompatibility(champion, collection(None), {}, first) == "it has another transform"
    old = replace(champion, features_version=1)
    recordings = {7: Path("7.mp3")}
    assert incompatibility(old, collection(), recordings, first) == "it takes features of version 1"
