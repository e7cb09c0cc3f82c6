"""Starting and ending the real service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

READY_TIMEOUT_S = 180.0


@pytest.fixture(scope="session")
def start_server() -> Callable[..., subprocess.Popen[bytes]]:
    """Starts ``bentoml serve`` in a folder; keywords are variables of its environment.

    It runs in a process group of its own, so that its workers end with it, and with a BentoML home of its own: servers
    that share a home delete each other's metrics when they start.
    """

    def start(folder: Path, port: int, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        service = ("music_genre.service.app:MusicGenre", "--host", "127.0.0.1", "--port", str(port))
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        environment["BENTOML_HOME"] = str(log.with_suffix(".home"))
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "bentoml", "serve", *service],
                cwd=folder,
                env=environment | variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start


@pytest.fixture(scope="session")
def stop_server() -> Callable[[subprocess.Popen[bytes]], None]:
    """Ends a server and its workers: it may finish for 15 seconds, then all are killed."""

    def stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return stop


@pytest.fixture(scope="session")
def until_ready() -> Callable[[subprocess.Popen[bytes], int, Path], list[int]]:
    """Waits until ``/readyz`` is 200 and returns every status that it had until then; the server must not end."""

    def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> list[int]:
        statuses: list[int] = []
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                statuses.append(httpx.get(f"http://127.0.0.1:{port}/readyz").status_code)
                if statuses[-1] == 200:
                    return statuses
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"not ready after {READY_TIMEOUT_S:.0f} s: {log.read_text()}")

    return wait


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port of the loopback interface that nothing listens on."""

    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return find
