"""Music in folders named after genres, as GTZAN has it: ``<root>/<genre>/<any name>.mp3``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

import pandas as pd
from pydantic import BeforeValidator, field_validator

from music_genre.audio.folder import SYSTEM_FOLDERS
from music_genre.audio.kinds import AUDIO_SUFFIXES
from music_genre.config import ParamsModel
from music_genre.datasets.listing import SourceListing
from music_genre.datasets.names import artist_of_folders
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError

# Folders of these names hold genres, and are none: their parent was named.
NO_GENRES = frozenset(
    [
        "train",
        "training",
        "test",
        "testing",
        "val",
        "valid",
        "validation",
        "eval",
        "dev",
        "audio",
        "data",
        "genres",
        "genres_original",
        "music",
    ]
)


def _paths(value: object) -> object:
    """One path or several as a list; empty ones are none."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(path for path in values if path)


class FolderParams(ParamsModel):
    """The section ``data.folder``.

    Args:
        path: a folder with a folder for each genre; or several.
        artist_pattern: a regular expression whose first group is the artist, over a file's path below the folder:
            ``<genre>/.../<file>``.
    """

    path: Annotated[tuple[Path, ...], BeforeValidator(_paths)]
    artist_pattern: str | None

    @field_validator("artist_pattern")
    @classmethod
    def check_artist_pattern(cls, pattern: str | None) -> str | None:
        """It must be a regular expression with a group."""
        try:
            if pattern is not None and re.compile(pattern).groups < 1:
                raise ValueError("a regular expression with a group is needed")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern


def list_files(params: FolderParams) -> SourceListing:
    """Every audio file in the genre folders of ``params.path``. Left out: hidden and system folders, companions that
    macOS keeps beside files (``._song.mp3``), links that lead out of the folder, nowhere or, below a genre, to folders,
    names that are not UTF-8, and what may not be read.

    Raises:
        MusicGenreError: no folder is named, or what it holds are no genres; the message says what it seems to be.
    """
    if not params.path:
        raise MusicGenreError("data.folder.path is empty: name a folder with a folder a genre")
    files: dict[str, Path] = {}
    skipped: Counter[str] = Counter()
    for root, label in zip(params.path, _labels(params.path), strict=True):
        if not root.is_dir():
            raise MusicGenreError(
                f"data.folder.path: {root} is not a folder here; expected one with a folder a genre"
                " (as an absolute path for experiments in a folder of their own). Where data/audio has a copy,"
                " `dvc repro --downstream inspect` goes on with that"
            )
        found = sorted(_walk(root.resolve(), skipped))
        _check_layout(root, found)
        n_direct = sum("/" not in name for name in found)
        if n_direct:
            skipped["a file that lies in no genre's folder"] += n_direct
        files |= {f"{label}/{name}": root.resolve() / name for name in found if "/" in name}
    notes = [f"{reason} ({count:,})" if count > 1 else reason for reason, count in sorted(skipped.items())]
    return SourceListing(files, tuple(notes))


def _labels(roots: tuple[Path, ...]) -> list[str]:
    """A name for each root: its folder's, with a number where two have the same."""
    names = [root.resolve().name or "root" for root in roots]
    return [f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def _walk(root: Path, skipped: Counter[str]) -> Iterator[str]:
    """Names of audio files, relative to ``root``, with slashes; files that lie directly in it are named, too."""
    pending = [root]
    while pending:
        folder = pending.pop()
        if not os.access(folder, os.R_OK | os.X_OK):
            skipped[f"a folder that may not be read: {_shown(folder, root)}"] += 1
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    reason = _reason_to_skip_folder(entry, root)
                    if reason:
                        skipped[reason] += 1
                    else:
                        pending.append(Path(entry.path))
                elif Path(entry.name).suffix.lower() in AUDIO_SUFFIXES:
                    reason = _reason_to_skip_file(entry, root)
                    if reason:
                        skipped[reason] += 1
                    else:
                        yield os.path.relpath(entry.path, root).replace(os.sep, "/")


def _reason_to_skip_folder(entry: os.DirEntry[str], root: Path) -> str | None:
    if entry.name.startswith(".") or entry.name.casefold() in SYSTEM_FOLDERS:
        return f"a hidden or system folder: {_text(entry.name)}"
    if entry.is_symlink() and Path(entry.path).parent != root:
        return f"a link to a folder: {_shown(entry.path, root)}"
    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root):
        return f"a link that leads out of the folder: {_shown(entry.path, root)}"
    return None


