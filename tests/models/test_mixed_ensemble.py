"""An ensemble of a network on spectrograms and a classifier on embeddings: each member takes its own input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from music_genre.errors import MusicGenreError
from music_genre.evaluation.serving_checks import export_difference_ppm
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.inference.batch import load_clips, load_first_clip
from music_genre.interpretation.explain_clip import explain_recording
from music_genre.models.bundle import ModelBundle, read_manifest
from music_genre.models.calibration import apply_temperature, read_temperature
from music_genre.models.ensemble import EnsembleMember, combine, write_ensemble
from music_genre.models.packing import temporary_bundle
from transfer_projects import add_transfer, held_out_recordings, run_stages

pytestmark = pytest.mark.slow

MEMBERS = [EnsembleMember("crnn", 0.25, 1.0), EnsembleMember("transfer", 0.75, 2.0)]


@pytest.fixture(scope="module")
def project(trained_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with a trained transfer and such an ensemble."""
    folder = tmp_path_factory.mktemp("mixed") / "checkout"
    shutil.copytree(trained_checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", "mlflow.db"))
    add_transfer(folder)
    run_stages(folder, "encoders", "embeddings", "train transfer")
    write_ensemble(folder / "models", MEMBERS, 1.5, SpectrogramStore.open(folder / "data/spectrograms").genres)
    return folder


@pytest.fixture(scope="module")
def data(project: Path) -> SpectrogramStore:
    return SpectrogramStore.open(project / "data/spectrograms")


@pytest.fixture(scope="module")
def recordings(project: Path, data: SpectrogramStore) -> list[Path]:
    return held_out_recordings(project, data)


def test_average_is_of_the_members_on_their_own_inputs(
    project: Path, data: SpectrogramStore, recordings: list[Path]
) -> None:
    alone = []
    for member in MEMBERS:
        with temporary_bundle(project / "models", member.name, data) as folder:
            calibrated = ModelBundle(folder).predict_split(data, "test")
        alone.append(apply_temperature(calibrated, 1 / read_temperature(project / "models" / member.name)))
    expected = combine(alone, [0.25, 0.75], [1.0, 2.0], 1.5)
    with temporary_bundle(project / "models", "ensemble", data) as folder:
        model = ModelBundle(folder)
    assert model.manifest.inputs == (SPECTROGRAMS, "musicnn")
    np.testing.assert_allclose(model.predict_split(data, "test"), expected, atol=1e-5)
    inputs = [load_first_clip(file, model.manifest).inputs(model.manifest) for file in recordings]
    answers = np.concatenate([model.predict(clip) for clip in inputs])
    np.testing.assert_allclose(answers, expected, atol=2e-3)  # stored spectrograms are float16


def test_only_the_network_is_an_export(project: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(project / "models", "ensemble", data) as folder:
        members = read_manifest(folder).members
        difference = export_difference_ppm(folder, data.split("validation"))
    assert {member.file: member.trained for member in members} == {"crnn.onnx": "crnn.keras", "transfer.onnx": ""}
    assert difference is not None
    assert difference < 2


def test_timeline_is_of_clips_where_a_member_needs_them(
    project: Path, data: SpectrogramStore, recordings: list[Path]
) -> None:
    with temporary_bundle(project / "models", "ensemble", data) as folder:
        assert load_clips(recordings[0], read_manifest(folder), timeline=True).timeline is None
    with temporary_bundle(project / "models", "transfer", data) as folder:
        assert load_clips(recordings[0], read_manifest(folder), timeline=True).timeline is not None


def test_it_is_explained_by_occlusion_of_both_inputs(
    project: Path, data: SpectrogramStore, recordings: list[Path]
) -> None:
    with temporary_bundle(project / "models", "ensemble", data) as folder:
        explanation = explain_recording(folder, recordings[0], 60)
    assert explanation.genre == recordings[0].parent.name
    assert len(explanation.tags) == 5


def test_bundle_whose_encoder_was_changed_is_refused(project: Path, data: SpectrogramStore) -> None:
    with temporary_bundle(project / "models", "transfer", data) as folder:
        encoder, manifest_file = folder / "encoders/musicnn", folder / "manifest.json"
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        about = json.loads((encoder / "encoder.json").read_text(encoding="utf-8"))
        (encoder / "encoder.json").write_text(json.dumps(about | {"level_dbfs": None}), encoding="utf-8")
        with pytest.raises(MusicGenreError, match=r"holds other encoders than manifest\.json describes"):
            ModelBundle(folder)
        (encoder / "encoder.onnx").write_bytes((encoder / "encoder.onnx").read_bytes() + b"\0")
        with pytest.raises(MusicGenreError, match=r"has the SHA-256 .*; encoder\.json says"):
            ModelBundle(folder)
        manifest["members"][0]["input"] = "other"
        manifest_file.write_text(json.dumps(manifest), encoding="utf-8")
        with pytest.raises(ValueError, match="transfer takes 'other', which is no encoder of the bundle"):
            read_manifest(folder)


def test_model_is_not_bundled_with_another_encoder_than_it_was_trained_on(
    project: Path, data: SpectrogramStore, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(project / "models", models)
    about = json.loads((models / "encoders/musicnn/encoder.json").read_text(encoding="utf-8"))
    (models / "encoders/musicnn/encoder.json").write_text(json.dumps(about | {"hop_length": 24_000}), encoding="utf-8")
    with (
        pytest.raises(MusicGenreError, match="transfer was trained on another musicnn"),
        temporary_bundle(models, "transfer", data),
    ):
        pass
