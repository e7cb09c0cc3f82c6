"""Downloads from a real server on loopback that cuts, stalls, lies and changes its mind; archives that mean harm."""

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
from music_genre.datasets.download import ARCHIVES, download
from music_genre.datasets.fma import SUBSETS
from music_genre.errors import MusicGenreError

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@dataclass(frozen=True)
class Answer:
    """How the server answers one request."""

    content: bytes = CONTENT
    status: int | None = None  # instead of the content
    sends: int | None = None  # bytes of the body, then it hangs up
    stalls: bool = False  # or falls silent
    silent: bool = False  # from the start
    heeds_range: bool = True
    heeds_if_range: bool = True
    etag: str | None = '"first"'
    modified: str | None = None
    tells_length: bool = True
    content_range: str | None = None  # instead of the true one


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        self.server.conditions.append(self.headers.get("If-Range"))
        answer = self.server.script.pop(0) if self.server.script else self.server.answer
        if answer.status is not None:
            return self.send_error(answer.status)
        if answer.silent:
            self.server.let_go.wait(10)
            return None
        start = self.first_byte(answer)
        if start is not None and start >= len(answer.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(answer.content)}")
            return self.end_headers()
        body = answer.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            true_range = f"bytes {start}-{len(answer.content) - 1}/{len(answer.content)}"
            self.send_header("Content-Range", true_range if answer.content_range is None else answer.content_range)
        if answer.tells_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("ETag", answer.etag), ("Last-Modified", answer.modified)):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.send_slowly(body[: answer.sends])
        if answer.stalls:
            self.server.let_go.wait(10)
        return None

    def first_byte(self, answer: Answer) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        known = self.headers.get("If-Range", "") in ("", answer.etag, answer.modified)
        return int(match[1]) if match and answer.heeds_range and (known or not answer.heeds_if_range) else None

    def send_slowly(self, body: bytes) -> None:
        for start in range(0, len(body), 100_000):
            self.wfile.write(body[start : start + 100_000])
            time.sleep(self.server.pause_s)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers by ``script``, then always by ``answer``; notes which ranges it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Answer] = []
        self.answer = Answer()
        self.asked: list[str | None] = []
        self.conditions: list[str | None] = []
        self.let_go = threading.Event()
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
        server.let_go.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUTS_S", (5.0, 5.0))
    monkeypatch.setattr(module, "WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache/file.zip"


def bring(server: Server, target: Path, content: bytes = CONTENT, room: int = 0) -> None:
    download(server.url, target, sha1(content), len(CONTENT), room)


def interrupted(server: Server, target: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run leaves whose only request was answered so; the server then forgets it."""
    server.script = [answer]
    with monkeypatch.context() as patch, pytest.raises(MusicGenreError, match="run again"):
        patch.setattr(module, "WAITS_S", ())
        bring(server, target)
    server.asked.clear()


def part(target: Path) -> Path:
    return target.with_name("file.zip.part")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file.zip.lock"}


def test_a_whole_file_is_asked_for_once_and_leaves_nothing_beside_it(server: Server, target: Path) -> None:
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert names(target.parent) == {"file.zip"}


CUTS = [0, 1, 65_535, 65_536, 65_537, len(CONTENT) - 1]


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_at_any_byte_is_gone_on_from(server: Server, target: Path, cut: int) -> None:
    server.script = [Answer(sends=cut)]
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={cut}-" if cut else None]


@pytest.mark.parametrize("cut", [None, 0, 1, 65_537, len(CONTENT) - 1])
def test_a_server_that_falls_silent_is_asked_for_the_rest(
    server: Server, target: Path, cut: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUTS_S", (5.0, 0.7))
    server.script = [Answer(silent=cut is None, sends=cut, stalls=True)]
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={cut}-" if cut else None]


@pytest.mark.parametrize("cut", CUTS)
def test_a_later_run_goes_on_too(server: Server, target: Path, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(server, target, Answer(sends=cut), monkeypatch)
    assert not target.exists()
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={cut}-" if cut else None]


def test_tries_are_counted_anew_whenever_more_has_come(server: Server, target: Path) -> None:
    server.script = [Answer(sends=20_000)] * 14
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 15


def test_a_server_that_ignores_ranges_is_heard_from_the_start(server: Server, target: Path) -> None:
    server.script = [Answer(sends=100_000), Answer(heeds_range=False)]
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_never_gets_beyond_a_byte_is_given_up(server: Server, target: Path) -> None:
    server.answer = Answer(sends=100_000, heeds_range=False)
    with pytest.raises(MusicGenreError, match="100000 bytes are kept"):
        bring(server, target)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        (Answer(), Answer(OTHER, etag='"second"'), 1),
        (Answer(), Answer(OTHER, etag='"second"', heeds_if_range=False), 2),
        (Answer(etag=None, modified="Mon"), Answer(OTHER, etag=None, modified="Tue"), 1),
        (Answer(etag=None, modified="Mon"), Answer(OTHER, etag=None, modified="Tue", heeds_if_range=False), 2),
        (Answer(etag=None), Answer(OTHER + b"longer", etag=None), 2),
        (Answer(), Answer(OTHER[:90_000], etag='"second"', heeds_if_range=False), 2),
    ],
    ids=["tag", "tag unheeded", "date", "date unheeded", "longer", "shorter"],
)
def test_a_file_that_changed_between_two_tries_is_begun_anew(
    server: Server, target: Path, before: Answer, after: Answer, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, replace(before, sends=100_000), monkeypatch)
    server.answer = after
    bring(server, target, after.content)
    assert target.read_bytes() == after.content
    assert server.asked == ["bytes=100000-", None][:requests]


@pytest.mark.parametrize(
    ("etag", "modified", "expected"),
    [('"strong"', "Mon", '"strong"'), ('W/"weak"', "Mon", "Mon"), ('W/"weak"', None, None), (None, None, None)],
)
def test_the_rest_is_asked_for_on_condition_that_the_file_is_the_same(
    server: Server,
    target: Path,
    etag: str | None,
    modified: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.answer = Answer(etag=etag, modified=modified)
    interrupted(server, target, replace(server.answer, sends=100_000), monkeypatch)
    bring(server, target)
    assert server.conditions == [None, expected]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_bytes_that_nothing_vouches_for_are_gone_on_with_and_verified(
    server: Server, target: Path, etag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, Answer(sends=100_000, etag=etag), monkeypatch)
    server.answer = Answer(OTHER, etag=etag)
    with pytest.raises(MusicGenreError, match="SHA-1"):
        bring(server, target, OTHER)
    bring(server, target, OTHER)
    assert target.read_bytes() == OTHER
    assert server.asked == ["bytes=100000-", None]


def test_the_bytes_of_another_address_are_not_gone_on_with(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, Answer(sends=100_000), monkeypatch)
    download(server.url.replace("/fma/", "/mirror/"), target, sha1(CONTENT), len(CONTENT))
    assert server.asked == [None]


@pytest.mark.parametrize("note", ["", "[]", '{"url": "http://', "{}"])
def test_bytes_without_a_note_of_what_they_are_of_are_not_gone_on_with(
    server: Server, target: Path, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, Answer(sends=100_000), monkeypatch)
    target.with_name("file.zip.part.json").write_text(note)
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]


def test_other_content_is_removed_and_told(server: Server, target: Path) -> None:
    server.answer = Answer(OTHER)
    with pytest.raises(MusicGenreError) as caught:
        bring(server, target)
    for fact in (str(part(target)), sha1(OTHER), sha1(CONTENT), "run again"):
        assert fact in str(caught.value)
    assert not target.exists()
    assert not part(target).exists()
    server.answer = Answer(etag='"second"')
    bring(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(server: Server, target: Path, status: int) -> None:
    server.answer = Answer(status=status)
    with pytest.raises(MusicGenreError, match=rf"{server.url}: {status} .*data\.fma\.mirror"):
        bring(server, target)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_fault_is_told_after_all_tries(server: Server, target: Path, status: int) -> None:
    server.answer = Answer(status=status)
    with pytest.raises(MusicGenreError, match=f"{server.url}: {status} "):
        bring(server, target)
    assert len(server.asked) == 4


def test_a_passing_fault_may_pass(server: Server, target: Path) -> None:
    server.script = [Answer(status=503), Answer(sends=70_000), Answer(status=500), Answer(status=503)]
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, None, *["bytes=70000-"] * 3]


@pytest.mark.parametrize(
    "found", ["", "bytes 0-299999/300000", "bytes 99999-299999/300000", "bytes */300000", "items 1"]
)
def test_a_range_that_was_not_asked_for_is_refused(
    server: Server, target: Path, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, Answer(sends=100_000), monkeypatch)
    server.answer = Answer(content_range=found)
    with pytest.raises(MusicGenreError) as caught:
        bring(server, target)
    assert f"Content-Range is {found!r}; expected bytes 100000-" in str(caught.value)
    assert part(target).read_bytes() == CONTENT[:100_000]
    assert len(server.asked) == 1


@pytest.mark.parametrize(("tells_length", "asked"), [(True, []), (False, ["bytes=300000-"])])
def test_a_run_stopped_before_the_check_leaves_only_the_check_to_do(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, tells_length: bool, asked: list[str]
) -> None:
    server.answer = Answer(tells_length=tells_length)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_verify", stop)
        bring(server, target)
    server.asked.clear()
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == asked


def test_more_bytes_than_the_file_has_are_begun_anew(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(server, target, Answer(sends=100_000), monkeypatch)
    part(target).write_bytes(CONTENT + b"more")
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=300004-", None]


def test_a_file_that_is_there_is_not_asked_for_again(server: Server, target: Path) -> None:
    bring(server, target)
    bring(server, target)
    assert server.asked == [None]


def test_a_file_that_went_bad_is_removed_told_and_then_brought_again(server: Server, target: Path) -> None:
    bring(server, target)
    target.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(MusicGenreError, match=rf"{target}: SHA-1 is .*expected {sha1(CONTENT)}"):
        bring(server, target)
    bring(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_server_that_sends_far_too_much_is_stopped(server: Server, target: Path, tells_length: bool) -> None:
    server.answer = Answer(CONTENT * 2, tells_length=tells_length)
    with pytest.raises(MusicGenreError, match=r"bytes; expected at most 330000"):
        bring(server, target)
    assert not part(target).exists()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/file.zip", "http://"])
def test_an_address_that_is_none_is_told(target: Path, url: str) -> None:
    with pytest.raises(MusicGenreError, match="expected an address"):
        download(url, target, sha1(CONTENT), len(CONTENT))


def test_a_server_that_is_not_there_is_told(server: Server, target: Path) -> None:
    server.server_close()
    with pytest.raises(MusicGenreError) as caught:
        bring(server, target)
    told = f"[Errno {errno.ECONNREFUSED}] Connection refused; 0 bytes are kept, run again to go on from there"
    assert str(caught.value) == f"{server.url}: {told}"


def test_too_little_room_is_told_before_anything_is_asked_for(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=700_000))
    with pytest.raises(MusicGenreError, match=rf"{target}: needs 800kB; {target.parent} has 700kB free"):
        bring(server, target, room=500_000)
    assert server.asked == []


def test_what_is_there_already_needs_no_room(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(server, target, Answer(sends=100_000), monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=700_000))
    bring(server, target, room=500_000)
    assert target.read_bytes() == CONTENT


def process(server: Server, target: Path, before: str = "") -> subprocess.Popen[str]:
    """A download in a process of its own."""
    code = f"""
import pathlib
{before}
from music_genre.sources import download
download.WAITS_S = ()
download.download({server.url!r}, pathlib.Path({str(target)!r}), {sha1(CONTENT)!r}, {len(CONTENT)})
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_a_killed_process_is_gone_on_from(server: Server, target: Path) -> None:
    server.script = [Answer(sends=200_000, stalls=True)]
    with process(server, target) as killed:
        until = time.monotonic() + 15
        while not (part(target).exists() and part(target).stat().st_size > 150_000) and time.monotonic() < until:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    kept = part(target).stat().st_size
    assert kept > 150_000
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


def test_two_at_once_bring_one_file(server: Server, target: Path) -> None:
    server.pause_s = 0.3
    with process(server, target) as one, process(server, target) as other:
        errors = one.communicate()[1] + other.communicate()[1]
    assert (one.returncode, other.returncode) == (0, 0), errors
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]


LITTLE_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"
"""No file may grow above that: the system refuses the write, as on a full disk."""


def test_a_disk_that_takes_no_more_is_told_and_what_it_took_stays(server: Server, target: Path) -> None:
    with process(server, target, LITTLE_DISK) as limited:
        error = limited.communicate()[1]
    assert limited.returncode == 1
    assert re.search(rf"MusicGenreError: {target}: .*File too large.*what is good stays", error)
    assert part(target).read_bytes() == CONTENT[:100_000]
    bring(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_every_subset_has_its_archive() -> None:
    assert set(ARCHIVES) == {"metadata", *SUBSETS}
    for key, archive in ARCHIVES.items():
        assert archive.name == f"fma_{key}.zip"
        assert re.fullmatch("[0-9a-f]{40}", archive.sha1)
