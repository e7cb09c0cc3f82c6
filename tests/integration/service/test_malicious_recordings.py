"""Malicious recordings of the kinds that FFmpeg reads: each is answered within two seconds, without an effect on other
requests.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from hostile_files import FILES, LARGE, LIBRARY_WORDS, song

pytestmark = [pytest.mark.service, pytest.mark.slow]

MAX_RESPONSE_S = 2.0
MAX_GROWTH_MB = 400  # of allocators, each of whose threads keeps what the largest file needed
STATUS_BY_CODE = {"undecodable": 422, "too_long": 413, "unsupported": 415, "too_short": 422, "silent": 422}


def server_processes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    server = psutil.Process(process.pid)
    return [server, *server.children(recursive=True)]


@pytest.fixture(scope="module")
def nothing_is_left(
    served: tuple[subprocess.Popen[bytes], int], temporary_dir: Path, predict: Callable[..., httpx.Response]
) -> Iterator[None]:
    """After all requests of this file: the same processes with the memory that they had, and no temporary file."""
    for _ in range(20):
        assert predict(song()).status_code == 200
    before, files = server_processes(served[0]), set(temporary_dir.iterdir())
    memory = sum(each.memory_info().rss for each in before)
    yield
    after = server_processes(served[0])
    assert after == before
    assert sum(each.memory_info().rss for each in after) < memory + MAX_GROWTH_MB * 2**20
    assert set(temporary_dir.iterdir()) <= files


@pytest.fixture
def server_prints_nothing(server_log: Path) -> Iterator[None]:
    """Libraries add nothing to the log, which has a line of JSON for each request."""
    before = len(server_log.read_text())
    yield
    lines = server_log.read_text()[before:].splitlines()
    assert all(line.startswith("{") for line in lines), lines


@pytest.mark.usefixtures("nothing_is_left", "server_prints_nothing")
@pytest.mark.parametrize("name", [*FILES, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_malicious_recording_is_answered(predict: Callable[..., httpx.Response], name: str) -> None:
    make, expected = (FILES | LARGE)[name]
    content = make()
    response = predict(content)
    assert response.elapsed.total_seconds() < MAX_RESPONSE_S
    if response.status_code == 200:
        assert "decoded" in expected
        assert set(response.json()["probabilities"]) == {"Folk", "R&B", "Rock"}
        return
    error = response.json()["error"]
    assert response.status_code == STATUS_BY_CODE[error["code"]]
    assert error["code"] in expected or ("decoded" in expected and error["code"] == "too_short")
    assert not any(word in error["message"] for word in LIBRARY_WORDS), error
