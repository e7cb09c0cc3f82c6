"""Archives from the network: resumed by byte range, verified by SHA-1.

What an interruption leaves lies beside the archive: ``<name>.part`` the bytes so far, ``<name>.part.json`` the file
they are of. The archive's own name stands for verified bytes alone.
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
from music_genre.files import CHUNK, beside, disk_faults, require_room, size_of

TIMEOUTS_S = (10.0, 60.0)
"""To connect, and without a byte."""

WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each further try; begun again whenever more of the file has come than ever before."""

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
    part = beside(target, ".part")
    with disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(beside(target, ".lock")):
            if not target.exists():
                require_room(target, max(size - size_of(part), 0) + room)
                _transfer(url, part, size + size // 10)
                _verify(part, sha1)
                part.replace(target)
                beside(part, ".json").unlink()
            else:
                _verify(target, sha1)


def _transfer(url: str, part: Path, limit: int) -> None:
    """Receive until the part is whole; give up when all waits have passed and nothing new has come."""
    waits, most = iter(WAITS_S), size_of(part)
    with requests.Session() as session:
        while True:
            try:
                if _receive(session, url, part, limit):
                    return
                reason = "the answer ended early"
            except (requests.RequestException, HTTPError) as error:
                reason = _cause(error)
                if isinstance(error, ValueError):
                    raise MusicGenreError(f"{url}: {reason}; expected an address like https://host/folder/") from error
            if size_of(part) > most:
                waits, most = iter(WAITS_S), size_of(part)
            wait = next(waits, None)
            if wait is None:
                raise MusicGenreError(f"{url}: {reason}; {size_of(part)} bytes are kept, run again to go on from there")
            tqdm.write(f"{url}: {reason}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


def _cause(error: BaseException) -> str:
    """What went wrong in the first place, such as a refused connection: the errors around it repeat the address."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _receive(session: requests.Session, url: str, part: Path, limit: int) -> bool:
    """Ask once for what the part lacks; True where that makes it whole."""
    origin = _origin(part, url)
    have = size_of(part) if origin else 0
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
    return origin.total in (None, size_of(part))


def _origin(part: Path, url: str) -> Origin | None:
    """What the part is of; None where there is nothing to go on with."""
    try:
        origin = Origin(**json.loads(beside(part, ".json").read_text(encoding="utf-8")))
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
    new = beside(part, ".json.new")
    new.write_text(json.dumps(asdict(origin)), encoding="utf-8")
    new.replace(beside(part, ".json"))
    return origin


def _goes_on(response: requests.Response, origin: Origin, part: Path) -> bool:
    """Whether a partial answer is of the same file: not every server heeds ``If-Range``.

    Raises:
        MusicGenreError: it begins at another byte than was asked for.
    """
    found = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", found)
    if match is None or int(match[1]) != size_of(part):
        expected = f"expected bytes {size_of(part)}-: remove {part} to begin anew"
        raise MusicGenreError(f"{origin.url}: Content-Range is {found!r}; {expected}")
    header = "ETag" if (origin.if_range or "").startswith('"') else "Last-Modified"
    unchanged = origin.if_range in (None, response.headers.get(header, origin.if_range))
    return unchanged and (origin.total is None or match[2] in ("*", str(origin.total)))


def _append(response: requests.Response, part: Path, origin: Origin, limit: int) -> None:
    """Write the body as it comes in."""
    have = size_of(part)
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
    with path.open("rb") as file, _bar(f"Verifying {path.name}", size_of(path)) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != sha1:
        path.unlink()
        raise MusicGenreError(
            f"{path}: SHA-1 is {digest.hexdigest()}; expected {sha1}: it was removed, run again to download it anew"
        )


def _bar(text: str, total: int | None, initial: int = 0) -> Any:
    return tqdm(desc=text, total=total, initial=initial, unit="B", unit_scale=True)
