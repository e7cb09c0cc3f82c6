"""What lies at the sources, outside the project: listed before anything is copied, and compared with the last time.

Nothing here writes to a source, and none may overlap what DVC removes and writes again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from music_genre.errors import MusicGenreError
from music_genre.files import atomic_write

SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("mtime", pa.int64()), ("name", pa.string())])
SECTIONS_KEY = b"sections"  # of the table's metadata


@dataclass(frozen=True)
class SourceListing:
    """What a data set takes from outside the project.

    Args:
        files: by its name in the pipeline's copy (relative, with slashes), where each file lies.
        skipped: what was left out, in words.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListedFile:
    """A row of ``listing.parquet``.

    Args:
        path: where the file lies, absolute.
        size: in bytes.
        mtime: when it was last changed, in nanoseconds since 1970.
        name: its place in ``data/audio``.
    """

    path: str
    size: int
    mtime: int
    name: str


def check_overlap(roots: Iterable[Path], outs: Iterable[Path]) -> None:
    """Refuse sources that lie in what DVC removes and writes again, or that hold some of it.

    Args:
        roots: of the sources.
        outs: of the pipeline's stages; they need not exist.

    Raises:
        MusicGenreError: two of them are the same, or one lies in the other, also by way of links.
    """
    outs = [out.resolve() for out in outs]
    for root in roots:
        resolved = root.resolve()
        for out in outs:
            if _lies_in(resolved, out) or _lies_in(out, resolved):
                raise MusicGenreError(
                    f"{root} overlaps {out}, which DVC removes and writes again: files of yours would be lost;"
                    " name a folder that neither holds the project's data nor lies in it"
                )


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or below it, also where a folder is mounted under two names."""
    if path.is_relative_to(folder):
        return True
    if not folder.exists():
        return False
    return any(parent.exists() and parent.samefile(folder) for parent in (path, *path.parents))


def stat_files(files: Mapping[str, Path]) -> list[ListedFile]:
    """The rows of the listing, by name. Files that have just vanished are left out."""
    rows = []
    for name in sorted(files):
        try:
            status = files[name].stat()
        except FileNotFoundError:
            continue
        rows.append(ListedFile(str(files[name].absolute()), status.st_size, status.st_mtime_ns, name))
    return rows


def write_listing(path: Path, files: Sequence[ListedFile], sections: Mapping[str, object]) -> None:
    """Write ``listing.parquet``: the same bytes where nothing has changed.

    Args:
        path: of the file.
        files: by name.
        sections: by the name of each source, its values in ``params.yaml``: stage ``fetch`` depends on the listing
            alone.
    """
    columns = {name: [getattr(file, name) for file in files] for name in SCHEMA.names}
    metadata = {SECTIONS_KEY: json.dumps(sections, sort_keys=True, default=str)}
    with atomic_write(path) as temporary:
        pq.write_table(pa.table(columns, SCHEMA.with_metadata(metadata)), temporary)


def read_listing(path: Path) -> list[ListedFile]:
    """The rows of ``listing.parquet``; none where there is no such file, or one that cannot be read."""
    try:
        table = pq.read_table(path)
        return [ListedFile(**row) for row in table.select(SCHEMA.names).to_pylist()]
    except (OSError, pa.ArrowException, KeyError):
        return []


@dataclass(frozen=True)
class Changes:
    """How many files are new, gone and changed."""

    new: int
    gone: int
    changed: int

    @classmethod
    def between(cls, before: Sequence[ListedFile], after: Sequence[ListedFile]) -> Changes:
        """Compare two listings. A file is known by where it lies."""
        old, new = ({file.path: (file.size, file.mtime) for file in files} for files in (before, after))
        changed = sum(old[path] != new[path] for path in old.keys() & new.keys())
        return cls(len(new.keys() - old.keys()), len(old.keys() - new.keys()), changed)

    def __str__(self) -> str:
        parts = [(self.new, "new"), (self.gone, "gone"), (self.changed, "changed")]
        return ", ".join(f"{count:,} {word}" for count, word in parts if count) or "nothing changed"
