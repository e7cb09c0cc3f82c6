"""One server for all: ``bentoml serve`` in the checkout that the whole suite shares."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import yaml
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families

from music_genre.models.bundle import DESCRIPTION, ModelBundle
from music_genre.registry import versions as registry
from music_genre.tracking import runs as tracking

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server says."""
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="session")
def server_without_champion(
    tmp_path_factory: pytest.TempPathFactory,
    describe_project: Callable[[Path], None],
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server that is started where there is no champion, and what it says."""
    folder = tmp_path_factory.mktemp("unpromoted")
    describe_project(folder)
    process = start_server(folder, free_port(), folder / "server.log")
    yield process, folder / "server.log"
    stop_server(process)


@pytest.fixture(scope="session")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server would leave temporary files."""
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="session")
def served_folder(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with its own registry, whose aliases may be moved."""
    folder = tmp_path_factory.mktemp("served") / "checkout"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache", "raw", "music"))
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    (folder / "settings.toml").write_text("shadow = true\n", encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture
def client(served_folder: Path) -> MlflowClient:
    """Of the registry that the server follows."""
    return tracking.connect(served_folder)


@pytest.fixture
def add_version(client: MlflowClient, tmp_path: Path) -> Callable[..., str]:
    """Registers the champion's files with another description, without an alias."""

    def add(**changes: object) -> str:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        packed = folder / "artifacts/packed"
        shutil.copytree(registry.packed_folder(registry.resolve(client, "music-genre", "champion")), packed)
        described = json.loads((packed / DESCRIPTION).read_text()) | changes
        (packed / DESCRIPTION).write_text(json.dumps(described))
        return str(client.create_model_version("music-genre", folder.as_uri()).version)

    return add


@pytest.fixture
def make_challenger(client: MlflowClient) -> Iterator[Callable[[str], None]]:
    """Moves the alias; in the end it points where it did."""
    before = registry.challenger(client, "music-genre")
    assert before is not None

    def move(version: str) -> None:
        client.set_registered_model_alias("music-genre", registry.CHALLENGER, version)

    yield move
    move(before)


@pytest.fixture(scope="session")
def served(
    served_folder: Path,
    log: Path,
    spool: Path,
    server_without_champion: object,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that was started in a checkout, beside the one that cannot, and its port."""
    number = free_port()
    more = {"TMPDIR": str(spool), "MUSIC_GENRE_REQUEST_LOG": str(served_folder / "requests")}
    process = start_server(served_folder, number, log, **more)
    try:
        until_ready(process, number, log)
        yield process, number
    finally:
        stop_server(process)


@pytest.fixture(scope="session")
def port(served: tuple[subprocess.Popen[bytes], int]) -> int:
    return served[1]


@pytest.fixture(scope="session")
def server(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


@pytest.fixture
def samples(server: httpx.Client) -> Callable[[], dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    """What ``/metrics`` shows now, by name and labels."""

    def read() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        families = text_string_to_metric_families(server.get("/metrics").text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    return read


@pytest.fixture(scope="session")
def ask(server: httpx.Client) -> Ask:
    """``POST /predict`` with a file's bytes in the field ``audio``."""

    def post(content: bytes, name: str = "clip", kind: str = "audio/mpeg", **fields: str) -> httpx.Response:
        return server.post("/predict", files={"audio": (name, content, kind)}, data=fields)

    return post


@pytest.fixture(scope="session")
def encode_wav() -> Callable[..., bytes]:
    """A wav file of some samples."""

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
    """The champion, loaded here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        version = registry.resolve(tracking.connect(checkout), "music-genre", "champion")
        return ModelBundle(registry.packed_folder(version))


@pytest.fixture
def server_unaffected(checkout: Path, ask: Ask, log: Path) -> Iterator[None]:
    """The test sends what is wrong; after it the server has kept its calm and answers what is right as it should."""
    before = log.read_text().count("Traceback")
    yield
    answer = ask((checkout / "music/Rock/1.mp3").read_bytes())
    assert log.read_text().count("Traceback") == before, "a fault of a client is told as one of the server"
    assert answer.status_code == 200
    assert set(answer.json()["probabilities"]) == {"Folk", "R&B", "Rock"}
