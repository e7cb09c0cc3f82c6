"""Ready spectrograms: ``<split>.npz`` beside ``genres.json``, no audio needed.

Each archive holds ``mel`` (n, n_frames, n_mels), ``label`` (n,) and ``track_id`` (n,); or ``arr_0`` (spectrograms) and
``arr_1`` (labels: one-hot, 0-based or 1-based), as ``numpy.savez`` names arrays that it is given without names.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from music_genre.config import OptionalPath, ParamsModel
from music_genre.datasets.listing import SourceListing
from music_genre.datasets.registry import Dataset, ReadySpectrograms
from music_genre.datasets.splits import SPLITS
from music_genre.errors import MusicGenreError
from music_genre.features.extraction import ClipSource
from music_genre.features.mel import to_db
from music_genre.features.params import FEATURES_VERSION
from music_genre.files import file_sha256

GENRES = "genres.json"


@dataclass(frozen=True)
class ArrayArchive:
    """What one archive holds.

    Args:
        mel: (n, n_frames, n_mels) as stored: uint8 or floats.
        track_id: (n,) int64, or None where the archive has no ids.
        label: (n,) int64 as stored, or None where the archive has no labels.
    """

    mel: np.ndarray
    track_id: np.ndarray | None
    label: np.ndarray | None


class ArraysParams(ParamsModel):
    """The section ``data.arrays``.

    Args:
        path: a folder that holds the archives and ``genres.json``.
        scale: what floats are: dB, or natural logarithms of power.
    """

    path: OptionalPath
    scale: Literal["db", "ln_power"]


def list_files(params: ArraysParams) -> SourceListing:
    """The three archives and ``genres.json``.

    Raises:
        MusicGenreError: no folder is named, or a file is missing.
    """
    if params.path is None:
        raise MusicGenreError(
            "data.arrays.path is empty: name the folder that holds training.npz, validation.npz, test.npz"
        )
    files = {name: params.path / name for name in (*(f"{split}.npz" for split in SPLITS), GENRES)}
    for path in files.values():
        if not path.is_file():
            raise MusicGenreError(f"data.arrays.path: {path} does not exist")
    return SourceListing(files)


def load_tracks(folder: Path, params: ArraysParams) -> pd.DataFrame:
    """Every spectrogram of the three archives, in their order.

    Returns:
        columns track_id, path (the archive's name), genre, artist_id, title, license, split; artists are unknown.
    """
    genres = np.asarray(_read_genres(folder / GENRES))
    archives = {split: read_arrays(folder / f"{split}.npz") for split in SPLITS}
    labels = _zero_based({split: archive.label for split, archive in archives.items()}, len(genres))
    table = pd.concat(
        [pd.DataFrame({"path": f"{split}.npz", "genre": genres[labels[split]], "split": split}) for split in SPLITS],
        ignore_index=True,
    ).astype("string")
    ids = [archive.track_id for archive in archives.values() if archive.track_id is not None]
    track_id = np.concatenate(ids) if len(ids) == len(SPLITS) else np.arange(1, len(table) + 1)
    table.insert(0, "track_id", track_id)
    duplicates = table.loc[table["track_id"].duplicated(), "track_id"]
    if len(duplicates):
        raise MusicGenreError(f"{len(duplicates)} duplicate track ids, {duplicates.iloc[0]} first")
    for column in ("artist_id", "title", "license"):
        table[column] = pd.array([None] * len(table), dtype="string")
    return table


def _read_genres(path: Path) -> list[str]:
    try:
        genres = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MusicGenreError(f"{path}: not JSON: {error}") from error
    if not (isinstance(genres, list) and all(isinstance(g, str) for g in genres) and len(set(genres)) == len(genres)):
        raise MusicGenreError(f"{path}: found {str(genres)[:80]}; expected a list of names, each once")
    names: list[str] = genres
    return names


def value_range(folder: Path, params: ArraysParams) -> np.ndarray:
    """(n,) largest minus smallest value of every spectrogram, in the order of ``load_tracks``."""
    arrays = [read_arrays(folder / f"{split}.npz").mel for split in SPLITS]
    return np.concatenate([mel.max(axis=(1, 2)).astype(np.float64) - mel.min(axis=(1, 2)) for mel in arrays])


def clips(folder: Path, tracks: pd.DataFrame, params: ArraysParams) -> ClipSource:
    """The spectrograms of usable tracks.

    Args:
        folder: the one of the archives.
        tracks: columns track_id, path.
        params: the scale of floats.
    """
    listed = load_tracks(folder, params)  # all clips in the order of the archives, also those that are not usable
    archive = listed.set_index("track_id")["path"].to_dict()
    row = listed.groupby("path").cumcount().set_axis(listed["track_id"]).to_dict()
    digests = {name: file_sha256(folder / name) for name in sorted(set(archive.values()))}

    def extract(track_ids: Sequence[int]) -> Iterator[np.ndarray]:
        name, mel = "", np.empty(0)  # of one archive at a time, as all together may not fit in memory
        for track_id in track_ids:
            if archive[track_id] != name:
                name = archive[track_id]
                mel = read_arrays(folder / name).mel
            yield to_db(mel[row[track_id]], params.scale)

    keys = {
        track_id: f"{digests[archive[track_id]]} {row[track_id]} {params.scale} {FEATURES_VERSION}"
        for track_id in tracks["track_id"].tolist()
    }
    return ClipSource(keys, extract, made_by=None)


def read_arrays(path: Path) -> ArrayArchive:
    """Read one archive; nothing in it is unpickled.

    Raises:
        MusicGenreError: not an npz archive, or its arrays do not fit together.
    """
    try:
        # Opened as a zip first, because NumPy takes everything else for a pickle and says how to unpickle it.
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise MusicGenreError(f"{path}: not a readable npz archive of plain arrays: {error}") from error
    mel, label, track_id = (
        arrays.get("mel", arrays.get("arr_0")),
        arrays.get("label", arrays.get("arr_1")),
        arrays.get("track_id"),
    )
    if mel is None:
        raise MusicGenreError(f"{path}: no array mel or arr_0; found {', '.join(arrays) or 'none'}")
    if mel.ndim != 3 or not mel.size:
        raise MusicGenreError(f"{path}: mel has shape {mel.shape}; expected (n, n_frames, n_mels), each at least 1")
    for name, array in (("mel", mel), ("label", label), ("track_id", track_id)):
        if array is not None and array.dtype.kind not in "biuf":
            raise MusicGenreError(f"{path}: {name} has dtype {array.dtype}; expected numbers")
    if label is not None and label.ndim == 2:
        label = label[:, 0] if label.shape[1] == 1 else label.argmax(axis=1)
    for name, numbers in (("label", label), ("track_id", track_id)):
        if numbers is not None and numbers.shape != (len(mel),):
            raise MusicGenreError(f"{path}: {name} has shape {numbers.shape}; expected ({len(mel)},)")
    return ArrayArchive(
        mel,
        None if track_id is None else track_id.astype(np.int64),
        None if label is None else label.astype(np.int64),
    )


def _zero_based(labels: dict[str, np.ndarray | None], n_genres: int) -> dict[str, np.ndarray]:
    """Labels from 0. The first label is known only from all splits: one alone may lack the first or the last genre."""
    known = {split: label for split, label in labels.items() if label is not None}
    if len(known) < len(labels):
        raise MusicGenreError(
            f"no labels in {', '.join(sorted(set(labels) - set(known)))}; expected an array label or arr_1"
        )
    every = np.concatenate(list(known.values()))
    first = 1 if every.min() == 1 and every.max() == n_genres else 0
    if every.min() < first or every.max() >= n_genres + first:
        raise MusicGenreError(f"labels run from {every.min()} to {every.max()}; {GENRES} names {n_genres} genres")
    return {split: label - first for split, label in known.items()}


DATASET = Dataset(ArraysParams, load_tracks, list_files, spectrograms=ReadySpectrograms(value_range, clips))
