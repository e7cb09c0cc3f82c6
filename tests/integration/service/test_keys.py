"""A server that asks for a key, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.service

KEY = "corréct-horse"
"""No ASCII: what compares keys must not trip over it."""

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Said when a request's body is first asked for."""


@pytest.fixture(scope="module")
def readiness() -> list[int]:
    """What the server with a key answered to ``/readyz`` while it started."""
    return []


@pytest.fixture(scope="module")
def locked(
    served_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
    readiness: list[int],
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server with a key, and its address."""
    log, port = tmp_path_factory.mktemp("locked") / "server.log", free_port()
    process = start_server(served_folder, port, log, MUSIC_GENRE_API_KEY=KEY)
    readiness.extend(until_ready(process, port, log))
    yield process, f"http://127.0.0.1:{port}"
    stop_server(process)


def post(address: str, content: bytes, headers: dict[str, bytes]) -> httpx.Response:
    return httpx.post(f"{address}/predict", files={"audio": content}, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def content(checkout: Path) -> bytes:
    return (checkout / "music/Rock/1.mp3").read_bytes()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}".encode()},
        {"X-API-Key": KEY.encode()},
        {"authorization": f"bearer {KEY}".encode()},
    ],
    ids=["bearer", "header", "small letters"],
)
def test_the_key_opens(locked: tuple[object, str], content: bytes, headers: dict[str, bytes]) -> None:
    assert post(locked[1], content, headers).status_code == 200


WRONG = [
    {},
    {"Authorization": b"Bearer wrong"},
    {"Authorization": b"Bearer"},
    {"Authorization": f"Basic {KEY}".encode()},
    {"X-API-Key": b""},
    {"X-API-Key": b"\xff"},
    {"X-API-Key": KEY[:-1].encode()},
]


@pytest.mark.parametrize("headers", WRONG)
def test_nothing_else_does(locked: tuple[object, str], content: bytes, headers: dict[str, bytes]) -> None:
    for response in (post(locked[1], content, headers), httpx.get(f"{locked[1]}/model", headers=headers)):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text


def test_readiness_is_red_until_the_model_has_answered(locked: tuple[object, str], readiness: list[int]) -> None:
    assert (readiness[0], readiness[-1]) == (503, 200)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json"])
def test_what_watches_over_a_server_needs_no_key(locked: tuple[object, str], path: str) -> None:
    assert httpx.get(f"{locked[1]}{path}").status_code == 200


def at_work(address: str, body: bytes, content_type: str) -> HTTPConnection:
    """A request that the service has begun on, and that has all it needs; ``getresponse`` waits for the answer."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/predict")
    for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), "X-API-Key": KEY}.items():
        connection.putheader(name, value.encode())
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(len(GO_ON), socket.MSG_WAITALL) == GO_ON
    connection.send(body)
    return connection


def test_a_server_that_is_told_to_stop_finishes_what_it_is_at(
    locked: tuple[subprocess.Popen[bytes], str], content: bytes
) -> None:
    process, address = locked
    form = httpx.Request("POST", address, files={"audio": content})
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(at_work, [address] * 8, [form.read()] * 8, [form.headers["Content-Type"]] * 8))
    process.send_signal(signal.SIGTERM)
    assert [connection.getresponse().status for connection in asked] == [200] * 8
    assert process.wait(20) == 0
