"""Downloads from a real server on loopback that cuts, stalls, lies and changes its mind; archives that mean harm."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest

from music_genre.errors import MusicGenreError
from music_genre.sources import download as module
from music_genre.sources.download import ARCHIVES, download, unpack
from music_genre.sources.fma import SUBSETS

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
    with pytest.raises(MusicGenreError, match=f"{server.url}: .*run again"):
        bring(server, target)


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


# Unpacking

MEMBERS = {f"music/00{n}/{n}.mp3": random.Random(n).randbytes(100_000 + n) for n in range(4)}


def anything(_: str) -> bool:
    return True


def written(path: Path, members: dict[str, bytes], method: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(ZipInfo(name), content, method)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return written(tmp_path / "cache/music.zip", MEMBERS)


def staging(archive: Path) -> Path:
    return archive.with_name("music.zip.unpacking")


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2])
def test_only_what_is_wanted_is_unpacked(tmp_path: Path, archive: Path, method: int) -> None:
    written(archive, {"music/checksums": b"unwanted", "../evil": b"unwanted", **MEMBERS}, method)
    unpack(archive, tmp_path / "raw", MEMBERS.__contains__, 10**6)
    assert files(tmp_path / "raw") == MEMBERS
    assert set(archive.parent.iterdir()) == {archive, archive.with_name("music.zip.lock")}


def test_large_archives_format_and_folders_in_it_are_understood(tmp_path: Path, archive: Path) -> None:
    with ZipFile(archive, "w") as file:
        file.writestr("music/", b"")
        with file.open("music/a.mp3", "w", force_zip64=True) as member:
            member.write(b"long")
    unpack(archive, tmp_path / "raw", anything, 10)
    assert files(tmp_path / "raw") == {"music/a.mp3": b"long"}


def test_two_archives_fill_one_folder(tmp_path: Path, archive: Path) -> None:
    unpack(written(archive.with_name("data.zip"), {"data/tracks.csv": b"x"}), tmp_path / "raw", anything, 10)
    unpack(archive, tmp_path / "raw", anything, 10**6)
    assert files(tmp_path / "raw") == {"data/tracks.csv": b"x", **MEMBERS}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "music/../../evil",
        "/tmp/evil",
        "C:/evil",
        "C:evil",
        "..\\evil",
        "\\evil",
        "\\\\host\\share\\evil",
        "..",
    ],
)
def test_a_member_that_leads_out_is_refused(tmp_path: Path, archive: Path, name: str) -> None:
    written(archive, {**MEMBERS, name: b"evil"})
    with pytest.raises(MusicGenreError, match="leads out of the target"):
        unpack(archive, tmp_path / "deep/raw", anything, 10**6)
    assert set(files(tmp_path)) == {"cache/music.zip", "cache/music.zip.lock"}


def test_a_link_that_lies_in_the_way_does_not_lead_out(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    staging(archive).mkdir()
    (staging(archive) / "music").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MusicGenreError, match="leads out of the target"):
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert files(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_member_that_is_no_plain_file_is_refused(tmp_path: Path, archive: Path, kind: int) -> None:
    info = ZipInfo("music/link")
    info.external_attr = (kind | 0o777) << 16
    with ZipFile(archive, "a") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(MusicGenreError, match=r"music\.zip.*'music/link' is no plain file"):
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert not (tmp_path / "raw").exists()


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, archive: Path) -> None:
    with ZipFile(archive, "a") as file:
        file.writestr("music/./001/1.mp3", "other")
    with pytest.raises(MusicGenreError, match="is there twice"):
        unpack(archive, tmp_path / "raw", anything, 10**6)


def patched(archive: Path, name: str, change: Callable[[bytearray, int], None]) -> None:
    """Change a member's entry in the central directory, which is what readers go by."""
    content = bytearray(archive.read_bytes())
    change(content, content.rindex(name.encode()) - 46)
    archive.write_bytes(content)


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2])
@pytest.mark.parametrize("lies", [False, True])
def test_no_more_is_written_than_allowed(tmp_path: Path, archive: Path, method: int, lies: bool) -> None:
    written(archive, {"music/a": b"a" * 90_000, "music/bomb": bytes(30_000_000)}, method)
    if lies:
        patched(archive, "music/bomb", lambda entry, at: entry.__setitem__(slice(at + 24, at + 28), b"\1\0\0\0"))
    tracemalloc.start()
    with pytest.raises(MusicGenreError, match=r"music\.zip"):
        unpack(archive, tmp_path / "raw", anything, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, files(staging(archive)).values())) <= 100_000
    assert not (tmp_path / "raw").exists()
    assert peak < 5_000_000


def test_members_that_share_their_bytes_count_each(tmp_path: Path, archive: Path) -> None:
    """The bomb whose entries all point at the same data."""
    written(archive, {"music/0": bytes(50_000), "music/1": b"", "music/2": b""}, ZIP_DEFLATED)
    with ZipFile(archive, "a") as file:
        first, *others = file.infolist()
        for info in others:
            info.header_offset, info.file_size, info.compress_size, info.CRC = (
                first.header_offset,
                first.file_size,
                first.compress_size,
                first.CRC,
            )
        file.comment = b"written anew"
    with pytest.raises(MusicGenreError, match="unpacks to 150000 bytes; expected at most 100000"):
        unpack(archive, tmp_path / "raw", anything, 100_000)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2])
