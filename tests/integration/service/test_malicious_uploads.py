"""Malicious uploads: each is refused within two seconds, or once it is too slow, without an effect on others."""

from __future__ import annotations

import http.client
import io
import json
import socket
import struct
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile

from music_genre.service.uploads import WINDOW_S

pytestmark = pytest.mark.service

MAX_RESPONSE_S = 2.0
MAX_GROWTH_MB = 150  # of allocators and caches after a hundred requests; one upload kept in memory would be more

BOUNDARY = "b0unda7y"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
TOO_LONG, TOO_LARGE = (413, {"too_long"}), (413, {"too_large"})
NO_FORM, NO_SOUND = (415, {"unsupported"}), (422, {"undecodable"})
SILENT = (422, {"silent"})
NO_CLIP = (422, {"undecodable", "too_short", "silent", "empty"})
MALFORMED = (400, None)  # not HTTP: refused by the HTTP server, in plain text

Expected = tuple[int, set[str] | None]


@dataclass(frozen=True)
class Request:
    """Bytes for a socket, piece by piece, and the response that is expected."""

    pieces: tuple[bytes, ...]
    expected: Expected


def part(content: bytes, field: str = "audio", name: str | None = "clip.mp3", head: bytes = b"") -> bytes:
    """One part of a form; it is a file if it has a name."""
    filename = f'; filename="{name}"'.encode() if name is not None else b""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"'.encode()
    return start + filename + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(
    body: bytes,
    expected: Expected,
    kind: str | None = FORM,
    length: str | None = "right",
    line: str = "POST /predict HTTP/1.1",
    more: str = "",
) -> Request:
    """A request whose head and body are two pieces."""
    stated = str(len(body)) if length == "right" else length
    head = f"{line}\r\nHost: localhost\r\nConnection: close\r\n{more}"
    head += f"Content-Type: {kind}\r\n" if kind is not None else ""
    head += f"Content-Length: {stated}\r\n" if stated is not None else ""
    return Request((head.encode("latin-1") + b"\r\n", body), expected)


def upload(content: bytes, expected: Expected = NO_SOUND, name: str = "clip.mp3") -> Request:
    """A valid request with an invalid file."""
    return post(form(part(content, name=name)), expected)


def chunked(*chunks: bytes, expected: Expected, end: bytes = b"0\r\n\r\n") -> Request:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Request((head.encode(), *(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks), end), expected)


def encoded(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def riff(
    rate: int = 22_050, channels: int = 1, bits: int = 16, claimed: int | None = None, data: bytes = b"\1" * 400
) -> bytes:
    """A wav file with any header."""
    width = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels, rate & 0xFFFFFFFF, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)
    size = len(data) if claimed is None else claimed
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", size) + data
    return b"RIFF\xff\xff\xff\xffWAVE" + chunks


@cache
def noise(seconds: float, rate: int = 8_000) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)).astype(np.float32)


def constant(value: float) -> np.ndarray:
    return np.full(99_999, value, np.float32)


def hours(count: int, rate: int) -> np.ndarray:
    """Silent samples."""
    return np.zeros(count * 3600 * rate, np.int16)


def ogg_that_claims(hours: int) -> bytes:
    """Four seconds of Vorbis whose last page claims that it ends after hours, with a correct checksum."""
    content = bytearray(encoded(noise(4), 8_000, "OGG", "VORBIS"))
    last = content.rindex(b"OggS")
    content[last + 6 : last + 14] = struct.pack("<q", hours * 3600 * 8_000)
    content[last + 22 : last + 26] = bytes(4)
    checksum = 0
    for byte in content[last:]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    content[last + 22 : last + 26] = struct.pack("<I", checksum)
    return bytes(content)


def flac_that_claims(samples: int) -> bytes:
    """Two seconds of FLAC whose header claims more."""
    content = bytearray(encoded(noise(2), 8_000, "FLAC"))
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = (fields >> 36 << 36 | samples).to_bytes(8, "big")
    return bytes(content)


def three_hours_of_mp3() -> bytes:
    """One minute of mp3, repeated, without the frame that holds the duration."""
    minute = encoded(noise(60), 8_000, "MP3")
    return minute[minute.index(minute[:2], 2) :] * 180


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.wav", bytes(10**7))
    return file.getvalue()


SVG_WITH_LINK = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
PICKLE = b"cposix\nsystem\n(S'touch /tmp/owned'\ntR."
PLAYLIST = b"#EXTM3U\nfile:///etc/passwd\nhttp://169.254.169.254/latest/meta-data\n"

