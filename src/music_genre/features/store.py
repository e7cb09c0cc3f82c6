"""Spectrograms on disk: float16 arrays of up to 512 clips a file, read by memory map, found by an index."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.mel import FEATURES_VERSION, FLOOR_DB, MelConfig

CLIPS_PER_SHARD = 512
INDEX = "index.parquet"
DESCRIPTION = "spectrogram.json"


@dataclass(frozen=True)
class MelDataset:
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

    def subsample(self, fraction: float) -> MelDataset:
        """A share of the clips of each genre, at least one, drawn by a digest of their ids: a smaller share is part of
        every larger one.
        """
        lots = pd.Series([_lot(track_id) for track_id in self.track_id], dtype="uint64")
        drawn = lots.groupby(self.label).rank(method="first").to_numpy()
        counts = np.bincount(self.label)[self.label]
        kept = drawn <= np.maximum(1, np.round(fraction * counts))
        return MelDataset(self.track_id[kept], self.label[kept], self.shards, self.shard[kept], self.row[kept])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Every clip in order: (size or fewer, frames, n_mels) float32 dB."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


@dataclass(frozen=True)
class SpectrogramStore:
    """A folder of shards.

    Args:
        folder: holds the shards, ``index.parquet`` and ``spectrogram.json``.
        index: one row a clip.
        genres: names in label order.
        transform: what made them of audio, or None for a collection of ready spectrograms.
        min_duration_s: the shortest clip that the collection may hold.
    """

    folder: Path
    index: pd.DataFrame
    genres: tuple[str, ...]
    transform: MelConfig | None
    min_duration_s: float

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
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(frames, n_mels) of every clip."""
        return int(self.index["frames"].iloc[0]), int(self.index["n_mels"].iloc[0])

    def split(self, name: str) -> MelDataset:
        """The clips of ``training``, ``validation`` or ``test``."""
        rows = self.index[self.index["split"] == name]
        codes, files = pd.factorize(rows["shard"])
        shards = tuple(np.load(self.folder / file, mmap_mode="r", allow_pickle=False) for file in files)
        return MelDataset(
            rows["track_id"].to_numpy(), rows["label"].to_numpy(), shards, np.asarray(codes), rows["row"].to_numpy()
        )


def plan_shards(track_ids: Sequence[int]) -> list[list[int]]:
    """Deal clips to shards of at most ``CLIPS_PER_SHARD`` by a digest of their id, in order of id within a shard.

    A clip that comes or goes changes its own shard and no other, until there are so many that twice the shards are
    needed.
    """
    count = 1
    while True:
        shards: list[list[int]] = [[] for _ in range(count)]
        for track_id in sorted(track_ids):
            shards[_lot(track_id) % count].append(track_id)
        if max(map(len, shards)) <= CLIPS_PER_SHARD:
            return [shard for shard in shards if shard]
        count *= 2


def store_shard(
    folder: Path,
    stem: str,
    clips: Iterable[tuple[int, np.ndarray | AudioError]],
    origin: Mapping[int, str] | None = None,
) -> None:
    """Write ``<stem>.npy`` and, last, ``<stem>.json``: an interruption leaves nothing that looks finished.

    Args:
        folder: exists.
        stem: of the two files.
        clips: at most ``CLIPS_PER_SHARD`` of (track_id, (frames, n_mels) dB or what is wrong with the clip).
        origin: by track id, what ``find_clips`` is to find a clip by.
    """
    known, faults = [], []
    for track_id, clip in clips:
        if isinstance(clip, AudioError):
            faults.append([track_id, clip.reason, clip.detail])
        else:
            known.append((track_id, clip.astype(np.float16)))
    unfinished = folder / f"{stem}.part"
    if known:
        with unfinished.open("wb") as file:
            _save(file, np.stack([mel for _, mel in known]))
        unfinished.replace(folder / f"{stem}.npy")
    track_ids = [track_id for track_id, _ in known]
    origins = [origin[track_id] for track_id in track_ids] if origin is not None else []
    unfinished.write_text(json.dumps({"track_ids": track_ids, "origins": origins, "faults": faults}))
    unfinished.replace(folder / f"{stem}.json")


def _save(file: BinaryIO, array: np.ndarray) -> None:
    """What ``np.save`` writes; that one tells of a full disk without a word of it."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)


def is_stored(folder: Path, stem: str) -> bool:
    """Whether ``store_shard`` got to its end."""
    return (folder / f"{stem}.json").is_file()


def find_clips(folder: Path) -> dict[str, tuple[Path, int]]:
    """By origin, the shard and row of every clip in the finished shards of a folder."""
    found: dict[str, tuple[Path, int]] = {}
    for file in sorted(folder.glob("*.json")):
        origins = json.loads(file.read_text(encoding="utf-8")).get("origins", [])
        found.update({origin: (file.with_suffix(".npy"), row) for row, origin in enumerate(origins)})
    return found


def read_clip(shard: Path, row: int) -> np.ndarray:
    """(frames, n_mels) float16 dB of one clip."""
    return np.asarray(np.load(shard, mmap_mode="r", allow_pickle=False)[row])


def place_shard(stored: Path, stem: str, target: Path) -> tuple[pd.DataFrame, list[tuple[int, str, str]]]:
    """Put a stored shard where it belongs and describe it.

    Args:
        stored: folder that ``store_shard`` wrote to.
        stem: of its files.
        target: the shard's own name; nothing is written where every clip is faulty.

    Returns:
        columns track_id, shard, row, frames, n_mels, finite_share, minimum_db, maximum_db, mean_db, std_db,
        silent_share; and (track_id, reason, detail) of the faulty clips.
    """
    contents = json.loads((stored / f"{stem}.json").read_text(encoding="utf-8"))
    faults = [(track_id, reason, detail) for track_id, reason, detail in contents["faults"]]
    if not contents["track_ids"]:
        return pd.DataFrame(), faults
    try:
        os.link(stored / f"{stem}.npy", target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(stored / f"{stem}.npy", target)
    rows = [
        {"track_id": track_id, "shard": target.name, "row": row, **describe(mel)}
        for row, (track_id, mel) in enumerate(zip(contents["track_ids"], np.load(target, mmap_mode="r"), strict=True))
    ]
    return pd.DataFrame(rows), faults


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


def _lot(track_id: int) -> int:
    """A number of 64 bits that stands for a clip everywhere and always: chance that no other clip touches."""
    return int.from_bytes(hashlib.blake2b(str(track_id).encode(), digest_size=8).digest(), "big")


def describe(mel: np.ndarray) -> dict[str, float]:
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
