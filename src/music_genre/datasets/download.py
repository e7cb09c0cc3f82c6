"""Files from the network: resumed by byte range, verified by SHA-1.

An interrupted download leaves ``<name>.part``, the bytes so far, and ``<name>.part.json``, the version of the file that
they belong to. Only verified bytes get the file's own name.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from music_genre.errors import MusicGenreError
from music_genre.files import atomic_write_text, check_free_space, file_size, sibling, translate_disk_errors

CHUNK_BYTES = 1 << 16  # read at a time
TIMEOUTS_S = (10.0, 60.0)  # to connect, and between two bytes
RETRY_DELAYS_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # before each further try; from the first again after any progress


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, the SHA-1 of its content, and about how many bytes it has."""

    name: str
    sha1: str
    bytes: int


@dataclass(frozen=True)
class RemoteVersion:
    """The version of a file that a part belongs to.

    Args:
        url: its address.
        total: its bytes, where the server gave them.
        if_range: its ETag or, where that is weak or missing, its date, where the server gave one.
    """

    url: str
    total: int | None
    if_range: str | None


def download_file(url: str, target: Path, file: RemoteFile, extra_bytes: int = 0) -> None:
    """Download a file to ``target``, or go on with an interrupted download.

    A file that exists is verified again: that takes seconds where extraction takes minutes.

    Args:
        url: its address.
        target: its place.
        file: its SHA-1 and size; more than a tenth above that size is refused.
        extra_bytes: that must be free besides, for what the file extracts to.

    Raises:
        MusicGenreError: no space, no such file, no response after all tries (the part is kept), or other content (it is
            removed).
    """
    part = sibling(target, ".part")
    with translate_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(sibling(target, ".lock")):
            if target.exists():
                _verify(target, file.sha1)
                return
            check_free_space(target, max(file.bytes - file_size(part), 0) + extra_bytes)
            download_part(url, part, file.bytes + file.bytes // 10)
            _verify(part, file.sha1)
            part.replace(target)
            sibling(part, ".json").unlink()


def download_part(url: str, part: Path, max_bytes: int) -> None:
    """Request until the part is complete; give up after all delays without progress."""
    delays, best = iter(RETRY_DELAYS_S), file_size(part)
    with requests.Session() as session:
        while True:
            try:
                if _request_once(session, url, part, max_bytes):
                    return
                reason = "the response ended early"
            except (requests.RequestException, HTTPError) as error:
                reason = _root_cause(error)
                if isinstance(error, ValueError):
                    raise MusicGenreError(f"{url}: {reason}; expected an address like https://host/folder/") from error
            if file_size(part) > best:
                delays, best = iter(RETRY_DELAYS_S), file_size(part)
            delay = next(delays, None)
            if delay is None:
                raise MusicGenreError(f"{url}: {reason}; {file_size(part)} bytes are kept, run again to go on")
            tqdm.write(f"{url}: {reason}; trying again in {delay:g} s", file=sys.stderr)
            time.sleep(delay)


def _root_cause(error: BaseException) -> str:
    """The message of the first error, such as a refused connection: those around it repeat the address."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _request_once(session: requests.Session, url: str, part: Path, max_bytes: int) -> bool:
    """Request what the part lacks; True if it is complete then."""
    version = _load_version(part, url)
    size = file_size(part) if version else 0
    if version and version.total == size:
        return True
    headers = {"Accept-Encoding": "identity"}
    if version and size:
        headers["Range"] = f"bytes={size}-"
        if version.if_range:
            headers["If-Range"] = version.if_range
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUTS_S) as response:
        status, content_range = response.status_code, response.headers.get("Content-Range", "")
        if status in (408, 429) or status >= 500:
            raise requests.HTTPError(f"{status} {response.reason}")
        if status == 200:
            version = _start(response, url, part)
        elif not (version and size and status in (206, 416)):
            raise MusicGenreError(f"{url}: {status} {response.reason}; expected 200 OK: check its address in params")
        elif status == 416 and content_range == f"bytes */{size}":
            return True
        elif status == 416 or not _is_same_file(response, version, part):
            part.unlink()
            raise requests.HTTPError("the file has changed since the last try, starting over")
        _append(response, part, version, max_bytes)
    return version.total in (None, file_size(part))


def _load_version(part: Path, url: str) -> RemoteVersion | None:
    """The version that the part belongs to; None where there is no part of ``url``."""
    try:
        version = RemoteVersion(**json.loads(sibling(part, ".json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return version if version.url == url and part.exists() else None


def _start(response: requests.Response, url: str, part: Path) -> RemoteVersion:
    """Store the version that comes now. The old part is removed first: after a kill in between, it must not pass for a
    part of the new version.
    """
    etag, length = response.headers.get("ETag", ""), response.headers.get("Content-Length", "")
    # A weak ETag does not promise that every byte is the same.
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    version = RemoteVersion(url, int(length) if length.isdecimal() else None, validator)
    part.unlink(missing_ok=True)
    atomic_write_text(sibling(part, ".json"), json.dumps(asdict(version)))
    return version


def _is_same_file(response: requests.Response, version: RemoteVersion, part: Path) -> bool:
    """Whether a partial response is of the same version: not every server heeds ``If-Range``.

    Raises:
        MusicGenreError: it begins at another byte than the part ends with.
    """
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    if match is None or int(match[1]) != file_size(part):
        expected = f"expected bytes {file_size(part)}-: remove {part} to start over"
        raise MusicGenreError(f"{version.url}: Content-Range is {content_range!r}; {expected}")
    header = "ETag" if (version.if_range or "").startswith('"') else "Last-Modified"
    unchanged = version.if_range in (None, response.headers.get(header, version.if_range))
    return unchanged and (version.total is None or match[2] in ("*", str(version.total)))


def _append(response: requests.Response, part: Path, version: RemoteVersion, max_bytes: int) -> None:
    """Write the body as it arrives."""
    size = file_size(part)
    with part.open("ab") as file, _progress(f"Downloading {part.stem}", version.total, size) as progress:
        # read1, as iter_content drops what arrived before a stall.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if max(size, version.total or 0) > max_bytes:
                part.unlink()
                raise MusicGenreError(f"{version.url}: {version.total or size} bytes; expected at most {max_bytes}")
            file.write(chunk)
            progress.update(len(chunk))


def _verify(path: Path, sha1: str) -> None:
    """Remove the file and raise unless its content is the published one."""
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file, _progress(f"Verifying {path.name}", file_size(path)) as progress:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            progress.update(len(chunk))
    if digest.hexdigest() != sha1:
        path.unlink()
        raise MusicGenreError(
            f"{path}: SHA-1 is {digest.hexdigest()}; expected {sha1}: it was removed, run again to download it anew"
        )


def _progress(description: str, total: int | None, initial: int = 0) -> Any:
    return tqdm(desc=description, total=total, initial=initial, unit="B", unit_scale=True)