FILES: dict[str, Callable[[], Request]] = {
    "zero bytes": lambda: upload(b"", (422, {"empty"})),
    "one byte": lambda: upload(b"R"),
    "text": lambda: upload(b"This is no music. " * 999),
    "zeros": lambda: upload(bytes(2**20)),
    "random bytes": lambda: upload(np.random.default_rng(1).bytes(2**20)),
    "a name with slashes": lambda: upload(b"root:x:0:0", name="../../../../etc/passwd"),
    "a name with a null": lambda: upload(b"#!", name="a\0.mp3"),
    "a name that is a path of raw samples": lambda: upload(b"#!", name="/dev/zero.raw"),
    "a name of 100 kB": lambda: upload(b"#!", (415, {"unsupported"}), name="n" * 100_000),
    "an image that is a wav, too": lambda: upload(b"GIF89a" + encoded(noise(4), 8_000)),
    "a page that is an archive, too": lambda: upload(b"<html><script>" + zipped()),
    "an archive of 10 MB in 10 kB": lambda: upload(zipped()),
    "a deflated stream": lambda: upload(zlib.compress(bytes(10**7))),
    "an image that names a file": lambda: upload(SVG_WITH_LINK),
    "a playlist that names files": lambda: upload(PLAYLIST),
    "a pickle": lambda: upload(PICKLE),
    "a video's header": lambda: upload(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(999)),
    "tags without sound": lambda: upload(b"ID3\4\0\0\0\0\0\x20" + bytes(32)),
    "tags that claim 256 MB": lambda: upload(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + b"\xff\xfb" * 99, NO_CLIP),
    "one frame of mp3": lambda: upload(encoded(noise(0.2), 8_000, "MP3")[:300], NO_CLIP),
    "three hours of FLAC in 200 kB": lambda: upload(encoded(hours(3, 4_000), 4_000, "FLAC"), TOO_LONG),
    "FLAC that claims a day": lambda: upload(flac_that_claims(86_400 * 8_000), TOO_LONG),
    "FLAC with a torn body": lambda: upload(encoded(noise(4), 8_000, "FLAC")[:200] + bytes(5_000), NO_CLIP),
    "Ogg that claims nine hours": lambda: upload(ogg_that_claims(9), TOO_LONG),
    "three hours of mp3": lambda: upload(three_hours_of_mp3(), TOO_LONG),
    "three hours of wav": lambda: upload(encoded(noise(3 * 3600, 1_000), 1_000, subtype="PCM_U8"), TOO_LONG),
    "a second too long": lambda: upload(encoded(noise(901, 4_000), 4_000), TOO_LONG),
    "wav that claims 4 GB": lambda: upload(riff(claimed=0xFFFFFFFF), NO_CLIP),
    "wav that claims three hours": lambda: upload(riff(claimed=3 * 3600 * 44_100), NO_CLIP),
    "wav that claims nothing": lambda: upload(riff(claimed=0), NO_CLIP),
    "wav at 0 Hz": lambda: upload(riff(rate=0), NO_CLIP),
    "wav at 2 GHz": lambda: upload(riff(rate=2**31 - 1), (415, {"unsupported"})),
    "wav of 1000 channels": lambda: upload(riff(channels=1000, data=bytes(2000 * 99)), (415, {"unsupported"})),
    "wav of 0 channels": lambda: upload(riff(channels=0), NO_CLIP),
    "wav of 0 bits": lambda: upload(riff(bits=0), NO_CLIP),
    "half a header": lambda: upload(riff()[:20]),
    "NaN samples": lambda: upload(encoded(constant(np.nan), 22_050, subtype="FLOAT"), SILENT),
    "infinite samples": lambda: upload(encoded(constant(np.inf), 22_050, subtype="FLOAT"), SILENT),
    "silence": lambda: upload(encoded(constant(0), 22_050), SILENT),
    "half a second": lambda: upload(encoded(noise(0.5), 8_000), (422, {"too_short"})),
}


def _valid() -> bytes:
    return encoded(noise(4), 8_000)


