"""Archives unpacked with care: nothing outside the target, no more than is allowed, whole or not at all.

What an interruption leaves lies beside the archive: ``<name>.unpacking``, the members so far.
"""

from __future__ import annotations

import shutil
import stat
import zlib
from collections.abc import Callable
from copy import copy
from pathlib import Path, PureWindowsPath
from typing import IO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from filelock import FileLock
from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.files import CHUNK, beside, disk_faults, require_room, size_of

METHODS = (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2)
"""FMA's metadata are bzip2."""


def unpack(archive: Path, target: Path, wanted: Callable[[str], bool], max_bytes: int) -> None:
    """Unpack a zip archive; ``target`` gets its top folders whole, when every member is written.

    Members that an interrupted call left are kept where their CRC-32 is right.

    Args:
        archive: the archive.
        target: the folder to fill; it must not hold any of the archive's top folders.
        wanted: says of a member's name whether to unpack it.
        max_bytes: no more than that is written, whatever the archive says of its sizes.

    Raises:
        MusicGenreError: no room, nothing wanted in it, too much in it, or a member that would lie outside, is no
            plain file, is damaged or compressed by an unknown method.
    """
    staging = beside(archive, ".unpacking")
    with disk_faults(archive), FileLock(beside(archive, ".lock")):
        try:
            with ZipFile(archive) as file:
                members = _members(file, staging, wanted)
                size = sum(info.file_size for info in members.values())
                if size > max_bytes:
                    raise MusicGenreError(
                        f"{archive}: unpacks to {size} bytes; expected at most {max_bytes}: remove it"
                    )
                _unpack(file, members, staging, size)
        except (BadZipFile, RuntimeError, ValueError) as error:
            raise MusicGenreError(f"{archive}: {error}; expected a zip archive: remove it and run again") from error
        target.mkdir(parents=True, exist_ok=True)
        for folder in sorted(staging.iterdir()):
            folder.rename(target / folder.name)
        staging.rmdir()


def _members(file: ZipFile, folder: Path, wanted: Callable[[str], bool]) -> dict[Path, ZipInfo]:
    """The wanted files by where they go, every one checked before the first is written."""
    members: dict[Path, ZipInfo] = {}
    for info in file.infolist():
        if info.is_dir() or not wanted(info.filename):
            continue
        path, name, fault = folder / info.filename, PureWindowsPath(info.filename), None
        if name.anchor or ".." in name.parts or not path.resolve().is_relative_to(folder.resolve()):
            fault = "leads out of the target"
        elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            fault = "is no plain file"
        elif path in members:
            fault = "is there twice"
        elif info.compress_type not in METHODS:
            fault = f"has compression method {info.compress_type}; expected 0, 8 or 12: unpack it with 7-Zip"
        if fault:
            raise MusicGenreError(f"{file.filename}: member {info.filename!r} {fault}; nothing was unpacked")
        members[path] = info
    if not members:
        raise MusicGenreError(f"{file.filename}: found {len(file.infolist())} members; expected some of those wanted")
    return members


def _unpack(file: ZipFile, members: dict[Path, ZipInfo], folder: Path, size: int) -> None:
    """Write what is not there yet."""
    there = {path for path in folder.rglob("*") if path.is_file()}
    if there - members.keys():  # left by a call that wanted others
        shutil.rmtree(folder)
    require_room(folder, size - sum(map(size_of, there)))
    for path, info in tqdm(members.items(), desc=f"Unpacking {folder.stem}", unit="file"):
        if not _is_whole(path, info):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(file, info, path)


def _write(file: ZipFile, info: ZipInfo, path: Path) -> None:
    """Unpack one member, never more of it than the archive says."""
    written = crc = 0
    try:
        with _open(file, info) as source, path.open("wb") as sink:
            while chunk := source.read(CHUNK):
                written, crc = written + len(chunk), zlib.crc32(chunk, crc)
                if written > info.file_size:
                    raise BadZipFile(f"over {info.file_size} bytes; expected no more")
                sink.write(chunk)
        if crc != info.CRC:
            raise BadZipFile(f"CRC-32 is {crc:08x}; expected {info.CRC:08x}")
    except (BadZipFile, zlib.error, EOFError, RuntimeError, ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; bz2 gives no number
        raise MusicGenreError(f"{file.filename}: member {info.filename!r}: {error}; remove it and run again") from error


def _open(file: ZipFile, info: ZipInfo) -> IO[bytes]:
    """A member to read in small pieces.

    Of bzip2, ``zipfile`` unpacks at once all that a piece of 4 KiB holds, up to gigabytes; ``bz2`` as much as it is
    asked for.
    """
    if info.compress_type != ZIP_BZIP2:
        return file.open(info)
    import bz2  # some builds of Python lack it

    packed = copy(info)
    packed.compress_type, packed.file_size = ZIP_STORED, info.compress_size
    del packed.CRC  # of the unpacked bytes, not of these
    return bz2.open(file.open(packed))


def _is_whole(path: Path, info: ZipInfo) -> bool:
    return path.is_file() and size_of(path) == info.file_size and zlib.crc32(path.read_bytes()) == info.CRC
