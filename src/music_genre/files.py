"""Files: atomic writes, digests, and what the disk refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from music_genre.errors import MusicGenreError

if TYPE_CHECKING:
    import pandas as pd

# Columns of tables that hold text, also where it looks like a number or like nothing: a genre may be "NA" or "1".
TEXT_COLUMNS = frozenset(
    [
        "genre",
        "actual",
        "predicted",
        "path",
        "title",
        "split",
        "model",
        "first",
        "second",
        "severity",
        "reason",
        "detail",
        "note",
        "agreement",
        "calibration",
        "layer",
        "suggested",
        "artist_id",
    ]
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends without an exception, it replaces ``path``.

    Whoever reads ``path`` finds the old file or the whole new one, also after a kill.

    Yields:
        The path to write to, in the folder of ``path``, which is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path, ".part")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_csv(path: Path, text: Collection[str] = ()) -> pd.DataFrame:
    """A table as it was written: text stays text, and of numbers alone an empty cell is missing.

    Args:
        path: of a CSV file with a line of column names.
        text: columns that hold text besides ``TEXT_COLUMNS``.
    """
    import pandas as pd

    columns = pd.read_csv(path, nrows=0).columns
    is_text = [column for column in columns if column in TEXT_COLUMNS or column in text]
    missing = {column: [""] for column in columns if column not in is_text}
    return pd.read_csv(path, dtype=dict.fromkeys(is_text, str), keep_default_na=False, na_values=missing)


class JsonLines:
    """Values by name, one a line, which survive a kill: what was appended before it is there.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """The newest value of each name. A line that was torn by a kill is left out."""
        values: dict[str, Any] = {}
        if self.path.exists():
            for line in self.path.read_bytes().splitlines():
                try:
                    name, value = json.loads(line)
                except ValueError:
                    continue
                values[name] = value
        return values

    @contextmanager
    def appending(self) -> Iterator[Callable[[str, Any], None]]:
        """Give a function that appends a name and its value, which JSON can hold."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" if file.tell() else "")  # after a torn line

            def append(name: str, value: Any) -> None:
                file.write(json.dumps([name, value]) + "\n")
                file.flush()

            yield append


def sha256(*parts: str | bytes) -> str:
    """The SHA-256 of all parts, one after the other, in hexadecimal; text is UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """The SHA-256 of the names and contents of all files below ``folder``, in hexadecimal."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256(*(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n" for path in files))


def check_free_space(path: Path, n_bytes: int) -> None:
    """Refuse to start what the disk has no space for.

    Args:
        path: what is about to be written; its folder exists.
        n_bytes: its size.

    Raises:
        MusicGenreError: fewer than ``n_bytes`` bytes are free.
    """
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        needed, available = (f"{tqdm.format_sizeof(count)}B" for count in (n_bytes, free))
        raise MusicGenreError(f"{path}: needs {needed}; {path.parent} has {available} free: free some and run again")


@contextmanager
def translate_disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses, such as a full disk, into a ``MusicGenreError`` about ``path``."""
    try:
        yield
    except OSError as error:
        raise MusicGenreError(f"{path}: {error}; fix this and run again: finished files are kept") from error


def sibling(path: Path, suffix: str) -> Path:
    """``path`` with ``suffix`` appended to its name."""
    return path.with_name(path.name + suffix)


def file_size(path: Path) -> int:
    """The size in bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0
