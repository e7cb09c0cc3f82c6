"""Extract verified zip archives: bounded in size, and all or nothing."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Container
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from filelock import FileLock
from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.files import check_free_space, sibling, translate_disk_errors


def extract(archive: Path, target: Path, include: Container[str], max_bytes: int) -> None:
    """Extract some members of a zip archive; ``target`` gets its top folders when every member is written.

    ``zipfile`` writes neither links nor anything outside of the folder that it is given, and never more of a member
    than its stated size.

    Args:
        archive: the archive.
        target: the folder to fill; it must not hold any of the archive's top folders.
        include: the names of the members to extract.
        max_bytes: that the members may have together.

    Raises:
        MusicGenreError: no space, none of the members, too many bytes, or a member that is damaged or has an unknown
            compression method.
    """
    staging = sibling(archive, ".extracting")
    with translate_disk_errors(archive), FileLock(sibling(archive, ".lock")):
        shutil.rmtree(staging, ignore_errors=True)  # of an interrupted call
        try:
            _extract_to(staging, archive, include, max_bytes)
        except (BadZipFile, ValueError) as error:
            raise MusicGenreError(f"{archive}: {error}; expected a zip archive: remove it and run again") from error
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(staging.iterdir()):
            path.rename(target / path.name)
        staging.rmdir()


def _extract_to(folder: Path, archive: Path, include: Container[str], max_bytes: int) -> None:
    with ZipFile(archive) as file:
        members = [info for info in file.infolist() if info.filename in include and not info.is_dir()]
        if not members:
            raise MusicGenreError(f"{archive}: none of its {len(file.infolist())} members is needed: remove it")
        size = sum(info.file_size for info in members)
        if size > max_bytes:
            raise MusicGenreError(f"{archive}: extracts to {size} bytes; expected at most {max_bytes}: remove it")
        check_free_space(folder, size)
        for info in tqdm(members, desc=f"Extracting {archive.stem}", unit="file"):
            try:
                file.extract(info, folder)
            except (BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's error; that of a damaged bzip2 member has no number
                raise BadZipFile(f"member {info.filename!r}: {error}") from error
