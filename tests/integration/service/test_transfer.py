"""A model on a pretrained encoder, from audio to the service: the same answers everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from music_genre.encoders.encoder import clip_windows
from music_genre.evaluation.results import ModelPredictions
from music_genre.features.store import SpectrogramStore
from music_genre.inference.batch import load_first_clip
from music_genre.models.bundle import ModelBundle, read_manifest, temporary_bundle
from music_genre.tracking import runs

pytestmark = [pytest.mark.service, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
BEFORE = ("scan", "fetch", "encoders", "inspect", "split", "spectrograms", "embeddings", "validate")


def own_store() -> dict[str, str]:
    """An environment without the store of a test before, whose address MLflow keeps in its process's."""
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}


def run_stage(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", f"music_genre.pipeline.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(command, cwd=folder, env=own_store(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(
    trained_checkout: Path, tmp_path_factory: pytest.TempPathFactory, describe_project: Callable[[Path], None]
) -> Path:
    """The tones, on which transfer is trained beside the reference, evaluated, chosen and registered."""
    folder = tmp_path_factory.mktemp("transfer")
    describe_project(folder)
    committed = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    with modify_yaml(folder / "params.yaml") as params:
        params["encoders"] = committed["encoders"]
        params["models"] = {name: committed["models"][name] for name in ("baseline", "transfer")}
        params["ensemble"]["members"] = ["transfer"]
    shutil.copytree(trained_checkout / "music", folder / "music")
    for stage in BEFORE:
        run_stage(folder, stage)
    for name in ("baseline", "transfer"):
        run_stage(folder, "train", name)
        run_stage(folder, "evaluate", name)
    for stage in ("calibrate", "compare", "interpret transfer", "gate", "register"):
        run_stage(folder, *stage.split())
    return folder


@pytest.fixture(scope="module")
def data(project: Path) -> SpectrogramStore:
    return SpectrogramStore.open(project / "data/spectrograms")


@pytest.fixture(scope="module")
def recordings(project: Path, data: SpectrogramStore) -> list[Path]:
    """Of the test clips, in order."""
    paths = pd.read_parquet(project / "data/tracks.parquet").set_index("track_id")["path"]
    return [project / "data/audio" / paths[track_id] for track_id in data.split("test").track_id]


@pytest.fixture(scope="module")
def expected(project: Path) -> np.ndarray:
    """(n, classes) what the pipeline measured the model by."""
    return ModelPredictions.read(project / "data/predictions/transfer.npz").probabilities["test"]


@pytest.fixture(scope="module")
def server(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
) -> Iterator[httpx.Client]:
    port, log = free_port(), tmp_path_factory.mktemp("server") / "server.log"
    process = start_server(project, port, log)
    try:
        until_ready(process, port, log)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        stop_server(process)


def test_gate_chooses_it_and_its_features_have_no_skew(project: Path) -> None:
    gate = json.loads((project / "reports/gate.json").read_text(encoding="utf-8"))
    assert (gate["model"], gate["verdict"]) == ("transfer", "passed")
    assert {criterion["name"] for criterion in gate["criteria"]} >= {"max_feature_skew_db", "max_size_mb"}


def test_bundle_answers_audio_as_the_pipeline_answered_its_embeddings(
    project: Path, data: SpectrogramStore, recordings: list[Path], expected: np.ndarray
) -> None:
    with temporary_bundle(project / "models", "transfer", data) as folder:
        model = ModelBundle(folder)
    clips = [load_first_clip(file, model.manifest).inputs(model.manifest) for file in recordings]
    assert [list(clip) for clip in clips] == [["musicnn"]] * len(clips)
    answers = np.concatenate([model.predict(clip) for clip in clips])
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    np.testing.assert_allclose(model.predict_split(data, "test"), expected, atol=1e-6)


def test_service_answers_as_the_pipeline(
    server: httpx.Client, recordings: list[Path], expected: np.ndarray, data: SpectrogramStore
) -> None:
    for file, row in zip(recordings, expected, strict=True):
        answer = server.post("/predict", files={"audio": (file.name, file.read_bytes())}).json()
        assert list(answer["probabilities"]) == list(data.genres)
        np.testing.assert_allclose(list(answer["probabilities"].values()), row, atol=1e-5)


def test_timeline_has_an_answer_each_half_window(server: httpx.Client, recordings: list[Path]) -> None:
    files = {"audio": (recordings[0].name, recordings[0].read_bytes())}
    answer = server.post("/predict", files=files, data={"timeline": "true"}).json()
    starts = [segment["start_seconds"] for segment in answer["segments"]]
    ends = [segment["end_seconds"] for segment in answer["segments"]]
    assert len(starts) == round(answer["duration_seconds"] / 1.5)
    assert starts[1:] == ends[:-1]
    assert (starts[0], ends[-1]) == (0, pytest.approx(answer["duration_seconds"], abs=0.01))
    assert {segment["genre"] for segment in answer["segments"]} == {answer["genre"]}


def test_registered_model_takes_windows_of_audio(project: Path, recordings: list[Path], expected: np.ndarray) -> None:
    runs.connect(project)
    model = mlflow.pyfunc.load_model("models:/music-genre@champion")
    (spec,) = model.metadata.signature.inputs
    assert spec.shape == (-1, -1, 48_000)
    version = Path(mlflow.artifacts.download_artifacts("models:/music-genre@champion"))
    (manifest_file,) = version.rglob("manifest.json")
    manifest = read_manifest(manifest_file.parent)
    windows = np.concatenate([load_first_clip(file, manifest).windows["musicnn"] for file in recordings])
    np.testing.assert_allclose(model.predict(windows), expected, atol=1e-5)


def test_card_names_the_encoder_and_what_it_was_trained_on(project: Path) -> None:
    client = runs.connect(project)
    version = client.get_model_version_by_alias("music-genre", "champion")
    assert "pretrained on Million Song Dataset" in version.description
    assert "calibrated by temperature scaling on training clips, folds by artist" in version.description
    assert "What the encoder's own tags say about test clips" in version.description


def test_predict_and_explain_need_no_network(project: Path, recordings: list[Path], tmp_path: Path) -> None:
    def command(*arguments: object) -> str:
        call = [sys.executable, "-m", "music_genre.cli", *map(str, arguments)]
        done = subprocess.run(call, cwd=project, env=own_store(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    genre = recordings[0].parent.name
    assert f": {genre} (" in command("predict", recordings[0])
    said = command("explain", recordings[0], "--output", tmp_path / "explained.png")
    assert "the encoder's own tags: " in said
    assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")


def test_softer_recording_gets_the_same_answer(project: Path, data: SpectrogramStore, recordings: list[Path]) -> None:
    with temporary_bundle(project / "models", "transfer", data) as folder:
        model = ModelBundle(folder)
    encoder, rng = model.manifest.encoders["musicnn"], np.random.default_rng(0)
    audio = rng.normal(0, 0.1, 3 * encoder.sample_rate_hz).astype(np.float32)
    loud, soft = (clip_windows(gain * audio, encoder, 3.0)[np.newaxis] for gain in (1.0, 0.1))
    np.testing.assert_allclose(model.predict({"musicnn": loud}), model.predict({"musicnn": soft}), atol=1e-4)
