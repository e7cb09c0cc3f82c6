"""What changes while the service has requests: a new champion, an incompatible one, killed workers, overload."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from mlflow import MlflowClient

from music_genre.audio.decoding import decode
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle
from music_genre.registry import versions
from music_genre.registry.history import CHAMPION
from music_genre.runtime import cores
from music_genre.service.uploads import MAX_UPLOADS

pytestmark = pytest.mark.service

N_CLIENTS, PAUSE_S = 4, 0.05
INNER, OUTER = "music-genre-registry", "music-genre"


class Load:
    """Clients that send the same clip again and again; pauses leave processor time for others.

    ``predictions`` and ``failures`` hold what they received.
    """

    def __init__(self, port: int, content: bytes) -> None:
        self.address, self.content = f"http://127.0.0.1:{port}/predict", content
        self.predictions: list[dict[str, object]] = []
        self.failures: list[str] = []
        self.ended = threading.Event()
        self.clients = [threading.Thread(target=self.send_requests) for _ in range(N_CLIENTS)]

    def send_requests(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self.ended.wait(PAUSE_S):
                try:
                    response = client.post(self.address, files={"audio": self.content})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code == 200:
                    self.predictions.append(response.json())
                else:
                    self.failures.append(response.text)

    def __enter__(self) -> Load:
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        for client in self.clients:
            client.join()

    def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Go on until a condition holds and each client has had a prediction since."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.1)
        enough = len(self.predictions) + 2 * N_CLIENTS
        while len(self.predictions) < enough:
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.1)


@pytest.fixture
def set_champion(
    client: MlflowClient, server: httpx.Client, server_log: Path, wait_until: Callable[..., None]
) -> Iterator[Callable[[str], None]]:
    """Moves the alias; after the test it is moved back, and the server follows: the inner service, then all outer ones,
    which ask it every second.
    """
    before = versions.champion(client, "music-genre")

    def move(version: str) -> None:
        client.set_registered_model_alias("music-genre", CHAMPION, version)

    yield move
    move(str(before))
    wait_until(lambda: re.findall(r"Serving music-genre version (\d+)", server_log.read_text())[-1] == before)
    time.sleep(2)
    wait_until(lambda: served_version(server) == before)


def served_version(server: httpx.Client) -> str:
    return str(server.get("/model").json()["version"])


def test_new_champion_is_served_without_a_failed_request(
    port: int,
    server: httpx.Client,
    client: MlflowClient,
    set_champion: Callable[[str], None],
    rock_mp3: bytes,
    checkout: Path,
    add_version: Callable[..., str],
) -> None:
    old = served_version(server)
    new = add_version(temperature=3.0)
    confidence = {}
    with (checkout / "music/Rock/1.mp3").open("rb") as file:
        recording = decode(file, 10)
    for version in (old, new):
        model = ModelBundle(versions.download_bundle(client.get_model_version("music-genre", version)))
        clips = extract_clip_batch(recording, model.manifest)
        confidence[version] = float(model.predict(clips.inputs(model.manifest)).mean(axis=0).max())
    with Load(port, rock_mp3) as load:
        load.until(lambda: served_version(server) == old, 30)
        set_champion(new)
        load.until(lambda: load.predictions[-1]["model"]["version"] == new, 60)
    assert load.failures == []
    assert {prediction["model"]["version"] for prediction in load.predictions} == {old, new}
    for prediction in load.predictions:
        assert prediction["confidence"] == pytest.approx(confidence[prediction["model"]["version"]], abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"transform": {"sample_rate_hz": 22050, "n_fft": "a lot"}}, "n_fft"),
        ({"transform": None}, "no transform for audio"),
    ],
    ids=["broken transform", "no transform"],
)
def test_incompatible_champion_is_logged_and_the_old_one_stays(
    server: httpx.Client,
    predict: Callable[..., httpx.Response],
    set_champion: Callable[[str], None],
    wait_until: Callable[..., None],
    rock_mp3: bytes,
    server_log: Path,
    add_version: Callable[..., str],
    changes: dict[str, object],
    reason: str,
) -> None:
    old = served_version(server)
    new = add_version(**changes)
    n_logged = len(server_log.read_text())
    set_champion(new)
    wait_until(lambda: f"Still serving version {old}" in server_log.read_text()[n_logged:])
    assert reason in server_log.read_text()[n_logged:]
    assert served_version(server) == old
    assert predict(rock_mp3).json()["model"]["version"] == old


def find_worker(process: subprocess.Popen[bytes], service: str) -> int | None:
    """The process id of a worker of a service."""
    for child in psutil.Process(process.pid).children(recursive=True):
        words = child.cmdline()
        if "--service-name" in words and words[words.index("--service-name") + 1] == service:
            return child.pid
    return None


@pytest.mark.slow
@pytest.mark.parametrize("service", [OUTER, INNER])
def test_killed_worker_restarts_and_only_its_requests_fail(
    served: tuple[subprocess.Popen[bytes], int],
    port: int,
    wait_until: Callable[..., None],
    rock_mp3: bytes,
    service: str,
) -> None:
    process = served[0]
    with Load(port, rock_mp3) as load:
        load.until(lambda: len(load.predictions) > N_CLIENTS, 30)
        n_workers = len(psutil.Process(process.pid).children())
        worker = find_worker(process, service)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(worker))
        load.until(lambda: len(psutil.Process(process.pid).children()) == n_workers, 60)
    assert len(load.failures) <= (N_CLIENTS if service == OUTER else 0)  # outer workers have the model
    assert process.poll() is None


def test_overloaded_server_is_busy_at_once_and_recovers(
    port: int, predict: Callable[..., httpx.Response], rock_mp3: bytes, wait_until: Callable[..., None]
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    connections = []
    for _ in range(MAX_UPLOADS * max(2, min(4, cores())) + 50):
        connections.append(socket.create_connection(("127.0.0.1", port)))
        connections[-1].sendall(head)
    time.sleep(1)
    refused, *_ = select.select(connections, [], [], 0)  # the others' uploads are waited for
    outcomes = set()
    for connection in refused:
        response = http.client.HTTPResponse(connection)
        response.begin()
        code = json.loads(response.read())["error"]["code"]
        outcomes.add((response.status, response.getheader("Retry-After"), code))
    assert outcomes == {(503, "1", "busy")}
    assert len(connections) - len(refused) >= MAX_UPLOADS
    for connection in connections:
        connection.close()
    wait_until(lambda: predict(rock_mp3).status_code == 200, 10)
