"""Spectrograms on disk: float16 arrays of up to 512 clips a file, read by memory map, found by an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.transform import FLOOR_DB, MelTransform

CLIPS_PER_SHARD = 512
INDEX = "index.parquet"
DESCRIPTION = "spectrogram.json"


@dataclass(frozen=True)
class SplitArrays:
    """The clips of one split, read from disk as they are asked for.

    Args:
        track_id: (n,) int64.
        label: (n,) int64, positions in the genres.
        shards: memory-mapped (clips, frames, n_mels) float16 dB.
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
        """(frames, n_mels) of every clip."""
        frames, n_mels = self.shards[0].shape[1:]
        return frames, n_mels

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(len(positions), frames, n_mels) float32 dB, in the order asked for."""
        mel = np.empty((len(positions), *self.shape), dtype=np.float32)
        for target, position in enumerate(positions):
            mel[target] = self.shards[self.shard[position]][self.row[position]]
        return mel

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Every clip in order: (size or fewer, frames, n_mels) float32 dB."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


@dataclass(frozen=True)
class Spectrograms:
    """A folder of shards.

    Args:
        folder: holds the shards, ``index.parquet`` and ``spectrogram.json``.
        index: one row a clip.
        genres: names in label order.
        transform: what made them of audio, or None for a collection of ready spectrograms.
        min_seconds: the shortest clip that the collection may hold.
    """

    folder: Path
    index: pd.DataFrame
    genres: tuple[str, ...]
    transform: MelTransform | None
    min_seconds: float

    @classmethod
    def open(cls, folder: Path) -> Spectrograms:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        transform = description["transform"]
        return cls(
            folder,
            pd.read_parquet(folder / INDEX),
            tuple(description["genres"]),
            MelTransform.model_validate(transform) if transform else None,
            description["min_seconds"],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(frames, n_mels) of every clip."""
        return int(self.index["frames"].iloc[0]), int(self.index["n_mels"].iloc[0])

    def split(self, name: str) -> SplitArrays:
        """The clips of ``training``, ``validation`` or ``test``."""
        rows = self.index[self.index["split"] == name]
        codes, files = pd.factorize(rows["shard"])
        shards = tuple(np.load(self.folder / file, mmap_mode="r", allow_pickle=False) for file in files)
        return SplitArrays(
            rows["track_id"].to_numpy(), rows["label"].to_numpy(), shards, np.asarray(codes), rows["row"].to_numpy()
        )


def write_split(folder: Path, split: str, clips: Iterable[tuple[int, np.ndarray]]) -> pd.DataFrame:
    """Write one split's clips as ``<split>-00000.npy`` and so on, holding one shard in memory.

    Args:
        folder: exists.
        split: the shards' name.
        clips: (track_id, (frames, n_mels) dB) in the order they are to lie in.

    Returns:
        columns track_id, shard, row, frames, n_mels, finite_share, minimum_db, maximum_db, mean_db, std_db,
        silent_share.
    """
    remaining, rows = iter(clips), []
    for number in range(1_000_000):
        batch = list(islice(remaining, CLIPS_PER_SHARD))
        if not batch:
            break
        name = f"{split}-{number:05d}.npy"
        shard = np.stack([mel for _, mel in batch]).astype(np.float16)
        np.save(folder / name, shard, allow_pickle=False)
        rows += [
            {"track_id": batch[row][0], "shard": name, "row": row, **_describe(mel)} for row, mel in enumerate(shard)
        ]
    return pd.DataFrame(rows)


def write_index(
    folder: Path, clips: pd.DataFrame, splits: pd.DataFrame, transform: MelTransform | None, min_seconds: float
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
        "genres": genres,
        "min_seconds": min_seconds,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _describe(mel: np.ndarray) -> dict[str, float]:
    """Figures of one stored clip that the data checks judge."""
    finite = np.isfinite(mel)
    known = mel[finite].astype(np.float32) if finite.any() else np.array([np.nan], np.float32)
    return {
        "frames": mel.shape[0],
        "n_mels": mel.shape[1],
        "finite_share": float(finite.mean()),
        "minimum_db": float(known.min()),
        "maximum_db": float(known.max()),
        "mean_db": float(known.mean()),
        "std_db": float(known.std()),
        "silent_share": float(np.mean(mel.max(axis=1) <= FLOOR_DB)),
    }
