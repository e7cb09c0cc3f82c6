"""What holds a recording, and how it is taken out of files that hold others, too."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from music_genre.files import atomic_write, atomic_write_text

# Names of plots that show single clips, on pages of a run and among its artifacts.
CLIP_PLOTS = ("top_errors.png", "saliency.png", "feature_maps.png", "embedding.png", "genre_examples.png")


@dataclass(frozen=True)
class Holder:
    """Something that holds the recording.

    Args:
        where: for people: a file, or a row of one.
        remove: takes the recording out of it. What is out already is no error.
    """

    where: str
    remove: Callable[[], object]


def file_holder(path: Path, where: str) -> Holder:
    """A file or folder that is removed as a whole."""
    return Holder(where, lambda: remove(path))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; one that is gone is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def table_names(path: Path, column: str, values: set[Any]) -> bool:
    """Whether a table, CSV or Parquet, has a row with one of some values in a column; False where it has no such
    column, or cannot be read.
    """
    try:
        if _is_parquet(path):
            found = pq.read_table(path, columns=[column])[column].to_pylist()
            return not values.isdisjoint(found)
        wanted = {str(value) for value in values}
        with path.open(encoding="utf-8", newline="") as file:
            return any(row.get(column) in wanted for row in csv.DictReader(file))
    except (OSError, ValueError, csv.Error, pa.ArrowException):
        return False


def drop_rows(path: Path, column: str, values: set[Any]) -> None:
    """Write a table again without the rows that have one of some values in a column; the others stay as they are."""
    if not path.exists():
        return
    if _is_parquet(path):
        table = pq.read_table(path)
        kept = table.filter(pc.invert(pc.is_in(table[column], pa.array(sorted(values), table[column].type))))
        with atomic_write(path) as temporary:
            pq.write_table(kept, temporary)
        return
    wanted = {str(value) for value in values}
    text = io.StringIO()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        writer = csv.DictWriter(text, reader.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in reader if row.get(column) not in wanted)
    atomic_write_text(path, text.getvalue())


def table_holder(path: Path, where: str, column: str, values: set[Any]) -> list[Holder]:
    """The rows of a table that have one of some values; none where it has no such row."""
    if not path.is_file() or not table_names(path, column, values):
        return []
    return [Holder(f"{where}: its row", lambda: drop_rows(path, column, values))]


def lines_holder(path: Path, where: str, is_of: Callable[[str], bool]) -> list[Holder]:
    """The lines of a file of ``files.JsonLines`` whose name ``is_of`` the recording; none where it has no such line."""

    def split_lines() -> tuple[list[bytes], list[bytes]]:
        ours: list[bytes] = []
        others: list[bytes] = []
        for line in path.read_bytes().splitlines(keepends=True):
            (ours if _has_name(line, is_of) else others).append(line)
        return ours, others

    def rewrite() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"".join(split_lines()[1]))

    if not path.is_file() or not split_lines()[0]:
        return []
    return [Holder(f"{where}: its line", rewrite)]


def _has_name(line: bytes, is_of: Callable[[str], bool]) -> bool:
    try:
        name, _ = json.loads(line)
    except (ValueError, TypeError):  # torn by a kill: nobody reads it
        return False
    return is_of(str(name))


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"
