"""Headers come in time or the connection is closed, and no timer outlives its request."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable

import pytest
import uvicorn
from bentoml._internal.server import base_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from music_genre.service import connections
from music_genre.service.connections import HeaderTimeoutProtocol, TimeoutMiddleware, install_connection_limits

TIMEOUT_S = 0.4  # in place of 10 s
HEADERS = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def port(serve: Callable[[ASGIApp], int], monkeypatch: pytest.MonkeyPatch) -> int:
    """Of a server that echoes."""
    monkeypatch.setattr(connections, "HEADERS_TIMEOUT_S", TIMEOUT_S)

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    return serve(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]))


@pytest.fixture
def connection(port: int) -> socket.socket:
    """To that server."""
    return socket.create_connection(("127.0.0.1", port), 10)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    content = b""
    while piece := connection.recv(65_536):
        content += piece
    return content


def read_response(connection: socket.socket, end: bytes) -> bytes:
    content = b""
    while not content.endswith(end):
        content += connection.recv(65_536)
    return content


def is_too_slow(response: bytes) -> bool:
    head, body = response.split(b"\r\n\r\n")
    message = f"request timed out: headers not complete after {TIMEOUT_S:g} s"
    return head.startswith(b"HTTP/1.1 408 ") and json.loads(body) == {"error": {"code": "too_slow", "message": message}}


def test_headers_that_drip_are_too_slow(connection: socket.socket) -> None:
    start = time.monotonic()
    try:
        for byte in b"POST / HTTP/1.1\r\nX-Filler: " + b"x" * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass  # the server has closed the connection
    assert is_too_slow(connection.recv(65_536))
    assert time.monotonic() - start < TIMEOUT_S + 2


def test_connection_that_sends_nothing_is_closed_without_a_response(connection: socket.socket) -> None:
    start = time.monotonic()
    assert read_all(connection) == b""
    assert TIMEOUT_S <= time.monotonic() - start < TIMEOUT_S + 1


def test_headers_of_a_further_request_have_the_same_limit(connection: socket.socket) -> None:
    for _ in range(2):
        connection.sendall(HEADERS + b"body")
        assert read_response(connection, b"body").startswith(b"HTTP/1.1 200 ")
        time.sleep(TIMEOUT_S * 0.75)
    connection.sendall(HEADERS[:20])
    assert is_too_slow(read_all(connection))


def test_slow_body_is_not_a_matter_of_headers(connection: socket.socket) -> None:
    connection.sendall(HEADERS)
    for byte in b"body":
        time.sleep(TIMEOUT_S / 2)
        connection.sendall(bytes([byte]))
    assert read_response(connection, b"body").startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered(connection: socket.socket) -> None:
    connection.sendall((HEADERS + b"bod1") * 2 + HEADERS[:20])
    read_response(connection, b"bod1")
    time.sleep(TIMEOUT_S / 4)
    connection.sendall(HEADERS[20:] + b"bod2")
    assert read_response(connection, b"bod2").endswith(b"bod2")


def test_upload_in_progress_keeps_no_server_from_stopping(
    connection: socket.socket,
    servers: list[tuple[uvicorn.Server, threading.Thread]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "SHUTDOWN_TIMEOUT_S", 0.5)
    connection.sendall(HEADERS)
    time.sleep(0.1)
    ((server, thread),) = servers
    server.should_exit = True
    thread.join(0.4)
    assert thread.is_alive()  # the request may end
    thread.join(5)
    assert not thread.is_alive()
    assert read_all(connection) == b""


async def respond(scope: Scope, receive: object, send: Callable[[Message], object]) -> None:
    await PlainTextResponse("done")(scope, receive, send)


async def hang(scope: Scope, receive: object, send: object) -> None:
    await asyncio.sleep(3600)


def call(app: ASGIApp, timeout_s: float) -> tuple[int, int]:
    """The status of a response, and how many timers are left."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def run() -> int:
        await TimeoutMiddleware(app, timeout=timeout_s)({"type": "http", "method": "GET", "headers": []}, None, send)
        return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)

    left = asyncio.run(run())
    return messages[0]["status"], left


def test_timer_ends_with_its_request_and_what_never_ends_is_timed_out() -> None:
    assert call(respond, 3600) == (200, 0)
    assert call(hang, 0.1) == (504, 0)


class BentoApp(base_app.BaseAppFactory):
    name, routes = "app", ()


def test_uvicorn_and_bentoml_use_both() -> None:
    install_connection_limits()
    (middleware,) = BentoApp(timeout=5).middlewares
    assert middleware.cls is TimeoutMiddleware
    config = uvicorn.Config(hang)
    config.load()
    assert config.http_protocol_class is HeaderTimeoutProtocol
