"""Uploads over slow lines: they are waited for as long as they come, and keep nobody else waiting."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.service

START = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="song"\r\n\r\n'
END = b"\r\n--b--\r\n"
TICK_S = 0.1


class SlowUpload:
    """An upload at a steady rate, in a thread of its own.

    Args:
        port: of the server.
        content: of the file.
        bytes_per_s: the rate.
        pauses: by seconds since the start, how many seconds long.
    """

    def __init__(self, port: int, content: bytes, bytes_per_s: int, pauses: dict[int, float] | None = None) -> None:
        self.port, self.body, self.bytes_per_s = port, START + content + END, bytes_per_s
        self.pauses = dict(pauses or {})
        self.status, self.answer, self.seconds = 0, {}, 0.0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            connection.sendall(f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode())
            try:
                for piece in self.pieces(start):
                    connection.sendall(piece)
            except OSError:
                pass  # the server has closed the connection
            response = http.client.HTTPResponse(connection)
            response.begin()
            self.status, self.answer = response.status, json.loads(response.read())
        self.seconds = time.monotonic() - start

    def pieces(self, start: float) -> Iterator[bytes]:
        """The body, piece by piece, each when it is due."""
        size, due = int(self.bytes_per_s * TICK_S), start
        for first in range(0, len(self.body), size):
            for second in [second for second in self.pauses if due - start >= second]:
                due += self.pauses.pop(second)
            time.sleep(max(0.0, due - time.monotonic()))
            yield self.body[first : first + size]
            due += TICK_S

    def result(self) -> tuple[int, Any]:
        """The status and the answer."""
        self.thread.join()
        return self.status, self.answer


@pytest.fixture(scope="module")
def long_wav(song_wav: bytes) -> bytes:
    """4 MB: a recording, and bytes behind it that are none."""
    return song_wav + bytes(4_000_000 - len(song_wav))


@pytest.mark.slow
@pytest.mark.usefixtures("server_unaffected")
def test_four_megabytes_at_60_kb_a_second_with_pauses_are_predicted_while_others_are_answered(
    port: int, predict: Callable[..., httpx.Response], rock_mp3: bytes, long_wav: bytes
) -> None:
    steady = SlowUpload(port, long_wav, 60_000)
    paused = [SlowUpload(port, long_wav, 60_000, {10: 5.0, 30: 5.0, 40: 5.0}) for _ in range(30)]
    waits = []
    while steady.thread.is_alive():
        start = time.monotonic()
        assert predict(rock_mp3).status_code == 200
        waits.append(time.monotonic() - start)
        time.sleep(1)
    assert max(waits) < 5
    for upload in (steady, *paused):
        assert upload.result()[0] == 200
        assert set(upload.answer["probabilities"]) == {"Folk", "R&B", "Rock"}
    assert steady.seconds > 66
    assert min(upload.seconds for upload in paused) > 81


@pytest.mark.usefixtures("server_unaffected")
def test_slow_upload_with_a_pause_is_predicted(port: int, song_wav: bytes) -> None:
    upload = SlowUpload(port, song_wav, 60_000, {2: 5.0})
    assert upload.result()[0] == 200


@pytest.mark.slow
@pytest.mark.usefixtures("server_unaffected")
def test_upload_below_the_minimum_rate_is_too_slow(port: int, long_wav: bytes) -> None:
    status, answer = SlowUpload(port, long_wav, 5_000).result()
    assert (status, answer["error"]["code"]) == (408, "too_slow")
    assert answer["error"]["message"] == "upload timed out: less than 200 kB in 20 s, and not complete"
