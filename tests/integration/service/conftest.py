"""One server for all tests here: ``bentoml serve`` in a copy of the checkout."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow.artifacts
import numpy as np
import pytest
import soundfile
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families

from music_genre.models.bundle import MANIFEST, ModelBundle
from music_genre.registry import versions
from music_genre.tracking import runs

Predict = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the server."""
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="session")
def server_without_champion(
    tmp_path_factory: pytest.TempPathFactory,
    describe_project: Callable[[Path], None],
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server that was started where there is no champion, and its output."""
    folder = tmp_path_factory.mktemp("without_champion")
    describe_project(folder)
    process = start_server(folder, free_port(), folder / "server.log")
    yield process, folder / "server.log"
    stop_server(process)


@pytest.fixture(scope="session")
def temporary_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server writes temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def served_folder(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with its own registry, whose aliases may be moved, and settings."""
    folder = tmp_path_factory.mktemp("served") / "checkout"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache", "audio", "music"))
    (folder / "settings.toml").write_text('shadow = true\nrequest_log = "requests"\n', encoding="utf-8")
    return folder


@pytest.fixture
def client(served_folder: Path) -> MlflowClient:
    """A client of the registry that the server follows."""
    return runs.connect(served_folder)


@pytest.fixture
def add_version(client: MlflowClient, tmp_path: Path) -> Callable[..., str]:
    """Registers the champion's files with some values of the manifest changed, without an alias."""

    def add(**changes: object) -> str:
        number = versions.champion(client, "music-genre")
        source = Path(mlflow.artifacts.download_artifacts(f"models:/music-genre/{number}"))
        model = Path(tempfile.mkdtemp(dir=tmp_path)) / "model"
        shutil.copytree(source, model)
        (manifest,) = model.rglob(MANIFEST)
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
        return str(client.create_model_version("music-genre", model.as_uri()).version)

    return add


@pytest.fixture
def set_challenger(client: MlflowClient) -> Iterator[Callable[[str], None]]:
    """Moves the alias; after the test it is moved back."""
    before = versions.challenger(client, "music-genre")
    assert before is not None

    def move(version: str) -> None:
        client.set_registered_model_alias("music-genre", versions.CHALLENGER, version)

    yield move
    move(before)


@pytest.fixture(scope="session")
def served(
    served_folder: Path,
    server_log: Path,
    temporary_dir: Path,
    server_without_champion: object,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server and its port; it starts while the one without a champion does."""
    port = free_port()
    process = start_server(served_folder, port, server_log, TMPDIR=str(temporary_dir))
    try:
        until_ready(process, port, server_log)
        yield process, port
    finally:
        stop_server(process)


@pytest.fixture(scope="session")
def port(served: tuple[subprocess.Popen[bytes], int]) -> int:
    """The server's port."""
    return served[1]


@pytest.fixture(scope="session")
def server(port: int) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


@pytest.fixture
def samples(server: httpx.Client) -> Callable[[], dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    """Reads ``/metrics``: values by name and labels."""

    def read() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(server.get("/metrics").text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    return read


@pytest.fixture(scope="session")
def predict(server: httpx.Client) -> Predict:
    """``POST /predict`` with a file's bytes in the field ``audio``."""

    def post(content: bytes, name: str = "clip", content_type: str = "audio/mpeg", **fields: str) -> httpx.Response:
        return server.post("/predict", files={"audio": (name, content, content_type)}, data=fields)

    return post


@pytest.fixture(scope="session")
def rock_mp3(checkout: Path) -> bytes:
    """A clip of the checkout: 3.8 s, stereo, 44.1 kHz."""
    return (checkout / "music/Rock/1.mp3").read_bytes()


@pytest.fixture(scope="session")
def encode_wav() -> Callable[..., bytes]:
    """Encodes samples as wav."""

    def encode(samples: np.ndarray, rate: int = 22_050) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format="WAV")
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def song_wav(synth_tone: Callable[..., np.ndarray], encode_wav: Callable[..., bytes]) -> bytes:
    """9 s: a tone of Rock, then one of Folk."""
    return encode_wav(np.concatenate([synth_tone("Rock", 50, 4.5), synth_tone("Folk", 51, 4.5)]))


@pytest.fixture(scope="session")
def model(checkout: Path) -> ModelBundle:
    """The champion, loaded in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        version = versions.resolve(runs.connect(checkout), "music-genre", "champion")
        return ModelBundle(versions.download_bundle(version))


@pytest.fixture
def server_unaffected(rock_mp3: bytes, predict: Predict, server_log: Path) -> Iterator[None]:
    """After the test the server has logged no exception and still predicts."""
    before = server_log.read_text().count("Traceback")
    yield
    response = predict(rock_mp3)
    assert server_log.read_text().count("Traceback") == before
    assert response.status_code == 200
    assert set(response.json()["probabilities"]) == {"Folk", "R&B", "Rock"}


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Waits for a condition; fails after a minute."""

    def wait(condition: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return wait
