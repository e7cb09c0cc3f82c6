"""Music in folders named after genres, as GTZAN has it: ``<root>/<genre>/<any name>.mp3``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
from pydantic import field_validator
from tqdm import tqdm

from music_genre.config import OptionalPath, ParamsModel
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError
from music_genre.features.audio import SUPPORTED_SUFFIXES
from music_genre.files import check_free_space, file_size

# Audio that libsndfile does not read is listed, too, so that it is reported as undecodable.
UNSUPPORTED_SUFFIXES = frozenset({".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv", ".mpc", ".ra", ".amr", ".webm"})


class FolderParams(ParamsModel):
    """The section ``data.folder``.

    Args:
        path: a folder with a folder for each genre.
        artist_pattern: a regular expression over the file's name whose first group is the artist.
    """

    path: OptionalPath
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


def download(raw: Path, params: FolderParams, cache: Path, seed: int) -> None:
    """Copy every audio file of ``params.path``. Skipped, with a message: links that lead out of it, nowhere or, below a
    genre, to folders, names that are not UTF-8, and what may not be read.

    Raises:
        MusicGenreError: no folder is named, it holds no audio in genre folders, or there is no space for it.
    """
    if params.path is None:
        raise MusicGenreError("data.folder.path is empty: name a folder with a folder a genre")
    if not params.path.is_dir():
        raise MusicGenreError(f"data.folder.path: {params.path} is not a folder; expected one with a folder a genre")
    root = params.path.resolve()
    for folder in root.rglob("*/"):
        if folder.is_symlink() and folder.parent != root:
            _report_skipped(folder, "a link to a folder")
        elif not os.access(folder, os.R_OK | os.X_OK):
            _report_skipped(folder, "a folder that may not be read")
    files = []
    for path in _audio_paths(root):
        if not (path.is_file() and path.resolve().is_relative_to(root)):
            _report_skipped(path, "leads out of the folder, or nowhere")
        elif not _is_utf8(path.relative_to(root)):
            _report_skipped(path, "a name that is not UTF-8")
        elif not os.access(path, os.R_OK):
            _report_skipped(path, "a file that may not be read")
        else:
            files.append(path)
    if not files:
        expected = ", ".join(sorted(SUPPORTED_SUFFIXES))
        raise MusicGenreError(f"data.folder.path: no audio in {root}/<genre>/; expected {expected}")
    check_free_space(raw, sum(map(file_size, files)))
    for path in tqdm(files, desc="Copying clips", unit="clip"):
        target = raw / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def load_tracks(raw: Path, params: FolderParams) -> pd.DataFrame:
    """Tracks of a copied collection, numbered by path.

    Args:
        raw: the folder of genre folders.
        params: with the pattern that gives an artist; none where it does not match. An artist that the file's tags name
            takes its place when files are inspected.

    Returns:
        columns track_id, path, genre, artist_id, title, license, split; license and split are null.
    """
    paths = [path.relative_to(raw) for path in _audio_paths(raw) if path.is_file()]
    table = pd.DataFrame({"track_id": range(1, len(paths) + 1), "path": [path.as_posix() for path in paths]})
    table["genre"] = pd.array([path.parts[0] for path in paths], dtype="string")
    table["artist_id"] = pd.array([_artist(path, params.artist_pattern) for path in paths], dtype="string")
    table["title"] = pd.array([path.stem for path in paths], dtype="string")
    for column in ("license", "split"):
        table[column] = pd.array([None] * len(paths), dtype="string")
    return table


def _audio_paths(root: Path) -> list[Path]:
    """Files and links with an audio file's suffix in genre folders, by path. Hidden folders are no genres, and
    ``._song.mp3``, in which macOS keeps attributes on other file systems, is no audio.
    """
    suffixes = SUPPORTED_SUFFIXES | UNSUPPORTED_SUFFIXES
    return sorted(
        path
        for path in root.glob("*/**/*")
        if path.suffix.lower() in suffixes
        and not path.name.startswith("._")
        and not path.relative_to(root).parts[0].startswith(".")
        and (path.is_symlink() or path.is_file())
    )


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _report_skipped(path: Path, reason: str) -> None:
    tqdm.write(f"skipped {str(path)!a}: {reason}", file=sys.stderr)


def _artist(path: Path, pattern: str | None) -> str | None:
    match = re.search(pattern, path.stem) if pattern else None
    return match.group(1) if match else None


DATASET = Dataset(FolderParams, download, load_tracks, artists_from_tags=True)
