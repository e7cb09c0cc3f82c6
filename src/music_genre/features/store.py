"""Stored spectrograms: float16 arrays of up to 512 clips a file, read by memory map, found by an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.errors import MusicGenreError
from music_genre.features.params import FEATURES_VERSION, MelConfig

INDEX = "index.parquet"
DESCRIPTION = "spectrogram.json"


@dataclass(frozen=True)
class MelDataset:
    """The clips of one split, read from disk on demand.

    Args:
        track_id: (n,) int64.
        label: (n,) int64, positions in the genres.
        shards: memory-mapped (clips, n_frames, n_mels) float16 dB.
        shard: (n,) which of ``shards`` holds a clip.
        row: (n,) where in it.
    """

    track_id: np.ndarray
    label: np.ndarray
    shards: tuple[np.ndarray, ...]
    shard: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.track_id)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_frames, n_mels) of every clip."""
        n_frames, n_mels = self.shards[0].shape[1:]
        return n_frames, n_mels

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(len(positions), n_frames, n_mels) float32 dB, in the order of ``positions``."""
        mel = np.empty((len(positions), *self.shape), dtype=np.float32)
        for target, position in enumerate(positions):
            mel[target] = self.shards[self.shard[position]][self.row[position]]
        return mel

    def subsample(self, fraction: float) -> MelDataset:
        """A fraction of the clips of each genre, at least one, drawn by a hash of their ids: a smaller fraction is part
        of every larger one.
        """
        hashes = pd.Series([hash64(track_id) for track_id in self.track_id], dtype="uint64")
        ranks = hashes.groupby(self.label).rank(method="first").to_numpy()
        counts = np.bincount(self.label)[self.label]
        drawn = ranks <= np.maximum(1, np.round(fraction * counts))
        return MelDataset(self.track_id[drawn], self.label[drawn], self.shards, self.shard[drawn], self.row[drawn])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Every clip in order: (size or fewer, n_frames, n_mels) float32 dB."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


@dataclass(frozen=True)
class SpectrogramStore:
    """A folder of shards.

    Args:
        folder: holds the shards, ``index.parquet`` and ``spectrogram.json``.
        index: one row a clip.
        genres: names in label order.
        transform: from audio to spectrograms; None for a collection of ready spectrograms.
        min_duration_s: the shortest clip that the collection may hold.
        features_version: ``FEATURES_VERSION`` of the code that made the spectrograms.
    """

    folder: Path
    index: pd.DataFrame
    genres: tuple[str, ...]
    transform: MelConfig | None
    min_duration_s: float
    features_version: int

    @classmethod
    def open(cls, folder: Path) -> SpectrogramStore:
        """Read what ``write_index`` wrote.

        Raises:
            MusicGenreError: there is nothing yet.
        """
        if not (folder / DESCRIPTION).is_file():
            raise MusicGenreError(f"{folder} holds no spectrograms: `dvc repro` makes them, `dvc pull` fetches them")
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        transform = description["transform"]
        return cls(
            folder,
            pd.read_parquet(folder / INDEX),
            tuple(description["genres"]),
            MelConfig.model_validate(transform) if transform else None,
            description["min_duration_s"],
            description["features_version"],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(n_frames, n_mels) that every clip should have: the transform's, or the most frequent one of ready
        spectrograms.
        """
        if self.transform is not None:
            return self.transform.n_frames, self.transform.n_mels
        return int(self.index["n_frames"].mode()[0]), int(self.index["n_mels"].mode()[0])

    def split(self, name: str) -> MelDataset:
        """The clips of ``training``, ``validation`` or ``test``."""
        rows = self.index[self.index["split"] == name]
        codes, files = pd.factorize(rows["shard"])
        shards = tuple(np.load(self.folder / file, mmap_mode="r", allow_pickle=False) for file in files)
        return MelDataset(
            rows["track_id"].to_numpy(), rows["label"].to_numpy(), shards, np.asarray(codes), rows["row"].to_numpy()
        )


def write_index(
    folder: Path, clips: pd.DataFrame, splits: pd.DataFrame, transform: MelConfig | None, min_duration_s: float
) -> None:
    """Write ``index.parquet`` and ``spectrogram.json``, and with them the label order: genres sorted by name."""
    genres = sorted(splits["genre"].unique())
    table = clips.merge(splits[["track_id", "split", "genre"]], on="track_id", validate="one_to_one")
    table.insert(1, "split", table.pop("split"))
    table.insert(2, "genre", table.pop("genre"))
    table.insert(3, "label", table["genre"].map({genre: label for label, genre in enumerate(genres)}).astype("int64"))
    table.to_parquet(folder / INDEX, index=False)
    description = {
        "transform": transform.model_dump() if transform else None,
        "features_version": FEATURES_VERSION,
        "genres": genres,
        "min_duration_s": min_duration_s,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def hash64(track_id: int) -> int:
    """64 bits that are the same for an id on every machine, and do not depend on other clips."""
    return int.from_bytes(hashlib.blake2b(str(track_id).encode(), digest_size=8).digest(), "big")
