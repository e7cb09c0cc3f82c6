"""Slow lines are waited for, clients that send next to nothing are not, and what is said of either is true."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import ASGIApp

from music_genre.service import uploads
from music_genre.service.errors import add_error_handlers
from music_genre.service.middleware import LingeringCloseMiddleware, RequestLoggingMiddleware
from music_genre.service.uploads import UploadReader, read_small_body

FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a.mp3"\r\n\r\n'
END = b"\r\n--b--\r\n"
WINDOW_S, MIN_BYTES = 0.6, 6_000  # in place of 20 s and 200 kB


@pytest.fixture(autouse=True)
def fast_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same rule in a shorter time; temporary files in a folder of the test's own."""
    monkeypatch.setattr(uploads, "WINDOW_S", WINDOW_S)
    monkeypatch.setattr(uploads, "MIN_WINDOW_BYTES", MIN_BYTES)
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 30)
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 4 * 2**20)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def port(serve: Callable[[ASGIApp], int]) -> int:
    """Of a server that returns the size of what is uploaded to ``/predict`` and ``/feedback``."""
    app = FastAPI()
    add_error_handlers(app)
    reader = UploadReader()

    @app.post("/predict")
    async def predict(request: Request) -> int:
        async with reader.open(request) as upload:
            return len(upload.audio.read())

    @app.post("/feedback")
    async def feedback(request: Request) -> int:
        return len(await read_small_body(request))

    return serve(LingeringCloseMiddleware(RequestLoggingMiddleware(app)))


def connect(port: int, length: int, path: str = "/predict") -> socket.socket:
    """A connection that has sent the headers of a request."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def send(connection: socket.socket, pieces: Iterable[bytes], pause_s: float) -> None:
    """Send pieces with a pause after each, until the server closes the connection."""
    try:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
    except OSError:
        pass


def receive(connection: socket.socket) -> tuple[int, Any]:
    """The status and the body of the response."""
    with connection:
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


def pieces_of(n_pieces: int, n_bytes: int) -> list[bytes]:
    """An upload in pieces."""
    return [PART, *[bytes(n_bytes)] * n_pieces, END]


def length_of(pieces: list[bytes]) -> int:
    return sum(map(len, pieces))


def test_slow_upload_with_pauses_passes_however_long_it_takes(port: int) -> None:
    pieces = pieces_of(40, 3_000)
    connection, start = connect(port, length_of(pieces)), time.monotonic()
    send(connection, pieces[:20], 0.05)
    time.sleep(0.3)
    send(connection, pieces[20:], 0.05)
    assert receive(connection) == (200, 120_000)
    assert time.monotonic() - start > 3 * WINDOW_S


@pytest.mark.parametrize(("n_bytes", "pause_s"), [(1, 0.01), (100, 0.05)])
@pytest.mark.parametrize(("path", "length"), [("/predict", 10**6), ("/feedback", 4_000)])
def test_dripping_body_is_too_slow(port: int, path: str, length: int, n_bytes: int, pause_s: float) -> None:
    connection, start = connect(port, length, path), time.monotonic()
    threading.Thread(target=send, args=(connection, pieces_of(200, n_bytes)[:-1], pause_s), daemon=True).start()
    status, body = receive(connection)
    assert WINDOW_S <= time.monotonic() - start < WINDOW_S + 1
    assert (status, body["error"]["code"]) == (408, "too_slow")
    assert body["error"]["message"] == "upload timed out: less than 6 kB in 0.6 s, and not complete"


def test_body_that_stalls_after_a_fast_start_is_too_slow(port: int) -> None:
    connection, start = connect(port, 10**6), time.monotonic()
    connection.sendall(PART + bytes(500_000))
    status, body = receive(connection)
    assert (status, body["error"]["code"]) == (408, "too_slow")
    assert time.monotonic() - start < WINDOW_S + 1


def test_small_body_may_take_as_long_as_a_pause(port: int) -> None:
    connection = connect(port, 10, "/feedback")
    send(connection, [b"12345", b"67890"], 0.4)
    assert receive(connection) == (200, 10)


@pytest.mark.parametrize("path", ["/predict", "/feedback"])
def test_client_that_vanishes_is_logged_as_such_and_leaves_no_file(
    port: int, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bentoml.music_genre.requests")
    connection = connect(port, 4_000_000 if path == "/predict" else 4_000, path)
    connection.sendall(PART + bytes(2 * 2**20 if path == "/predict" else 100))
    time.sleep(0.1)
    connection.close()
    for _ in range(100):
        if caplog.records:
            break
        time.sleep(0.02)
    (record,) = caplog.records
    assert (record.status, record.result) == (499, "client_closed")
    assert list(tmp_path.iterdir()) == []


def test_many_slow_uploads_keep_nobody_else_waiting(port: int) -> None:
    pieces = pieces_of(30, 3_000)
    slow = [connect(port, length_of(pieces)) for _ in range(20)]
    for connection in slow:
        threading.Thread(target=send, args=(connection, pieces, 0.05), daemon=True).start()
    for _ in range(5):
        start = time.monotonic()
        files = {"audio": ("a.mp3", bytes(100_000))}
        assert httpx.post(f"http://127.0.0.1:{port}/predict", files=files).json() == 100_000
        assert time.monotonic() - start < 0.5
    assert [receive(connection) for connection in slow] == [(200, 90_000)] * 20


def test_more_uploads_than_the_limit_are_busy_at_once(port: int) -> None:
    held = [connect(port, 10**6) for _ in range(30)]
    time.sleep(0.1)
    status, body = receive(connect(port, 10**6))
    assert (status, body["error"]) == (503, {"code": "busy", "message": "server busy: 30 concurrent requests"})
    assert {receive(connection)[0] for connection in held} == {408}
    assert httpx.post(f"http://127.0.0.1:{port}/predict", files={"audio": ("a.mp3", b"x")}).json() == 1


def test_uploads_hold_no_more_bytes_together_than_the_limit(port: int) -> None:
    first, second = connect(port, 10**7), connect(port, 10**7)
    first.sendall(PART + bytes(3 * 2**20))
    second.sendall(PART + bytes(2 * 2**20))
    outcomes = {(status, body["error"]["code"]) for status, body in map(receive, (first, second))}
    assert outcomes == {(503, "busy"), (408, "too_slow")}
    files = {"audio": ("a.mp3", bytes(3 * 2**20))}
    assert httpx.post(f"http://127.0.0.1:{port}/predict", files=files).json() == 3 * 2**20
