"""Archives from the network: resumed by byte range, verified by SHA-1, unpacked with care.

What an interruption leaves lies beside the archive: ``<name>.part`` the bytes so far, ``<name>.part.json`` the file
they are of, ``<name>.unpacking`` the members so far. The archive's own name stands for verified bytes alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import requests
from filelock import FileLock
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from music_genre.errors import MusicGenreError

TIMEOUTS_S = (10.0, 60.0)
"""To connect, and without a byte."""

WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each further try; begun again whenever more of the file has come than ever before."""

METHODS = (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2)
"""FMA's metadata are bzip2."""

CHUNK = 1 << 16
GIB = 1 << 30


@dataclass(frozen=True)
class Archive:
    """A published file: its name, the SHA-1 of its content, and about how many bytes it has."""

    name: str
    sha1: str
    bytes: int


ARCHIVES = {
    "metadata": Archive("fma_metadata.zip", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 342 << 20),
    "small": Archive("fma_small.zip", "ade154f733639d52e35e32f5593efe5be76c6d70", int(7.2 * GIB)),
    "medium": Archive("fma_medium.zip", "c67b69ea232021025fca9231fc1c7c1a063ab50b", 22 * GIB),
    "large": Archive("fma_large.zip", "497109f4dd721066b5ce5e5f250ec604dc78939e", 93 * GIB),
    "full": Archive("fma_full.zip", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", 879 * GIB),
}


@dataclass(frozen=True)
class Origin:
    """The file a part is of: its address, and its length and ETag (or date) where the server told them."""

    url: str
    total: int | None
    if_range: str | None


def download(url: str, target: Path, sha1: str, size: int, room: int = 0) -> None:
    """Bring a file to ``target``, going on where an earlier call was interrupted.

    A file that is there already is hashed again: that takes seconds where unpacking takes minutes, and a note that it
    was good once could go stale.

    Args:
        url: where to ask for it.
        target: where to put it.
        sha1: of its content.
        size: about how many bytes it has; more than a tenth above is refused.
        room: bytes that must be free besides, for what it unpacks to.

    Raises:
        MusicGenreError: no room, no such file, no answer after all tries (what came stays), or other content (it is
            removed).
    """
    part = _beside(target, ".part")
    with _disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(target, ".lock")):
            if not target.exists():
                _require_room(target, max(size - _size(part), 0) + room)
                _transfer(url, part, size + size // 10)
                _verify(part, sha1)
                part.replace(target)
                _beside(part, ".json").unlink()
            else:
                _verify(target, sha1)


def _transfer(url: str, part: Path, limit: int) -> None:
    """Receive until the part is whole; give up when all waits have passed and nothing new has come."""
    waits, most = iter(WAITS_S), _size(part)
    with requests.Session() as session:
        while True:
            try:
                if _receive(session, url, part, limit):
                    return
                reason = "the answer ended early"
            except (requests.RequestException, HTTPError) as error:
                reason = str(error.args[0] if error.args else error)
                if isinstance(error, ValueError):
                    raise MusicGenreError(f"{url}: {reason}; expected an address like https://host/folder/") from error
            if _size(part) > most:
                waits, most = iter(WAITS_S), _size(part)
            wait = next(waits, None)
            if wait is None:
                raise MusicGenreError(f"{url}: {reason}; {_size(part)} bytes are kept, run again to go on from there")
            tqdm.write(f"{url}: {reason}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


def _receive(session: requests.Session, url: str, part: Path, limit: int) -> bool:
    """Ask once for what the part lacks; True where that makes it whole."""
    origin = _origin(part, url)
    have = _size(part) if origin else 0
    if origin and origin.total == have:
        return True
    headers = {"Accept-Encoding": "identity"}
    if origin and have:
        headers["Range"] = f"bytes={have}-"
        if origin.if_range:
            headers["If-Range"] = origin.if_range
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S) as response:
        code, found = response.status_code, response.headers.get("Content-Range", "")
        if code in (408, 429) or code >= 500:
            raise requests.HTTPError(f"{code} {response.reason}")
        if code == 200:
            origin = _begin(response, url, part)
        elif not (origin and have and code in (206, 416)):
            raise MusicGenreError(f"{url}: {code} {response.reason}; expected 200 OK: see what data.fma.mirror names")
        elif code == 416 and found == f"bytes */{have}":
            return True
        elif code == 416 or not _goes_on(response, origin, part):
            part.unlink()
            raise requests.HTTPError("the file is another than at the last try, beginning anew")
        _append(response, part, origin, limit)
    return origin.total in (None, _size(part))


def _origin(part: Path, url: str) -> Origin | None:
    """What the part is of; None where there is nothing to go on with."""
    try:
        origin = Origin(**json.loads(_beside(part, ".json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return origin if origin.url == url and part.exists() else None


def _begin(response: requests.Response, url: str, part: Path) -> Origin:
    """Note what comes now. The old part goes first: killed in between, it must not pass for the new file's."""
    etag, length = response.headers.get("ETag", ""), response.headers.get("Content-Length", "")
    # A weak tag does not vouch for every byte.
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    origin = Origin(url, int(length) if length.isdecimal() else None, validator)
    part.unlink(missing_ok=True)
    new = _beside(part, ".json.new")
    new.write_text(json.dumps(asdict(origin)), encoding="utf-8")
    new.replace(_beside(part, ".json"))
    return origin


def _goes_on(response: requests.Response, origin: Origin, part: Path) -> bool:
    """Whether a partial answer is of the same file: not every server heeds ``If-Range``.

    Raises:
        MusicGenreError: it begins at another byte than was asked for.
    """
    found = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", found)
    if match is None or int(match[1]) != _size(part):
        expected = f"expected bytes {_size(part)}-: remove {part} to begin anew"
        raise MusicGenreError(f"{origin.url}: Content-Range is {found!r}; {expected}")
    header = "ETag" if (origin.if_range or "").startswith('"') else "Last-Modified"
    unchanged = origin.if_range in (None, response.headers.get(header, origin.if_range))
    return unchanged and (origin.total is None or match[2] in ("*", str(origin.total)))


def _append(response: requests.Response, part: Path, origin: Origin, limit: int) -> None:
    """Write the body as it comes in."""
    have = _size(part)
    with part.open("ab") as file, _bar(f"Downloading {part.stem}", origin.total, have) as bar:
        # read1, as iter_content drops what came in before a stall.
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            have += len(chunk)
            if max(have, origin.total or 0) > limit:
                part.unlink()
                raise MusicGenreError(f"{origin.url}: {origin.total or have} bytes; expected at most {limit}")
            file.write(chunk)
            bar.update(len(chunk))


def _verify(path: Path, sha1: str) -> None:
    """Remove the file and say so unless its content is the published one."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file, _bar(f"Verifying {path.name}", _size(path)) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != sha1:
        path.unlink()
        raise MusicGenreError(
            f"{path}: SHA-1 is {digest.hexdigest()}; expected {sha1}: it was removed, run again to download it anew"
        )


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
    staging = _beside(archive, ".unpacking")
    with _disk_faults(archive), FileLock(_beside(archive, ".lock")):
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
    _require_room(folder, size - sum(map(_size, there)))
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
    return path.is_file() and _size(path) == info.file_size and zlib.crc32(path.read_bytes()) == info.CRC


def _require_room(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if need > free:
        needed, there = (f"{tqdm.format_sizeof(count)}B" for count in (need, free))
        raise MusicGenreError(f"{path}: needs {needed}; {path.parent} has {there} free: make room there and run again")


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    """Tell what the disk refused, such as a full one."""
    try:
        yield
    except OSError as error:
        raise MusicGenreError(f"{path}: {error}; what is good stays, mend that and run again") from error


def _bar(text: str, total: int | None, initial: int = 0) -> Any:
    return tqdm(desc=text, total=total, initial=initial, unit="B", unit_scale=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
