"""A server with an API key, started as people do: ``bentoml serve`` without a service; and how it stops."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[3]
KEY = "corréct-horse"  # not ASCII, which must not break the comparison
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # sent when the service starts to read a request's body


@pytest.fixture(scope="module")
def readiness() -> list[int]:
    """The statuses of ``/readyz`` while the server started."""
    return []


@pytest.fixture(scope="module")
def keyed_server(
    served_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
    readiness: list[int],
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The server and its address."""
    shutil.copy(ROOT / "bentofile.yaml", served_folder)
    folder, port = tmp_path_factory.mktemp("keyed_server"), free_port()
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"MUSIC_GENRE_API_KEY": KEY, "BENTOML_HOME": str(folder / "home")}
    with (folder / "server.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=served_folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        readiness.extend(until_ready(process, port, folder / "server.log"))
        yield process, f"http://127.0.0.1:{port}"
    finally:
        stop_server(process)


def post(address: str, content: bytes, headers: dict[str, bytes]) -> httpx.Response:
    return httpx.post(f"{address}/predict", files={"audio": content}, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}".encode()},
        {"X-API-Key": KEY.encode()},
        {"authorization": f"bearer {KEY}".encode()},
    ],
    ids=["bearer", "header", "lower case"],
)
def test_key_is_accepted(keyed_server: tuple[object, str], rock_mp3: bytes, headers: dict[str, bytes]) -> None:
    assert post(keyed_server[1], rock_mp3, headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": b"Bearer wrong"},
        {"Authorization": b"Bearer"},
        {"Authorization": f"Basic {KEY}".encode()},
        {"X-API-Key": b""},
        {"X-API-Key": b"\xff"},
        {"X-API-Key": KEY[:-1].encode()},
    ],
)
def test_missing_or_wrong_key_is_unauthorized(
    keyed_server: tuple[object, str], rock_mp3: bytes, headers: dict[str, bytes]
) -> None:
    address = keyed_server[1]
    for response in (post(address, rock_mp3, headers), httpx.get(f"{address}/model", headers=headers)):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text


def test_server_is_not_ready_before_its_model(keyed_server: tuple[object, str], readiness: list[int]) -> None:
    assert (readiness[0], readiness[-1]) == (503, 200)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json"])
def test_monitoring_needs_no_key(keyed_server: tuple[object, str], path: str) -> None:
    assert httpx.get(f"{keyed_server[1]}{path}").status_code == 200


def start_request(address: str, body: bytes, content_type: str) -> HTTPConnection:
    """A complete request that the service has started to read; ``getresponse`` waits for its response."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/predict")
    for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), "X-API-Key": KEY}.items():
        connection.putheader(name, value.encode())
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
    connection.send(body)
    return connection


@pytest.mark.slow
def test_stopping_server_finishes_its_requests(
    keyed_server: tuple[subprocess.Popen[bytes], str], rock_mp3: bytes
) -> None:
    process, address = keyed_server
    form = httpx.Request("POST", address, files={"audio": rock_mp3})
    body, content_type = form.read(), form.headers["Content-Type"]
    with ThreadPoolExecutor(8) as pool:
        connections = list(pool.map(start_request, [address] * 8, [body] * 8, [content_type] * 8))
    process.send_signal(signal.SIGTERM)
    assert [connection.getresponse().status for connection in connections] == [200] * 8
    assert process.wait(20) == 0
