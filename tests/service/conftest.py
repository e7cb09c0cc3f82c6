"""A real HTTP server on loopback for what needs no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from starlette.types import ASGIApp

from music_genre.service.connections import HeaderTimeoutProtocol


@pytest.fixture
def servers() -> Iterator[list[tuple[uvicorn.Server, threading.Thread]]]:
    """The servers of ``serve``, and their threads; they end with the test."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []
    yield running
    for server, thread in running:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def serve(servers: list[tuple[uvicorn.Server, threading.Thread]]) -> Callable[[ASGIApp], int]:
    """Serves an application as the service does, until the test ends; returns the port."""

    def start(app: ASGIApp) -> int:
        config = uvicorn.Config(app, port=0, http=HeaderTimeoutProtocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return int(server.servers[0].sockets[0].getsockname()[1])

    return start
