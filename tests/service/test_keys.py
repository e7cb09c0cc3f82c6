"""A server that asks for a key, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.service

KEY = "corréct-horse"
"""No ASCII: what compares keys must not trip over it."""


@pytest.fixture(scope="module")
def locked(
    served_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], None],
    free_port: Callable[[], int],
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server with a key, and its address."""
    log, port = tmp_path_factory.mktemp("locked") / "server.log", free_port()
    process = start_server(served_folder, port, log, MUSIC_GENRE_API_KEY=KEY)
    until_ready(process, port, log)
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


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs.json"])
def test_what_watches_over_a_server_needs_no_key(locked: tuple[object, str], path: str) -> None:
    assert httpx.get(f"{locked[1]}{path}").status_code == 200


def test_a_server_that_is_told_to_stop_finishes_what_it_is_at(
    locked: tuple[subprocess.Popen[bytes], str], content: bytes
) -> None:
    process, address = locked
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, address, content, {"X-API-Key": KEY.encode()}) for _ in range(8)]
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert [each.result().text for each in asked if each.result().status_code != 200] == []
    assert process.wait(20) == 0
