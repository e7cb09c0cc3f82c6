"""A model on a pretrained encoder, from audio to the service: the same answers everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pytest
import soundfile
from dvc.utils.serialize import modify_yaml

from music_genre.encoders import musicnn
from music_genre.encoders.encoder import clip_windows
from music_genre.evaluation.results import ModelPredictions
from music_genre.features.store import SpectrogramStore
from music_genre.inference.batch import load_first_clip
from music_genre.models.bundle import ModelBundle, read_manifest
from music_genre.models.packing import temporary_bundle
from music_genre.registry.gate import GateResult, read_gate
from music_genre.tracking import runs
from transfer_projects import add_transfer, held_out_recordings, run_python, run_stages

pytestmark = [pytest.mark.service, pytest.mark.slow]

EXPLAIN = ("-m", "music_genre.cli", "explain")
AFTER = ("calibrate", "compare", "interpret transfer", "gate")
BEFORE = ("scan", "fetch", "encoders", "inspect", "split", "spectrograms", "embeddings", "validate")


@pytest.fixture(scope="module")
def project(
    trained_checkout: Path, tmp_path_factory: pytest.TempPathFactory, describe_project: Callable[[Path], None]
) -> Path:
    """The tones, on which transfer is trained beside the baseline, evaluated and judged. It is registered, whichever of
    the models the gate prefers: all are right on these few clips.
    """
    folder = tmp_path_factory.mktemp("transfer")
    describe_project(folder)
    add_transfer(folder)
    with modify_yaml(folder / "params.yaml") as params:
        del params["models"]["crnn"], params["models"]["parallel"]
        params["ensemble"]["members"] = ["transfer"]
    (folder / "settings.toml").write_text('request_log = "requests"\n', encoding="utf-8")
    shutil.copytree(trained_checkout / "music", folder / "music")
    run_stages(folder, *BEFORE, "train baseline", "evaluate baseline", "train transfer", "evaluate transfer", *AFTER)
    gate = read_gate(folder / "reports/gate.json")
    candidates = sorted(gate.candidates, key=lambda candidate: candidate.name != "transfer")
    first = GateResult("transfer", candidates, candidates[0].criteria, gate.notes)
    first.write(folder / "reports/gate.json")
    run_stages(folder, "register")
    return folder


@pytest.fixture(scope="module")
def data(project: Path) -> SpectrogramStore:
    return SpectrogramStore.open(project / "data/spectrograms")


@pytest.fixture(scope="module")
def recordings(project: Path, data: SpectrogramStore) -> list[Path]:
    return held_out_recordings(project, data)


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


def test_it_passes_the_gate_and_its_features_have_no_skew(project: Path) -> None:
    gate = read_gate(project / "reports/gate.json")
    assert (gate.candidates[0].name, gate.candidates[0].failed) == ("transfer", [])
    judged = {criterion.name for criterion in gate.criteria}
    assert judged >= {"max_feature_skew_db", "max_size_mb", "max_macro_f1_below_baseline"}


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


def test_answer_has_the_likeliest_of_the_encoders_own_tags(server: httpx.Client, recordings: list[Path]) -> None:
    tags = server.post("/predict", files={"audio": (recordings[0].name, recordings[0].read_bytes())}).json()["tags"]
    assert [set(tag) for tag in tags] == [{"tag", "probability"}] * 5
    assert {tag["tag"] for tag in tags} <= set(musicnn.TAGS)
    probabilities = [tag["probability"] for tag in tags]
    assert probabilities == sorted(probabilities, reverse=True)


def test_requests_are_compared_with_the_training_clips(server: httpx.Client, project: Path, tmp_path: Path) -> None:
    for seed in range(60):  # different recordings of noise, which it was not trained on
        noise = np.random.default_rng(seed).normal(0, 0.1, 4 * 22_050)
        soundfile.write(tmp_path / "noise.wav", noise, 22_050)
        content = (tmp_path / "noise.wav").read_bytes()
        assert server.post("/predict", files={"audio": ("noise.wav", content)}).status_code == 200
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    call = [sys.executable, "-m", "music_genre.cli", "drift"]
    done = subprocess.run(call, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "mean_db" in done.stdout


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
    genre = recordings[0].parent.name
    assert f": {genre} (" in run_python(project, "-m", "music_genre.cli", "predict", recordings[0])
    said = run_python(project, *EXPLAIN, recordings[0], "--output", tmp_path / "explained.png")
    assert "the encoder's own tags: " in said
    assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")


def test_bundle_is_answered_without_what_trains_and_exports(
    project: Path, data: SpectrogramStore, recordings: list[Path]
) -> None:
    # A bento installs none of these for such a model: `requirements/serve.in`.
    absent = ("onnx", "tensorflow", "keras", "sklearn", "skops", "mlflow", "matplotlib")
    script = f"""
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys({absent}))
from music_genre.inference.batch import predict_files
from music_genre.models.bundle import ModelBundle
[(_, prediction)] = predict_files(ModelBundle(Path(sys.argv[1])), 0.5, [Path(sys.argv[2])])
print(prediction["genre"])
"""
    with temporary_bundle(project / "models", "transfer", data) as folder:
        assert run_python(project, "-c", script, folder, recordings[0]).strip() == recordings[0].parent.name


def test_softer_recording_gets_the_same_answer(project: Path, data: SpectrogramStore, recordings: list[Path]) -> None:
    with temporary_bundle(project / "models", "transfer", data) as folder:
        model = ModelBundle(folder)
    encoder, rng = model.manifest.encoders["musicnn"], np.random.default_rng(0)
    audio = rng.normal(0, 0.1, 3 * encoder.sample_rate_hz).astype(np.float32)
    loud, soft = (clip_windows(gain * audio, encoder, 3.0)[np.newaxis] for gain in (1.0, 0.1))
    np.testing.assert_allclose(model.predict({"musicnn": loud}), model.predict({"musicnn": soft}), atol=1e-4)
