"""Checks on this machine and against the champion."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.evaluation.results import ModelResult, read_result
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import BundledMember, BundleManifest, temporary_bundle
from music_genre.registry.checks import drop_criterion, incompatibility, run_registry_checks
from music_genre.registry.gate import Criterion, paired_difference_ci
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


@pytest.fixture
def check(
    writable_checkout: Path, gate_params: GateParams
) -> Iterator[Callable[[str], tuple[list[Criterion], list[str]]]]:
    """Checks a model of the checkout, whose champion is the model that its gate selected."""
    data = SpectrogramStore.open(writable_checkout / "data/spectrograms")
    params = RegistryParams(name="music-genre", gate=gate_params.model_copy(update={"max_latency_ms": 10_000}))

    def run(name: str) -> tuple[list[Criterion], list[str]]:
        result = read_result(writable_checkout / "reports/evaluation", name)
        with temporary_bundle(writable_checkout / "models", name, data) as bundle:
            return run_registry_checks(runs.connect(writable_checkout), params, 7, result, bundle, data, {})

    return run


def test_model_is_compared_with_the_champion_on_the_same_clips(
    check: Callable[[str], tuple[list[Criterion], list[str]]],
) -> None:
    # The baseline is right on every clip, so no champion can be significantly better.
    criteria, (note,) = check("baseline")
    assert [(criterion.name, criterion.passed) for criterion in criteria] == [
        ("max_latency_ms", True),
        ("max_macro_f1_drop", True),
    ]
    assert criteria[1].value <= 0
    assert note.startswith("champion: macro-F1 is +")
    assert note.endswith("above that of version 1 on the same clips (95 % interval)")


def test_champion_is_not_compared_with_itself(
    check: Callable[[str], tuple[list[Criterion], list[str]]], writable_checkout: Path
) -> None:
    champion = runs.connect(writable_checkout).get_model_version_by_alias("music-genre", "champion")
    criteria, notes = check(champion.tags["model"])
    assert [criterion.name for criterion in criteria] == ["max_latency_ms"]
    assert notes == ["champion: it is this model"]


def test_champion_whose_files_are_lost_is_not_compared(
    check: Callable[[str], tuple[list[Criterion], list[str]]], writable_checkout: Path
) -> None:
    with sqlite3.connect(writable_checkout / "mlflow.db") as store:
        for table, column in (("logged_models", "artifact_location"), ("model_versions", "storage_location")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, '/mlartifacts/', '/lost/')")
    criteria, (note,) = check("baseline")
    assert [criterion.name for criterion in criteria] == ["max_latency_ms"]
    assert note.startswith("champion: not compared with version 1: its files cannot be read (")


def test_only_a_significantly_lower_macro_f1_than_the_champions_is_refused(
    make_result: Callable[..., ModelResult], gate_params: GateParams
) -> None:
    champion, alike, worse = (make_result("crnn", 10, wrong=wrong) for wrong in (range(10), range(4, 16), range(60)))

    def criterion(result: ModelResult, params: GateParams) -> Criterion:
        _, high = paired_difference_ci(result.validation_predictions, champion.validation_predictions, 7)
        return drop_criterion(high, params)

    assert criterion(alike, gate_params).passed
    assert not criterion(worse, gate_params).passed
    assert criterion(worse, gate_params).value > 0
    assert criterion(worse, gate_params.model_copy(update={"max_macro_f1_drop": 0.9})).passed


def collection(transform: MelConfig | None = TRANSFORM, genres: tuple[str, ...] = ("Folk", "Rock")) -> SpectrogramStore:
    """One validation clip, whose id is 7."""
    row = {"track_id": 7, "split": "validation", "label": 0, "shard": "a.npy", "row": 0, "n_frames": 64, "n_mels": 32}
    return SpectrogramStore(Path("data/spectrograms"), pd.DataFrame([row]), genres, 1.0, FEATURES_VERSION, transform)


def test_champion_is_compared_by_its_own_features_where_the_audio_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: np.zeros((1, 64, 32)))
    champion = replace(MANIFEST, features_version=FEATURES_VERSION)
    other = TRANSFORM.model_copy(update={"n_fft": 1024})
    assert incompatibility(champion, collection(), {}) is None
    assert incompatibility(champion, collection(other), {7: Path("7.mp3")}) is None
    lost = "it takes other features, and the audio of 1 clips is not here"
    assert incompatibility(champion, collection(other), {}) == lost
    assert incompatibility(champion, collection(None), {}) == "it has another transform"
    assert incompatibility(champion, collection(genres=("Folk", "Jazz")), {}) == "it has other genres (Folk, Rock)"
    old = replace(champion, features_version=1)
    assert incompatibility(old, collection(), {7: Path("7.mp3")}) == "it takes features of version 1"
