"""Archives unpacked: nothing outside the target, no bombs, nothing half done."""

from __future__ import annotations

import random
import re
import shutil
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest

from music_genre.datasets.extract import unpack
from music_genre.errors import MusicGenreError

MEMBERS = {f"music/00{n}/{n}.mp3": random.Random(n).randbytes(100_000 + n) for n in range(4)}
LITTLE_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"


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
from music_genre.sources.unpacking import unpack
unpack(pathlib.Path({str(archive)!r}), pathlib.Path({str(tmp_path / "raw")!r}), lambda name: True, 10**6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(rf"MusicGenreError: {archive}: .*File too large.*what is good stays", done.stderr)
    assert not (tmp_path / "raw").exists()
    unpack(archive, tmp_path / "raw", anything, 10**6)
    assert len(files(tmp_path / "raw")) == 2
