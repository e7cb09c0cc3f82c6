"""An ensemble of a network on spectrograms and a classifier on embeddings: each member takes its own input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from music_genre.errors import MusicGenreError
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.inference.batch import load_clips, load_first_clip
from music_genre.interpretation.explain_clip import explain_recording
from music_genre.models.bundle import ModelBundle, read_manifest, temporary_bundle
from music_genre.models.ensemble import EnsembleMember, combine, write_ensemble

pytestmark = pytest.mark.slow

MEMBERS = [EnsembleMember("crnn", 0.25, 1.0), EnsembleMember("transfer", 0.75, 2.0)]


@pytest.fixture(scope="module")
def project(trained_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with a trained transfer and such an ensemble."""
    folder = tmp_path_factory.mktemp("mixed") / "checkout"
    shutil.copytree(trained_checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", "mlflow.db"))
    committed = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    with modify_yaml(folder / "params.yaml") as params:
        params["encoders"] = committed["encoders"]
        params["models"]["transfer"] = committed["models"]["transfer"]
    for stage in ("encoders", "embeddings", "train transfer"):
        command = [sys.executable, "-m", *f"music_genre.pipeline.{stage}".split()]
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    write_ensemble(folder / "models", MEMBERS, 1.5, SpectrogramStore.open(folder / "data/spectrograms").genres)
    return folder


@pytest.fixture(scope="module")
def data(project: Path) -> SpectrogramStore:
    return SpectrogramStore.open(project / "data/spectrograms")


@pytest.fixture(scope="module")
def recordings(project: Path, data: SpectrogramStore) -> list[Path]:
    """Of the test clips, in order."""
    paths = pd.read_parquet(project / "data/tracks.parquet").set_index("track_id")["path"]
    return [project / "data/audio" / paths[track_id] for track_id in data.split("test").track_id]


def test_average_is_of_the_members_on_their_own_inputs(
    project: Path, data: SpectrogramStore, recordings: list[Path]
) -> None:
    alone = []
    for member in MEMBERS:
        with temporary_bundle(project / "models", member.name, data) as folder:
            alone.append(ModelBundle(folder).predict_split(data, "test"))
    expected = combine(alone, [0.25, 0.75], [1.0, 2.0], 1.5)
    with temporary_bundle(project / "models", "ensemble", data) as folder:
        model = ModelBundle(folder)
    assert model.manifest.inputs == (SPECTROGRAMS, "musicnn")
    np.testing.assert_allclose(model.predict_split(data, "test"), expected, atol=1e-5)
    inputs = [load_first_clip(file, model.manifest).inputs(model.manifest) for file in recordings]
    answers = np.concatenate([model.predict(clip) for clip in inputs])
    np.testing.assert_allclose(answers, expected, atol=2e-3)  # stored spectrograms are float16


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
        network = folder / "encoders/musicnn/encoder.onnx"
        network.write_bytes(network.read_bytes() + b"\0")
        with pytest.raises(MusicGenreError, match=r"has the SHA-256 .*; encoder\.json says"):
            ModelBundle(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        manifest["members"][0]["input"] = "other"
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        with pytest.raises(ValueError, match="transfer takes 'other', which is no encoder of the bundle"):
            read_manifest(folder)