def _reason_to_skip_file(entry: os.DirEntry[str], root: Path) -> str | None:
    path = Path(entry.path)
    if entry.name.startswith("._"):
        return "a companion that macOS keeps beside a file (._name)"
    if _text(entry.path) != entry.path:
        return f"a name that is not UTF-8: {_shown(path, root)}"
    if not entry.is_file() or not path.resolve().is_relative_to(root):
        return f"leads out of the folder, or nowhere: {_shown(path, root)}"
    if not os.access(path, os.R_OK):
        return f"a file that may not be read: {_shown(path, root)}"
    return None


def _check_layout(root: Path, names: list[str]) -> None:
    """Refuse a folder whose folders are no genres, with the likely cause."""
    paths = [name.split("/") for name in names]
    genres = {parts[0] for parts in paths if len(parts) > 1}
    if paths and not genres:
        raise MusicGenreError(
            f"data.folder.path: {root} holds {len(paths)} audio files and no folder with any: it looks like one genre;"
            f" name its parent, {root.resolve().parent}"
        )
    if not genres:
        expected = ", ".join(sorted(AUDIO_SUFFIXES))
        raise MusicGenreError(f"data.folder.path: no audio in {root}/<genre>/; expected {expected}")
    inner = {parts[1] for parts in paths if len(parts) > 2}
    if len(genres) == 1 and len(inner) > 1 and not any(len(parts) == 2 for parts in paths):
        only = root / min(genres)
        raise MusicGenreError(
            f"data.folder.path: all audio of {root} lies in one folder, {only.name}, which holds {len(inner)} more"
            f" ({', '.join(sorted(inner)[:3])}): if those are the genres, name {only}"
        )
    if all(genre.casefold() in NO_GENRES for genre in genres):
        folders = ", ".join(str(root / genre) for genre in sorted(genres))
        raise MusicGenreError(
            f"data.folder.path: the folders of {root} are {', '.join(sorted(genres))}, which are no genres; name what"
            f" holds the genres, as a list where it is several: {folders}"
        )


def load_tracks(audio: Path, params: FolderParams) -> pd.DataFrame:
    """Tracks of a copied collection.

    Args:
        audio: the pipeline's copy: ``<name of a folder>/<genre>/...``.
        params: with the pattern that gives an artist. Where it gives none, the folder below the genre's does. An artist
            that the file's tags name takes its place when files are inspected.

    Returns:
        columns track_id (null: by the audio), path, genre, artist_id, title, license, split; license and split are
        null.
    """
    rows = []
    for name in sorted(_copied_files(audio)):
        genre, *below = name.split("/")[1:]
        artist = _artist(name.split("/", 1)[1], params.artist_pattern) or artist_of_folders(tuple(below))
        rows.append((name, genre, artist, PurePosixPath(name).stem))
    table = pd.DataFrame(rows, columns=["path", "genre", "artist_id", "title"], dtype="string")
    for column in ("license", "split"):
        table[column] = pd.array([None] * len(table), dtype="string")
    table.insert(0, "track_id", pd.array([None] * len(table), dtype="Int64"))
    return table


def _copied_files(audio: Path) -> Iterator[str]:
    """Names of the files in the pipeline's copy, relative to it; with some DVC settings they are links."""
    for folder, _, names in os.walk(audio):
        prefix = os.path.relpath(folder, audio).replace(os.sep, "/")
        yield from (f"{prefix}/{name}" for name in names)


def _artist(name: str, pattern: str | None) -> str | None:
    match = re.search(pattern, name) if pattern else None
    return match.group(1) if match else None


def _text(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _shown(path: str | Path, root: Path) -> str:
    return ascii(os.path.relpath(path, root))


DATASET = Dataset(FolderParams, load_tracks, list_files, artists_from_tags=True)