FORMS: dict[str, Callable[[], Request]] = {
    "the whole body as audio": lambda: post(_valid(), NO_FORM, "audio/mpeg"),
    "the whole body as JSON": lambda: post(b'{"audio": "file:///etc/passwd"}', NO_FORM, "application/json"),
    "the whole body as a pickle": lambda: post(PICKLE, NO_FORM, "application/vnd.bentoml+pickle"),
    "a body of no type": lambda: post(_valid(), NO_FORM, None),
    "a form of fields alone": lambda: post(b"audio=x", NO_FORM, "application/x-www-form-urlencoded"),
    "two files": lambda: post(form(part(_valid()), part(_valid())), NO_FORM),
    "no file": lambda: post(form(part(b"true", "timeline", None)), NO_FORM),
    "an empty form": lambda: post(form(), NO_FORM),
    "the wrong field": lambda: post(form(part(_valid(), "file")), NO_FORM),
    "a field of 1 MB": lambda: post(form(part(_valid()), part(b"x" * 2**20, "timeline", None)), NO_FORM),
    "a thousand fields": lambda: post(form(*(part(b"1", f"f{n}", None) for n in range(1000))), NO_FORM),
    "a part's head of 1 MB": lambda: post(form(part(_valid(), head=b"X-Filler: " + b"x" * 2**20 + b"\r\n")), NO_FORM),
    "a part without a name": lambda: post(form(f"--{BOUNDARY}\r\n\r\n1\r\n".encode()), NO_FORM),
    "an address in place of a file": lambda: post(form(part(b"file:///etc/passwd", name=None)), NO_FORM),
    "no boundary": lambda: post(form(part(_valid())), NO_FORM, "multipart/form-data"),
    "another boundary": lambda: post(form(part(_valid())), NO_FORM, "multipart/form-data; boundary=other"),
    "an odd boundary": lambda: post(form(part(_valid())), NO_FORM, "multipart/form-data; boundary=" + "\xe9" * 300),
    "an unknown charset": lambda: post(form(part(_valid(), "\xe9")), NO_FORM, FORM + "; charset=utf-7-le"),
    "a form cut off": lambda: post(part(_valid())[:9_000], NO_FORM),
    "60 MiB": lambda: post(bytes(60 * 2**20), TOO_LARGE),
    "a stated length of a terabyte": lambda: post(part(b"x"), TOO_LARGE, length=str(10**12)),
    "a negative length": lambda: post(form(part(_valid())), MALFORMED, length="-1"),
    "a length that is no number": lambda: post(form(part(_valid())), MALFORMED, length="many"),
    "a length that is too small": lambda: post(form(part(_valid())), NO_FORM, length="1000"),
    "chunks without a length": lambda: chunked(form(part(b"no music")), expected=NO_SOUND),
    "chunks that are none": lambda: chunked(expected=MALFORMED, end=b"zz\r\nnothing\r\n"),
    "another method": lambda: post(form(part(_valid())), (405, {"not_allowed"}), line="PUT /predict HTTP/1.1"),
    "another path": lambda: post(form(part(_valid())), (404, {"not_found"}), line="POST /../../etc/passwd HTTP/1.1"),
}

TOO_SLOW = (408, {"too_slow"})
STALLS: dict[str, Callable[[], Request]] = {
    "a length that is too large": lambda: post(form(part(b"x")), TOO_SLOW, length="9000"),
    "a body that stalls": lambda: post(part(_valid())[:999], TOO_SLOW, length="99999"),
    "a body that never comes": lambda: post(b"", TOO_SLOW, length="99999"),
    "chunks without an end": lambda: chunked(part(_valid())[:999], expected=TOO_SLOW, end=b""),
    "headers without an end": lambda: Request((b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Filler: ",), TOO_SLOW),
}


def deliver(port: int, request: Request) -> tuple[int, bytes, float]:
    """Status, body, and seconds until both were there."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        try:
            for piece in request.pieces:
                connection.sendall(piece)
        except OSError:
            pass  # the server has closed the connection
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    return response.status, body, time.perf_counter() - start


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    server = psutil.Process(process.pid)
    return sum(each.memory_info().rss for each in (server, *server.children(recursive=True))) / 2**20


@pytest.fixture(scope="module")
def memory_constant(
    served: tuple[subprocess.Popen[bytes], int], predict: Callable[..., httpx.Response]
) -> Iterator[None]:
    """The server's memory must not grow over all requests of this file."""
    for _ in range(20):
        assert predict(_valid()).status_code == 200
    before = memory_mb(served[0])
    yield
    assert memory_mb(served[0]) < before + MAX_GROWTH_MB


@pytest.mark.usefixtures("memory_constant", "server_unaffected")
@pytest.mark.parametrize("make", [*FILES.values(), *FORMS.values()], ids=[*FILES, *FORMS])
def test_malicious_request_is_refused_and_leaves_no_file(
    port: int, temporary_dir: Path, make: Callable[[], Request]
) -> None:
    request = make()
    before = set(temporary_dir.iterdir())
    status, body, seconds = deliver(port, request)
    assert seconds < MAX_RESPONSE_S
    assert set(temporary_dir.iterdir()) <= before
    check_refusal(request, status, body)


@pytest.mark.usefixtures("memory_constant", "server_unaffected")
def test_request_that_stalls_is_too_slow_and_leaves_no_file(port: int, temporary_dir: Path) -> None:
    before = set(temporary_dir.iterdir())
    requests = [make() for make in STALLS.values()]
    with ThreadPoolExecutor(len(requests)) as pool:
        for request, (status, body, seconds) in zip(requests, pool.map(partial(deliver, port), requests), strict=True):
            assert seconds < WINDOW_S + MAX_RESPONSE_S
            check_refusal(request, status, body)
    assert set(temporary_dir.iterdir()) <= before


def check_refusal(request: Request, status: int, body: bytes) -> None:
    """The response is the expected one, and tells nothing of the server."""
    expected_status, codes = request.expected
    assert status == expected_status, body
    if codes is None:
        return
    response = json.loads(body)
    assert set(response) == {"error"}
    assert set(response["error"]) == {"code", "message"}
    assert response["error"]["code"] in codes
    assert not any(word in response["error"]["message"] for word in ("Traceback", ".py", "/tmp", "/root", "\n"))


def test_there_are_at_least_fifty_malicious_requests() -> None:
    assert len(FILES) + len(FORMS) + len(STALLS) >= 50
