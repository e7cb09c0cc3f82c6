"""What bringing a collection asks of the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from music_genre.errors import MusicGenreError

CHUNK = 1 << 16
"""Bytes read at a time."""


def require_room(path: Path, need: int) -> None:
    """Say so before work begins that the disk has no room for.

    Raises:
        MusicGenreError: fewer than ``need`` bytes are free beside ``path``.
    """
    free = shutil.disk_usage(path.parent).free
    if need > free:
        needed, there = (f"{tqdm.format_sizeof(count)}B" for count in (need, free))
        raise MusicGenreError(f"{path}: needs {needed}; {path.parent} has {there} free: make room there and run again")


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Tell what the disk refused, such as a full one."""
    try:
        yield
    except OSError as error:
        raise MusicGenreError(f"{path}: {error}; what is good stays, mend that and run again") from error


def beside(path: Path, ending: str) -> Path:
    """Another name in the same folder."""
    return path.with_name(path.name + ending)


def size_of(path: Path) -> int:
    """Bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0
