"""One server for all: ``bentoml serve`` in the checkout that the whole suite shares."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from music_genre import registry, tracking
from music_genre.packed import PackedModel

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def start_server() -> Callable[..., subprocess.Popen[bytes]]:
    """Starts ``bentoml serve`` in a folder, in a process group of its own."""

    def start(folder: Path, port: int, log: Path, **more: str) -> subprocess.Popen[bytes]:
        service = ("music_genre.service.api:MusicGenre", "--host", "127.0.0.1", "--port", str(port))
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "bentoml", "serve", *service],
                cwd=folder,
                env=kept | more,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start


@pytest.fixture(scope="session")
def stop_server() -> Callable[[subprocess.Popen[bytes]], None]:
    """Ends a server and its workers, by force where they do not hurry."""

    def stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return stop


@pytest.fixture(scope="session")
def until_ready() -> Callable[[subprocess.Popen[bytes], int, Path], None]:
    """Waits until a server answers; it must not have ended."""

    def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"not ready after a minute: {log.read_text()}")

    return wait


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server says."""
    return tmp_path_factory.mktemp("server") / "server.log"


@pytest.fixture(scope="session")
def unpromoted(
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
def served(
    checkout: Path,
    log: Path,
    spool: Path,
    unpromoted: object,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], None],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that was started in the checkout, beside the one that cannot, and its port."""
    number = free_port()
    process = start_server(checkout, number, log, TMPDIR=str(spool))
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


@pytest.fixture(scope="session")
def ask(server: httpx.Client) -> Ask:
    """``POST /predict`` with a file's bytes in the field ``audio``."""

    def post(content: bytes, name: str = "clip", kind: str = "audio/mpeg", **fields: str) -> httpx.Response:
        return server.post("/predict", files={"audio": (name, content, kind)}, data=fields)

    return post


@pytest.fixture(scope="session")
def wav() -> Callable[..., bytes]:
    """A wav file of some samples."""

    def encode(samples: np.ndarray, rate: int = 22_050) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format="WAV")
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def song(tone: Callable[..., np.ndarray], wav: Callable[..., bytes]) -> bytes:
    """9 s: a tone of Rock, then one of Folk."""
    return wav(np.concatenate([tone("Rock", 50, 4.5), tone("Folk", 51, 4.5)]))


@pytest.fixture(scope="session")
def model(checkout: Path) -> PackedModel:
    """The champion, loaded here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        version = registry.resolve(tracking.connect(checkout), "music-genre", "champion")
        return PackedModel(registry.packed_folder(version))


@pytest.fixture
def good(checkout: Path, ask: Ask, log: Path) -> Iterator[None]:
    """The test sends what is wrong; after it the server has kept its calm and answers what is right as it should."""
    before = log.read_text().count("Traceback")
    yield
    answer = ask((checkout / "music/Rock/1.mp3").read_bytes())
    assert log.read_text().count("Traceback") == before, "a fault of a client is told as one of the server"
    assert answer.status_code == 200
    assert set(answer.json()["probabilities"]) == {"Folk", "R&B", "Rock"}