def test_damage_is_told_by_the_members_name_and_what_is_good_stays(tmp_path: Path, archive: Path, method: int) -> None:
    written(archive, MEMBERS, method)
    good = archive.read_bytes()
    with ZipFile(archive) as file:
        at = file.getinfo("music/002/2.mp3").header_offset + 50_000
    archive.write_bytes(good[:at] + bytes(100) + good[at + 100 :])
    with pytest.raises(MusicGenreError, match=r"music\.zip: member 'music/002/2\.mp3': .*run again"):
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert not (tmp_path / "raw").exists()
    kept = {path: path.stat().st_mtime_ns for path in staging(archive).rglob("[01].mp3")}
    assert len(kept) == 2

    archive.write_bytes(good)
    unpack(archive, tmp_path / "raw", anything, 10**6)
    assert files(tmp_path / "raw") == MEMBERS
    for path, mtime in kept.items():
        assert (tmp_path / "raw" / path.relative_to(staging(archive))).stat().st_mtime_ns == mtime


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2])
def test_content_of_another_checksum_is_told(tmp_path: Path, archive: Path, method: int) -> None:
    written(archive, MEMBERS, method)
    patched(archive, "music/002/2.mp3", lambda entry, at: entry.__setitem__(slice(at + 16, at + 20), b"\1\2\3\4"))
    with pytest.raises(MusicGenreError, match=r"music\.zip: member 'music/002/2\.mp3': .*CRC-32"):
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert not (tmp_path / "raw").exists()


def test_an_interrupted_unpacking_leaves_no_half_folder_and_is_gone_on_with(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names_written = ZipFile.open, []

    def open_two(self: ZipFile, info: ZipInfo, *arguments: str) -> object:
        if len(names_written) == 2:
            raise KeyboardInterrupt
        names_written.append(info.filename)
        return real(self, info, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ZipFile, "open", open_two)
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert not (tmp_path / "raw").exists()
    # As a process that was killed in the middle of a member, or a machine that lost its power, would leave them.
    (staging(archive) / "music/002").mkdir(exist_ok=True)
    (staging(archive) / "music/002/2.mp3").write_bytes(MEMBERS["music/002/2.mp3"][:500])
    (staging(archive) / "music/001/1.mp3").write_bytes(bytes(len(MEMBERS["music/001/1.mp3"])))
    first = (staging(archive) / "music/000/0.mp3").stat()
    unpack(archive, tmp_path / "raw", anything, 10**6)
    assert files(tmp_path / "raw") == MEMBERS
    assert (tmp_path / "raw/music/000/0.mp3").stat().st_mtime_ns == first.st_mtime_ns


def test_what_another_call_wanted_does_not_come_along(tmp_path: Path, archive: Path) -> None:
    (staging(archive) / "music/000").mkdir(parents=True)
    (staging(archive) / "music/000/0.mp3").write_bytes(MEMBERS["music/000/0.mp3"])
    unpack(archive, tmp_path / "raw", "music/003/3.mp3".__eq__, 10**6)
    assert set(files(tmp_path / "raw")) == {"music/003/3.mp3"}
    assert {path.name for path in (tmp_path / "raw/music").iterdir()} == {"003"}


@pytest.mark.parametrize("method", [ZIP_LZMA, 9])
def test_an_unknown_method_is_told(tmp_path: Path, archive: Path, method: int) -> None:
    patched(archive, "music/003/3.mp3", lambda entry, at: entry.__setitem__(at + 10, method))
    with pytest.raises(MusicGenreError, match=rf"'music/003/3\.mp3' has compression method {method}.*7-Zip"):
        unpack(archive, tmp_path / "raw", anything, 10**6)


def test_an_encrypted_member_is_told(tmp_path: Path, archive: Path) -> None:
    patched(archive, "music/003/3.mp3", lambda entry, at: entry.__setitem__(at + 8, 1))
    with pytest.raises(MusicGenreError, match=r"'music/003/3\.mp3'.*encrypted"):
        unpack(archive, tmp_path / "raw", anything, 10**6)


@pytest.mark.parametrize("size", [0, 100, 250_000, -1])
def test_half_an_archive_is_told(tmp_path: Path, archive: Path, size: int) -> None:
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(MusicGenreError, match=rf"{archive}: .*expected a zip archive"):
        unpack(archive, tmp_path / "raw", anything, 10**6)


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"music\.zip.*No such file"):
        unpack(tmp_path / "music.zip", tmp_path / "raw", anything, 10**6)


def test_an_archive_without_what_is_wanted_is_told(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"music\.zip: found 4 members; expected some of those wanted"):
        unpack(archive, tmp_path / "raw", "other".__eq__, 10**6)


def test_too_little_room_to_unpack_is_told_first(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(MusicGenreError, match=r"needs 400kB; .* has 300kB free"):
        unpack(archive, tmp_path / "raw", anything, 10**6)
    assert not staging(archive).exists()


def test_a_disk_that_takes_no_more_is_told_while_unpacking(tmp_path: Path, archive: Path) -> None:
    written(archive, {"music/a": b"a" * 10, "music/b": b"b" * 150_000})
    code = f"""
import pathlib
{LITTLE_DISK}
from music_genre.sources.download import unpack
unpack(pathlib.Path({str(archive)!r}), pathlib.Path({str(tmp_path / "raw")!r}), lambda name: True, 10**6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(rf"MusicGenreError: {archive}: .*File too large.*what is good stays", done.stderr)
    assert not (tmp_path / "raw").exists()
    unpack(archive, tmp_path / "raw", anything, 10**6)
    assert len(files(tmp_path / "raw")) == 2


def test_every_subset_has_its_archive() -> None:
    assert set(ARCHIVES) == {"metadata", *SUBSETS}
    for key, archive in ARCHIVES.items():
        assert archive.name == f"fma_{key}.zip"
        assert re.fullmatch("[0-9a-f]{40}", archive.sha1)
