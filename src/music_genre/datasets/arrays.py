"""Ready spectrograms: ``<split>.npz`` beside ``genres.json``, no audio needed.

Each archive holds ``mel`` (n, frames, n_mels), ``label`` (n,) and ``track_id`` (n,); or ``arr_0`` (spectrograms) and
``arr_1`` (labels: one-hot, 0-based or 1-based), as ``numpy.savez`` names what it is given without names.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from music_genre.config import ParamsModel
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError
from music_genre.features.mel import FLOOR_DB

SPLITS = ("training", "validation", "test")
GENRES = "genres.json"
DB_PER_NEPER = 10 / np.log(10)
"""Decibels of a power whose natural logarithm is 1: 4.3429."""


@dataclass(frozen=True)
class ArraySet:
    """What one archive holds.

    Args:
        mel: (n, frames, n_mels) as stored: uint8 or floats.
        track_id: (n,) int64, or None where the archive numbers nothing.
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

    path: Path | None
    scale: Literal["db", "ln_power"]


def copy_archives(raw: Path, params: ArraysParams, cache: Path | None = None, seed: int = 0) -> None:
    """Copy the three archives and ``genres.json``.

    Raises:
        MusicGenreError: no folder is named, or a file is missing.
    """
    if params.path is None:
        raise MusicGenreError(
            "data.arrays.path is empty: name the folder that holds training.npz, validation.npz, test.npz"
        )
    raw.mkdir(parents=True)
    for name in (*(f"{split}.npz" for split in SPLITS), GENRES):
        if not (params.path / name).is_file():
            raise MusicGenreError(f"data.arrays.path: {params.path / name} does not exist")
        shutil.copyfile(params.path / name, raw / name)


def load_tracks(raw: Path) -> pd.DataFrame:
    """Every spectrogram of the three archives, in their order.

    Returns:
        columns track_id, path (the archive's name), genre, artist_id, title, license, split; artists are unknown.
    """
    genres = np.asarray(_read_genres(raw / GENRES))
    sets = {split: read_arrays(raw / f"{split}.npz") for split in SPLITS}
    labels = _zero_based({split: arrays.label for split, arrays in sets.items()}, len(genres))
    table = pd.concat(
        [pd.DataFrame({"path": f"{split}.npz", "genre": genres[labels[split]], "split": split}) for split in SPLITS],
        ignore_index=True,
    ).astype("string")
    numbers = [arrays.track_id for arrays in sets.values() if arrays.track_id is not None]
    table.insert(
        0, "track_id", np.concatenate(numbers) if len(numbers) == len(SPLITS) else np.arange(1, len(table) + 1)
    )
    twice = table.loc[table["track_id"].duplicated(), "track_id"]
    if len(twice):
        raise MusicGenreError(f"{len(twice)} track ids stand for two spectrograms, {twice.iloc[0]} first")
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


def spread(raw: Path) -> np.ndarray:
    """(n,) largest less smallest value of every spectrogram that ``tracks`` lists, in its order."""
    each = [read_arrays(raw / f"{split}.npz").mel for split in SPLITS]
    return np.concatenate([mel.max(axis=(1, 2)).astype(np.float64) - mel.min(axis=(1, 2)) for mel in each])


def read_arrays(path: Path) -> ArraySet:
    """Read one archive; nothing in it is unpickled.

    Raises:
        MusicGenreError: not an npz archive, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
        raise MusicGenreError(f"{path}: not a readable npz archive of plain arrays: {error}") from error
    mel, label, track_id = (
        arrays.get("mel", arrays.get("arr_0")),
        arrays.get("label", arrays.get("arr_1")),
        arrays.get("track_id"),
    )
    if mel is None or mel.ndim != 3 or not len(mel):
        shape = None if mel is None else mel.shape
        raise MusicGenreError(f"{path}: mel has shape {shape}; expected (n, frames, n_mels) with n at least 1")
    if label is not None and label.ndim == 2:
        label = label[:, 0] if label.shape[1] == 1 else label.argmax(axis=1)
    for name, numbers in (("label", label), ("track_id", track_id)):
        if numbers is not None and numbers.shape != (len(mel),):
            raise MusicGenreError(f"{path}: {name} has shape {numbers.shape}; expected ({len(mel)},)")
    return ArraySet(
        mel,
        None if track_id is None else track_id.astype(np.int64),
        None if label is None else label.astype(np.int64),
    )


def to_db(mel: np.ndarray, scale: str) -> np.ndarray:
    """Decibels of stored spectrograms, any shape, float32.

    Args:
        mel: uint8 (dB = v / 255 * 80 - 80) or floats in ``scale``.
        scale: ``db``, or ``ln_power`` for the natural logarithm of power.
    """
    if mel.dtype == np.uint8:
        return (mel * np.float32(-FLOOR_DB / 255) + np.float32(FLOOR_DB)).astype(np.float32)
    factor = DB_PER_NEPER if scale == "ln_power" else 1.0
    return np.asarray(mel * factor, dtype=np.float32)


def _zero_based(labels: dict[str, np.ndarray | None], genres: int) -> dict[str, np.ndarray]:
    """Labels from 0. Where they start shows only over all splits: one alone may lack the first or the last genre."""
    found = {split: label for split, label in labels.items() if label is not None}
    if len(found) < len(labels):
        raise MusicGenreError(
            f"no labels in {', '.join(sorted(set(labels) - set(found)))}; expected an array label or arr_1"
        )
    every = np.concatenate(list(found.values()))
    first = 1 if every.min() == 1 and every.max() == genres else 0
    if every.min() < first or every.max() >= genres + first:
        raise MusicGenreError(f"labels run from {every.min()} to {every.max()}; {GENRES} names {genres} genres")
    return {split: label - first for split, label in found.items()}


def _load(raw: Path, params: ArraysParams) -> pd.DataFrame:
    return load_tracks(raw)


DATASET = Dataset(ArraysParams, copy_archives, _load, has_audio=False)
