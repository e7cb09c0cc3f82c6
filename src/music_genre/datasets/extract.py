"""Extract verified zip archives: bounded in size, and all or nothing."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Container, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from filelock import FileLock
from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.files import check_free_space, sibling, translate_disk_errors


def extract(archive: Path, target: Path, include: Container[str], max_bytes: int) -> list[str]:
    """Extract some members of a zip archive; ``target`` gets its top folders when every member is written, and keeps
    those that hold them already.

    ``zipfile`` writes neither links nor anything outside of the folder that it is given, and never more of a member
    than its stated size.

    Args:
        archive: the archive.
        target: the folder to fill; the archive's top folders in it are replaced.
        include: the names of the members to extract.
        max_bytes: that the members may have together.

    Returns:
        The names of the members.

    Raises:
        MusicGenreError: no space, none of the members, too many bytes, or a member that is damaged or has an unknown
            compression method.
    """
    staging = sibling(archive, ".extracting")
    with translate_disk_errors(archive), FileLock(sibling(archive, ".lock")):
        shutil.rmtree(staging, ignore_errors=True)  # of an interrupted call
        try:
            with ZipFile(archive) as file:
                members = _members(archive, file, include, max_bytes)
                if not all(_is_extracted(info, target / info.filename) for info in members):
                    _extract_to(staging, file, members)
        except (BadZipFile, ValueError) as error:
            raise MusicGenreError(f"{archive}: {error}; expected a zip archive: remove it and run again") from error
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(staging.iterdir()) if staging.exists() else ():
            shutil.rmtree(target / path.name, ignore_errors=True)
            shutil.move(path, target / path.name)  # which may be on another disk
        shutil.rmtree(staging, ignore_errors=True)
    return [info.filename for info in members]


def _members(archive: Path, file: ZipFile, include: Container[str], max_bytes: int) -> list[ZipInfo]:
    members = [info for info in file.infolist() if info.filename in include and not info.is_dir()]
    if not members:
        raise MusicGenreError(f"{archive}: none of its {len(file.infolist())} members is needed: remove it")
    size = sum(info.file_size for info in members)
    if size > max_bytes:
        raise MusicGenreError(f"{archive}: extracts to {size} bytes; expected at most {max_bytes}: remove it")
    return members


def _is_extracted(info: ZipInfo, path: Path) -> bool:
    """Whether a file has the size and checksum of a member."""
    return path.is_file() and path.stat().st_size == info.file_size and zlib.crc32(path.read_bytes()) == info.CRC


def _extract_to(folder: Path, file: ZipFile, members: Sequence[ZipInfo]) -> None:
    check_free_space(folder, sum(info.file_size for info in members))
    for info in tqdm(members, desc=f"Extracting {Path(str(file.filename)).stem}", unit="file"):
        try:
            file.extract(info, folder)
        except (BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's error; that of a damaged bzip2 member has no number
            raise BadZipFile(f"member {info.filename!r}: {error}") from error
