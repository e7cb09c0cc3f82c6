"""Archives are extracted whole or not at all, bounded in size, and into their folder only."""

from __future__ import annotations

import errno
import os
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
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest

from music_genre.datasets.extract import extract
from music_genre.errors import MusicGenreError

MEMBERS = {f"music/00{n}/{n}.mp3": random.Random(n).randbytes(100_000 + n) for n in range(4)}
METHODS = pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2])


def write_archive(path: Path, members: dict[str, bytes], method: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(ZipInfo(name), content, method)
    return path


def patch_entry(archive: Path, name: str, change: Callable[[bytearray, int], None]) -> None:
    """Change a member's entry in the central directory, which is what readers go by."""
    content = bytearray(archive.read_bytes())
    change(content, content.rindex(name.encode()) - 46)
    archive.write_bytes(content)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return write_archive(tmp_path / "cache/music.zip", MEMBERS)


@METHODS
def test_included_members_alone_are_extracted(tmp_path: Path, archive: Path, method: int) -> None:
    write_archive(archive, {"music/checksums": b"not included", "../evil": b"not included", **MEMBERS}, method)
    assert set(extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)) == set(MEMBERS)
    assert files(tmp_path / "audio") == MEMBERS
    assert set(archive.parent.iterdir()) == {archive, archive.with_name("music.zip.lock")}
    assert not (tmp_path / "evil").exists()


def test_zip64_and_folders_are_understood(tmp_path: Path, archive: Path) -> None:
    with ZipFile(archive, "w") as file:
        file.writestr("music/", b"")
        with file.open("music/a.mp3", "w", force_zip64=True) as member:
            member.write(b"long")
    extract(archive, tmp_path / "audio", {"music/", "music/a.mp3"}, 10)
    assert files(tmp_path / "audio") == {"music/a.mp3": b"long"}


def test_two_archives_fill_one_folder(tmp_path: Path, archive: Path) -> None:
    metadata = write_archive(archive.with_name("data.zip"), {"data/tracks.csv": b"x"})
    extract(metadata, tmp_path / "audio", {"data/tracks.csv"}, 10)
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert files(tmp_path / "audio") == {"data/tracks.csv": b"x", **MEMBERS}


@METHODS
def test_extracted_members_are_not_written_again(tmp_path: Path, archive: Path, method: int) -> None:
    def written() -> dict[Path, tuple[int, int]]:
        """Inode and time of change: a file that is written again has another."""
        paths = (tmp_path / "audio").rglob("*")
        return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in paths}

    write_archive(archive, MEMBERS, method)
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    before = written()
    assert extract(archive, tmp_path / "audio", set(MEMBERS), 10**6) == list(MEMBERS)
    assert written() == before


@pytest.mark.parametrize("harm", [b"", b"x" * 100_002, None], ids=["empty", "other bytes", "gone"])
def test_folder_whose_member_was_harmed_is_extracted_anew(tmp_path: Path, archive: Path, harm: bytes | None) -> None:
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    path = tmp_path / "audio/music/002/2.mp3"
    path.unlink() if harm is None else path.write_bytes(harm)
    (tmp_path / "audio/music/other.mp3").touch()
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert files(tmp_path / "audio") == MEMBERS


@pytest.mark.parametrize(
    "name", ["../evil", "music/../../evil", "/tmp/evil-member", "..", "../../../../../../tmp/evil-member"]
)
def test_nothing_is_written_outside_of_the_target(tmp_path: Path, archive: Path, name: str) -> None:
    name = name.format(tmp=tmp_path)
    write_archive(archive, {**MEMBERS, name: b"evil"})
    try:
        extract(archive, tmp_path / "deep/audio", {*MEMBERS, name}, 10**6)
    except MusicGenreError:
        assert not (tmp_path / "deep/audio").exists()
    outside = {path for path in files(tmp_path) if not path.startswith(("deep/audio/", "cache/music.zip"))}
    assert outside == set()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_become_plain_files(tmp_path: Path, archive: Path, kind: int) -> None:
    info = ZipInfo("music/link")
    info.external_attr = (kind | 0o777) << 16
    with ZipFile(archive, "a") as file:
        file.writestr(info, "/etc/passwd")
    extract(archive, tmp_path / "audio", {"music/link"}, 100)
    assert (tmp_path / "audio/music/link").is_file()
    assert not (tmp_path / "audio/music/link").is_symlink()
    assert files(tmp_path / "audio") == {"music/link": b"/etc/passwd"}


