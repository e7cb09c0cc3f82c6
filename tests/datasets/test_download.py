"""Downloads from a real server on loopback that cuts, stalls, changes its file and gives wrong ranges."""

from __future__ import annotations

import errno
import hashlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from music_genre.datasets import download as module
from music_genre.datasets.download import RemoteFile, download_file
from music_genre.errors import MusicGenreError

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


FILE = RemoteFile("file.zip", sha1(CONTENT), len(CONTENT))


@dataclass(frozen=True)
class Response:
    """How the server responds to one request."""

    content: bytes = CONTENT
    status: int | None = None  # instead of the content
    sends: int | None = None  # bytes of the body, then it hangs up
    stalls: bool = False  # or falls silent
    silent: bool = False  # from the start
    heeds_range: bool = True
    heeds_if_range: bool = True
    etag: str | None = '"first"'
    modified: str | None = None
    sends_length: bool = True
    content_range: str | None = None  # instead of the true one


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        self.server.conditions.append(self.headers.get("If-Range"))
        response = self.server.script.pop(0) if self.server.script else self.server.response
        if response.status is not None:
            return self.send_error(response.status)
        if response.silent:
            self.server.released.wait(10)
            return None
        start = self.first_byte(response)
        if start is not None and start >= len(response.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(response.content)}")
            return self.end_headers()
        body = response.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            true_range = f"bytes {start}-{len(response.content) - 1}/{len(response.content)}"
            self.send_header("Content-Range", true_range if response.content_range is None else response.content_range)
        if response.sends_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("ETag", response.etag), ("Last-Modified", response.modified)):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.send_slowly(body[: response.sends])
        if response.stalls:
            self.server.released.wait(10)
        return None

    def first_byte(self, response: Response) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        known = self.headers.get("If-Range", "") in ("", response.etag, response.modified)
        return int(match[1]) if match and response.heeds_range and (known or not response.heeds_if_range) else None

    def send_slowly(self, body: bytes) -> None:
        for start in range(0, len(body), 100_000):
            self.wfile.write(body[start : start + 100_000])
            time.sleep(self.server.pause_s)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Responds by ``script``, then always by ``response``; records the requested ranges."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Response] = []
        self.response = Response()
        self.ranges: list[str | None] = []
        self.conditions: list[str | None] = []
        self.released = threading.Event()
        self.pause_s = 0.0

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/fma/file.zip"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUTS_S", (5.0, 5.0))
    monkeypatch.setattr(module, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache/file.zip"


def fetch(server: Server, target: Path, content: bytes = CONTENT, extra_bytes: int = 0) -> None:
    download_file(server.url, target, RemoteFile("file.zip", sha1(content), len(CONTENT)), extra_bytes)


def interrupt_download(server: Server, target: Path, response: Response, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a run leaves whose only request got this response; the server then forgets the request."""
    server.script = [response]
    with monkeypatch.context() as patch, pytest.raises(MusicGenreError, match="run again"):
        patch.setattr(module, "RETRY_DELAYS_S", ())
        fetch(server, target)
    server.ranges.clear()


def part(target: Path) -> Path:
    return target.with_name("file.zip.part")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file.zip.lock"}


def test_complete_download_leaves_only_the_file(server: Server, target: Path) -> None:
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert names(target.parent) == {"file.zip"}


CUTS = [0, 1, 65_535, 65_536, 65_537, len(CONTENT) - 1]


@pytest.mark.parametrize("cut", CUTS)
def test_cut_download_resumes_at_its_last_byte(server: Server, target: Path, cut: int) -> None:
    server.script = [Response(sends=cut)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={cut}-" if cut else None]


@pytest.mark.parametrize("cut", [None, 0, 1, 65_537, len(CONTENT) - 1])
def test_stalled_download_resumes(
    server: Server, target: Path, cut: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUTS_S", (5.0, 0.7))
    server.script = [Response(silent=cut is None, sends=cut, stalls=True)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={cut}-" if cut else None]


@pytest.mark.parametrize("cut", CUTS)
def test_later_run_resumes(server: Server, target: Path, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_download(server, target, Response(sends=cut), monkeypatch)
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={cut}-" if cut else None]


def test_progress_resets_the_retries(server: Server, target: Path) -> None:
    server.script = [Response(sends=20_000)] * 14
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.ranges) == 15


def test_server_without_ranges_starts_over(server: Server, target: Path) -> None:
    server.script = [Response(sends=100_000), Response(heeds_range=False)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_download_without_progress_is_given_up(server: Server, target: Path) -> None:
    server.response = Response(sends=100_000, heeds_range=False)
    with pytest.raises(MusicGenreError, match="100000 bytes are kept"):
        fetch(server, target)
    assert len(server.ranges) == 4


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        (Response(), Response(OTHER, etag='"second"'), 1),
        (Response(), Response(OTHER, etag='"second"', heeds_if_range=False), 2),
        (Response(etag=None, modified="Mon"), Response(OTHER, etag=None, modified="Tue"), 1),
        (Response(etag=None, modified="Mon"), Response(OTHER, etag=None, modified="Tue", heeds_if_range=False), 2),
        (Response(etag=None), Response(OTHER + b"longer", etag=None), 2),
        (Response(), Response(OTHER[:90_000], etag='"second"', heeds_if_range=False), 2),
    ],
    ids=["tag", "tag unheeded", "date", "date unheeded", "longer", "shorter"],
)
def test_changed_file_starts_over(
    server: Server, target: Path, before: Response, after: Response, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(server, target, replace(before, sends=100_000), monkeypatch)
    server.response = after
    fetch(server, target, after.content)
    assert target.read_bytes() == after.content
    assert server.ranges == ["bytes=100000-", None][:requests]


@pytest.mark.parametrize(
    ("etag", "modified", "expected"),
    [('"strong"', "Mon", '"strong"'), ('W/"weak"', "Mon", "Mon"), ('W/"weak"', None, None), (None, None, None)],
)
def test_resumed_request_is_conditional_on_the_version(
    server: Server,
    target: Path,
    etag: str | None,
    modified: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.response = Response(etag=etag, modified=modified)
    interrupt_download(server, target, replace(server.response, sends=100_000), monkeypatch)
    fetch(server, target)
    assert server.conditions == [None, expected]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_part_without_validator_is_resumed_and_verified(
    server: Server, target: Path, etag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(server, target, Response(sends=100_000, etag=etag), monkeypatch)
    server.response = Response(OTHER, etag=etag)
    with pytest.raises(MusicGenreError, match="SHA-1"):
        fetch(server, target, OTHER)
    fetch(server, target, OTHER)
    assert target.read_bytes() == OTHER
    assert server.ranges == ["bytes=100000-", None]


def test_part_of_another_address_is_not_resumed(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_download(server, target, Response(sends=100_000), monkeypatch)
    download_file(server.url.replace("/fma/", "/mirror/"), target, FILE)
    assert server.ranges == [None]


@pytest.mark.parametrize("content", ["", "[]", '{"url": "http://', "{}"])
def test_part_with_damaged_version_file_is_not_resumed(
    server: Server, target: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_download(server, target, Response(sends=100_000), monkeypatch)
    target.with_name("file.zip.part.json").write_text(content)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


def test_wrong_content_is_removed_and_reported(server: Server, target: Path) -> None:
    server.response = Response(OTHER)
    with pytest.raises(MusicGenreError) as caught:
        fetch(server, target)
    for fact in (str(part(target)), sha1(OTHER), sha1(CONTENT), "run again"):
        assert fact in str(caught.value)
    assert not target.exists()
    assert not part(target).exists()
    server.response = Response(etag='"second"')
    fetch(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_client_error_is_reported_at_once(server: Server, target: Path, status: int) -> None:
    server.response = Response(status=status)
    with pytest.raises(MusicGenreError, match=rf"{server.url}: {status} .*check its address in params"):
        fetch(server, target)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_server_error_is_reported_after_all_retries(server: Server, target: Path, status: int) -> None:
    server.response = Response(status=status)
    with pytest.raises(MusicGenreError, match=f"{server.url}: {status} "):
        fetch(server, target)
    assert len(server.ranges) == 4


def test_server_errors_are_retried(server: Server, target: Path) -> None:
    server.script = [Response(status=503), Response(sends=70_000), Response(status=500), Response(status=503)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, None, *["bytes=70000-"] * 3]


@pytest.mark.parametrize(
    "found", ["", "bytes 0-299999/300000", "bytes 99999-299999/300000", "bytes */300000", "items 1"]
)
def test_wrong_range_is_refused(server: Server, target: Path, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_download(server, target, Response(sends=100_000), monkeypatch)
    server.response = Response(content_range=found)
    with pytest.raises(MusicGenreError) as caught:
        fetch(server, target)
    assert f"Content-Range is {found!r}; expected bytes 100000-" in str(caught.value)
    assert part(target).read_bytes() == CONTENT[:100_000]
    assert len(server.ranges) == 1


@pytest.mark.parametrize(("sends_length", "ranges"), [(True, []), (False, ["bytes=300000-"])])
def test_run_after_a_stop_before_verification_only_verifies(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, sends_length: bool, ranges: list[str]
) -> None:
    server.response = Response(sends_length=sends_length)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_verify", stop)
        fetch(server, target)
    server.ranges.clear()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ranges


def test_too_long_part_starts_over(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_download(server, target, Response(sends=100_000), monkeypatch)
    part(target).write_bytes(CONTENT + b"more")
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=300004-", None]


def test_existing_file_is_not_downloaded_again(server: Server, target: Path) -> None:
    fetch(server, target)
    fetch(server, target)
    assert server.ranges == [None]


def test_damaged_file_is_removed_reported_and_downloaded_again(server: Server, target: Path) -> None:
    fetch(server, target)
    target.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(MusicGenreError, match=rf"{target}: SHA-1 is .*expected {sha1(CONTENT)}"):
        fetch(server, target)
    fetch(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("sends_length", [True, False])
def test_download_beyond_the_expected_size_is_stopped(server: Server, target: Path, sends_length: bool) -> None:
    server.response = Response(CONTENT * 2, sends_length=sends_length)
    with pytest.raises(MusicGenreError, match=r"bytes; expected at most 330000"):
        fetch(server, target)
    assert not part(target).exists()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/file.zip", "http://"])
def test_invalid_address_is_reported(target: Path, url: str) -> None:
    with pytest.raises(MusicGenreError, match="expected an address"):
        download_file(url, target, FILE)


def test_unreachable_server_is_reported(server: Server, target: Path) -> None:
    server.server_close()
    with pytest.raises(MusicGenreError) as caught:
        fetch(server, target)
    reason = f"[Errno {errno.ECONNREFUSED}] Connection refused"
    assert str(caught.value) == f"{server.url}: {reason}; 0 bytes are kept, run again to go on"


def test_too_little_space_is_reported_before_any_request(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=700_000))
    with pytest.raises(MusicGenreError, match=rf"{target}: needs 800kB; {target.parent} has 700kB free"):
        fetch(server, target, extra_bytes=500_000)
    assert server.ranges == []


def test_downloaded_bytes_need_no_more_space(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_download(server, target, Response(sends=100_000), monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=700_000))
    fetch(server, target, extra_bytes=500_000)
    assert target.read_bytes() == CONTENT


def process(server: Server, target: Path, before: str = "") -> subprocess.Popen[str]:
    """A download in a process of its own."""
    code = f"""
import pathlib
{before}
from music_genre.datasets import download
download.RETRY_DELAYS_S = ()
download.download_file({server.url!r}, pathlib.Path({str(target)!r}), download.{FILE!r})
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_killed_process_is_resumed(server: Server, target: Path) -> None:
    server.script = [Response(sends=200_000, stalls=True)]
    with process(server, target) as killed:
        until = time.monotonic() + 15
        while not (part(target).exists() and part(target).stat().st_size > 150_000) and time.monotonic() < until:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    size = part(target).stat().st_size
    assert size > 150_000
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={size}-"]


def test_concurrent_downloads_share_one_file(server: Server, target: Path) -> None:
    server.pause_s = 0.3
    with process(server, target) as one, process(server, target) as other:
        errors = one.communicate()[1] + other.communicate()[1]
    assert (one.returncode, other.returncode) == (0, 0), errors
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None]


# No file may grow above 100,000 bytes: the system refuses the write, as on a full disk.
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"


def test_full_disk_is_reported_and_the_part_is_kept(server: Server, target: Path) -> None:
    with process(server, target, FULL_DISK) as limited:
        error = limited.communicate()[1]
    assert limited.returncode == 1
    assert re.search(rf"MusicGenreError: {target}: .*File too large.*finished files are kept", error)
    assert part(target).read_bytes() == CONTENT[:100_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]
