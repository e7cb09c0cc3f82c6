"""What a service lives through while it is asked: a new champion, a champion of no use, workers that are killed."""

from __future__ import annotations

import http.client
import json
import os
import re
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

from music_genre.features.audio import decode
from music_genre.inference.predictor import clips_of
from music_genre.models.bundle import ModelBundle
from music_genre.registry import versions as registry

pytestmark = pytest.mark.service

CLIENTS, PAUSE_SECONDS = 4, 0.05
INNER, OUTER = "music-genre-model", "music-genre"


class Load:
    """Clients that ask again and again, with pauses in which others get at the processor; each answer as it came, or
    what came in its place.
    """

    def __init__(self, port: int, content: bytes) -> None:
        self.address, self.content = f"http://127.0.0.1:{port}/predict", content
        self.answers: list[dict[str, object]] = []
        self.failures: list[str] = []
        self.ended = threading.Event()
        self.clients = [threading.Thread(target=self.ask) for _ in range(CLIENTS)]

    def ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self.ended.wait(PAUSE_SECONDS):
                try:
                    response = client.post(self.address, files={"audio": self.content})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code == 200:
                    self.answers.append(response.json())
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

    def until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Go on until something happened and each client has had an answer since."""
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, self.failures
            time.sleep(0.1)
        enough = len(self.answers) + 2 * CLIENTS
        while len(self.answers) < enough:
            assert time.monotonic() < end, self.failures
            time.sleep(0.1)


@pytest.fixture(scope="module")
def content(checkout: Path) -> bytes:
    return (checkout / "music/Rock/1.mp3").read_bytes()


@pytest.fixture
def point_at(client: MlflowClient, server: httpx.Client, log: Path) -> Iterator[Callable[[str], None]]:
    """Moves the alias; in the end it points where it did, and the server has seen it: the inner service, then all outer
    ones, which ask it every second.
    """
    before = registry.champion(client, "music-genre")

    def move(version: str) -> None:
        client.set_registered_model_alias("music-genre", registry.CHAMPION, version)

    yield move
    move(str(before))
    until(lambda: re.findall(r"Serving music-genre version (\d+)", log.read_text())[-1] == before)
    time.sleep(2)
    until(lambda: version_of(server) == before)


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)


def version_of(server: httpx.Client) -> str:
    return str(server.get("/model").json()["version"])


def test_a_moved_alias_is_followed_without_a_failed_request(
    port: int,
    server: httpx.Client,
    client: MlflowClient,
    point_at: Callable[[str], None],
    content: bytes,
    checkout: Path,
    add_version: Callable[..., str],
) -> None:
    old = version_of(server)
    new = add_version(temperature=3.0)
    expected = {}
    with (checkout / "music/Rock/1.mp3").open("rb") as file:
        recording = decode(file, 10)
    for version in (old, new):
        folder = registry.packed_folder(client.get_model_version("music-genre", version))
        model = ModelBundle(folder)
        expected[version] = float(model.predict(clips_of(recording, model.manifest).mel).mean(axis=0).max())
    with Load(port, content) as load:
        load.until(lambda: version_of(server) == old, 30)
        point_at(new)
        load.until(lambda: load.answers[-1]["model"]["version"] == new, 60)
    assert load.failures == []
    assert {answer["model"]["version"] for answer in load.answers} == {old, new}
    for answer in load.answers:
        assert answer["confidence"] == pytest.approx(expected[answer["model"]["version"]], abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"transform": {"sample_rate_hz": 22050, "n_fft": "a lot"}}, "n_fft"),
        ({"transform": None}, "no transform for audio"),
    ],
    ids=["a transform that cannot be made", "no transform"],
)
def test_a_version_that_cannot_be_served_is_refused_and_the_old_one_stays(
    server: httpx.Client,
    ask: Callable[..., httpx.Response],
    point_at: Callable[[str], None],
    content: bytes,
    log: Path,
    add_version: Callable[..., str],
    changes: dict[str, object],
    told: str,
) -> None:
    old = version_of(server)
    new = add_version(**changes)
    seen = len(log.read_text())
    point_at(new)
    until(lambda: f"Version {old} stays" in log.read_text()[seen:])
    assert told in log.read_text()[seen:]
    assert version_of(server) == old
    assert ask(content).json()["model"]["version"] == old


def worker(process: subprocess.Popen[bytes], service: str) -> int | None:
    """The process of one worker of a service."""
    for child in psutil.Process(process.pid).children(recursive=True):
        words = child.cmdline()
        if "--service-name" in words and words[words.index("--service-name") + 1] == service:
            return child.pid
    return None


@pytest.mark.slow
@pytest.mark.parametrize("service", [OUTER, INNER])
def test_a_killed_worker_comes_back_and_only_what_it_was_at_fails(
    served: tuple[subprocess.Popen[bytes], int], port: int, content: bytes, service: str
) -> None:
    process = served[0]
    with Load(port, content) as load:
        load.until(lambda: len(load.answers) > CLIENTS, 30)
        workers = len(psutil.Process(process.pid).children())
        killed = worker(process, service)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(killed))
        load.until(lambda: len(psutil.Process(process.pid).children()) == workers, 60)
    assert len(load.failures) <= CLIENTS
    assert process.poll() is None


def test_a_full_house_is_told_at_once_and_empties_again(
    port: int, ask: Callable[..., httpx.Response], content: bytes
) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    guests = []
    for _ in range(200):
        guests.append(socket.create_connection(("127.0.0.1", port)))
        guests[-1].sendall(head)
    answers = []
    for guest in guests:
        response = http.client.HTTPResponse(guest)
        response.begin()
        answers.append(
            (response.status, response.getheader("Retry-After"), json.loads(response.read())["error"]["code"])
        )
        guest.close()
    assert set(answers) == {(408, None, "too_slow"), (503, "1", "busy")}
    assert ask(content).status_code == 200
