"""Starting and ending ``bentoml serve``, for tests that talk to a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx


def start(folder: Path, port: int, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """``bentoml serve`` in a folder, in a process group of its own."""
    service = ("music_genre.service.api:MusicGenre", "--host", "127.0.0.1", "--port", str(port))
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", *service],
            cwd=folder,
            env=inherited | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 120) -> None:
    """Return once ``/readyz`` says so; fail with what the server said where it does not."""
    for _ in range(int(seconds / 0.1)):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds:g} s: {log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers, by force where they do not hurry."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
