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

from music_genre.config import ParamsModel
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError
from music_genre.files import require_room, size_of

DECODED = frozenset({".mp3", ".wav", ".flac", ".ogg", ".opus", ".au", ".aif", ".aiff"})
NOT_DECODED = frozenset({".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv", ".mpc", ".ra", ".amr", ".webm"})
"""Names of audio files. Those that libsndfile does not read are listed, too, so that they are told as faults."""


class FolderParams(ParamsModel):
    """The section ``data.folder``.

    Args:
        path: a folder with a folder for each genre.
        artist_pattern: a regular expression over the file's name whose first group is the artist.
    """

    path: Path | None
    artist_pattern: str | None

    @field_validator("artist_pattern")
    @classmethod
    def check_artist_pattern(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and re.compile(pattern).groups < 1:
                raise ValueError("a regular expression with a group is needed")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern


def copy_folder(raw: Path, params: FolderParams, cache: Path | None = None, seed: int = 0) -> None:
    """Copy every audio file of ``params.path``. Links that lead out of it, nowhere or, below a genre, to folders, names
    that are no UTF-8 and what may not be read are left behind, and told.

    Raises:
        MusicGenreError: no folder is named, it holds no audio in genre folders, or there is no room for it.
    """
    if params.path is None or not params.path.is_dir():
        raise MusicGenreError(f"data.folder.path: {params.path} is not a folder; expected one with a folder a genre")
    root = params.path.resolve()
    inside = []
    for folder in root.rglob("*/"):
        if folder.is_symlink() and folder.parent != root:
            _leave_behind(folder, "a link to a folder")
        elif not os.access(folder, os.R_OK | os.X_OK):
            _leave_behind(folder, "a folder that may not be read")
    for path in _named_like_audio(root):
        if not (path.is_file() and path.resolve().is_relative_to(root)):
            _leave_behind(path, "leads out of the folder, or nowhere")
        elif not _is_text(path.relative_to(root)):
            _leave_behind(path, "a name that is not UTF-8")
        elif not os.access(path, os.R_OK):
            _leave_behind(path, "a file that may not be read")
        else:
            inside.append(path)
    require_room(raw, sum(map(size_of, inside)))
    for path in tqdm(inside, desc="Copying clips", unit="clip"):
        target = raw / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if not raw.is_dir():
        raise MusicGenreError(f"data.folder.path: no audio in {root}/<genre>/; expected {', '.join(sorted(DECODED))}")


def load_tracks(raw: Path, artist_pattern: str | None) -> pd.DataFrame:
    """Tracks of a copied collection, numbered by path.

    Args:
        raw: the folder of genre folders.
        artist_pattern: a regular expression over the file's name whose first group is the artist; no artist
            where it does not match. An artist that the file's tags name, ``index`` puts in its place.

    Returns:
        columns track_id, path, genre, artist_id, title, license, split; split is null: the source has none.
    """
    paths = [path.relative_to(raw) for path in _audio_files(raw)]
    table = pd.DataFrame({"track_id": range(1, len(paths) + 1), "path": [path.as_posix() for path in paths]})
    table["genre"] = pd.array([path.parts[0] for path in paths], dtype="string")
    table["artist_id"] = pd.array([_artist(path, artist_pattern) for path in paths], dtype="string")
    table["title"] = pd.array([path.stem for path in paths], dtype="string")
    for column in ("license", "split"):
        table[column] = pd.array([None] * len(paths), dtype="string")
    return table


def _audio_files(root: Path) -> list[Path]:
    return [path for path in _named_like_audio(root) if path.is_file()]


def _named_like_audio(root: Path) -> list[Path]:
    """Files and links with an audio file's suffix in genre folders. A trash can is no genre, and ``._song.mp3``, where
    macOS keeps what other file systems have no place for, is no song.
    """
    names = DECODED | NOT_DECODED
    return sorted(
        path
        for path in root.glob("*/**/*")
        if path.suffix.lower() in names
        and not path.name.startswith("._")
        and not path.relative_to(root).parts[0].startswith(".")
        and (path.is_symlink() or path.is_file())
    )


def _is_text(path: Path) -> bool:
    """Whether tables can hold the name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _leave_behind(path: Path, reason: str) -> None:
    tqdm.write(f"{str(path)!a} is left behind: {reason}", file=sys.stderr)


def _artist(path: Path, pattern: str | None) -> str | None:
    match = re.search(pattern, path.stem) if pattern else None
    return match.group(1) if match else None


def _load(raw: Path, params: FolderParams) -> pd.DataFrame:
    return load_tracks(raw, params.artist_pattern)


DATASET = Dataset(FolderParams, copy_folder, _load, artists_from_tags=True)