@METHODS
@pytest.mark.parametrize("understated", [False, True])
def test_bomb_is_refused(tmp_path: Path, archive: Path, method: int, understated: bool) -> None:
    write_archive(archive, {"music/a": b"a" * 90_000, "music/bomb": bytes(30_000_000)}, method)
    if understated:
        patch_entry(archive, "music/bomb", lambda entry, at: entry.__setitem__(slice(at + 24, at + 28), b"\1\0\0\0"))
    tracemalloc.start()
    with pytest.raises(MusicGenreError, match=r"music\.zip"):
        extract(archive, tmp_path / "audio", {"music/a", "music/bomb"}, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    staged = archive.with_name("music.zip.extracting")
    assert sum(map(len, files(staged).values())) <= 100_000
    assert not (tmp_path / "audio").exists()
    # `zipfile` decompresses 4 KiB of bzip2 at once, whatever they hold.
    assert peak < 5_000_000 or (method == ZIP_BZIP2 and understated)


def test_members_that_share_their_bytes_count_each(tmp_path: Path, archive: Path) -> None:
    """The bomb whose entries all point at the same data."""
    write_archive(archive, {"music/0": bytes(50_000), "music/1": b"", "music/2": b""}, ZIP_DEFLATED)
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
    with pytest.raises(MusicGenreError, match="extracts to 150000 bytes; expected at most 100000"):
        extract(archive, tmp_path / "audio", {"music/0", "music/1", "music/2"}, 100_000)
    assert not (tmp_path / "audio").exists()


@METHODS
def test_damaged_member_is_named_and_nothing_is_extracted(tmp_path: Path, archive: Path, method: int) -> None:
    write_archive(archive, MEMBERS, method)
    content = archive.read_bytes()
    with ZipFile(archive) as file:
        at = file.getinfo("music/002/2.mp3").header_offset + 50_000
    archive.write_bytes(content[:at] + bytes(100) + content[at + 100 :])
    with pytest.raises(MusicGenreError, match=r"music\.zip: member 'music/002/2\.mp3': .*run again"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert not (tmp_path / "audio").exists()
    archive.write_bytes(content)
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert files(tmp_path / "audio") == MEMBERS


@METHODS
def test_wrong_checksum_is_refused(tmp_path: Path, archive: Path, method: int) -> None:
    write_archive(archive, MEMBERS, method)
    patch_entry(archive, "music/002/2.mp3", lambda entry, at: entry.__setitem__(slice(at + 16, at + 20), b"\1\2\3\4"))
    with pytest.raises(MusicGenreError, match=r"music\.zip: member 'music/002/2\.mp3': .*CRC-32"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert not (tmp_path / "audio").exists()


def test_interrupted_extraction_leaves_no_half_folder(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, extracted = ZipFile.extract, []

    def extract_two(self: ZipFile, info: ZipInfo, path: Path) -> str:
        if len(extracted) == 2:
            raise KeyboardInterrupt
        extracted.append(info.filename)
        return real(self, info, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ZipFile, "extract", extract_two)
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert not (tmp_path / "audio").exists()
    # The next call may include other members; those of the first must not come along.
    extract(archive, tmp_path / "audio", {"music/003/3.mp3"}, 10**6)
    assert set(files(tmp_path / "audio")) == {"music/003/3.mp3"}


def test_archive_may_be_on_another_disk(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: str | Path, target: str | Path) -> None:
        if Path(source).is_relative_to(archive.parent) and not Path(target).is_relative_to(archive.parent):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert files(tmp_path / "audio") == MEMBERS
    assert not archive.with_name("music.zip.extracting").exists()


@pytest.mark.parametrize("method", [9, 99])
def test_unknown_compression_method_is_refused(tmp_path: Path, archive: Path, method: int) -> None:
    patch_entry(archive, "music/003/3.mp3", lambda entry, at: entry.__setitem__(at + 10, method))
    with pytest.raises(MusicGenreError, match=r"'music/003/3\.mp3': .*compression"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)


def test_encrypted_member_is_refused(tmp_path: Path, archive: Path) -> None:
    patch_entry(archive, "music/003/3.mp3", lambda entry, at: entry.__setitem__(at + 8, 1))
    with pytest.raises(MusicGenreError, match=r"'music/003/3\.mp3'.*encrypted"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)


@pytest.mark.parametrize("size", [0, 100, 250_000, -1])
def test_truncated_archive_is_refused(tmp_path: Path, archive: Path, size: int) -> None:
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(MusicGenreError, match=rf"{archive}: .*expected a zip archive"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)


def test_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"music\.zip.*No such file"):
        extract(tmp_path / "music.zip", tmp_path / "audio", set(MEMBERS), 10**6)


def test_archive_without_included_members_is_refused(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"music\.zip: none of its 4 members is needed"):
        extract(archive, tmp_path / "audio", {"other"}, 10**6)


def test_too_little_space_is_reported_before_extraction(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(MusicGenreError, match=r"needs 400kB; .* has 300kB free"):
        extract(archive, tmp_path / "audio", set(MEMBERS), 10**6)
    assert not archive.with_name("music.zip.extracting").exists()


def test_full_disk_is_reported_during_extraction(tmp_path: Path, archive: Path) -> None:
    write_archive(archive, {"music/a": b"a" * 10, "music/b": b"b" * 150_000})
    code = f"""
import pathlib, resource
from music_genre.datasets.extract import extract
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
extract(pathlib.Path({str(archive)!r}), pathlib.Path({str(tmp_path / "audio")!r}), {{"music/a", "music/b"}}, 10**6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(rf"MusicGenreError: {archive}: .*File too large", done.stderr)
    assert not (tmp_path / "audio").exists()
    extract(archive, tmp_path / "audio", {"music/a", "music/b"}, 10**6)
    assert len(files(tmp_path / "audio")) == 2
