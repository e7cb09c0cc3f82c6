"""The cache of features, of spectrograms or of embeddings: shards that outlive an interrupted run, and clips that
outlive a changed collection.

A shard is ``<key>.npy`` and, written last, ``<key>.json``; its key is the digest of its track ids and of all that
determines their features. A run after an interruption extracts only what no finished shard holds. Of a collection that
has changed only new recordings are extracted: a clip is known by its recording, whatever id, split and shard it had.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.features.extraction import ClipResult, ClipSource, DType
from music_genre.features.store import hash64, label_order, write_description, write_index
from music_genre.files import atomic_write, atomic_write_text, sha256

CLIPS_PER_SHARD = 512
CLIPS_PER_WRITE = 64  # of those that are made when recordings are inspected; a kill costs no more


@dataclass(frozen=True)
class Shard:
    """A file of the store: its name, its clips, and its key in the cache."""

    name: str
    track_ids: list[int]
    key: str


class FailedClip(NamedTuple):
    """A clip that has no features."""

    track_id: int
    reason: IssueReason
    detail: str


def build_store(
    folder: Path,
    cache: Path,
    splits: pd.DataFrame,
    split_names: Sequence[str],
    source: ClipSource,
    min_duration_s: float,
) -> list[FailedClip]:
    """Make ``folder`` the store of a collection's features, by way of the cache.

    Args:
        folder: replaced; see ``store``.
        cache: keeps finished shards; those that this store does not need are removed.
        splits: columns track_id, genre, split, and what else the index is to have.
        split_names: all splits, in the order of the index.
        source: the features.
        min_duration_s: the shortest clip that the collection may hold.

    Returns:
        The clips that are not in the store.

    Raises:
        MusicGenreError: no clip is.
    """
    cache.mkdir(parents=True, exist_ok=True)
    shards = plan_split_shards(splits, split_names, source.cache_keys)
    write_missing_shards(cache, shards, source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    published = [publish_shard(cache, shard.key, folder / shard.name, source.describe) for shard in shards]
    tables = [rows for rows, _ in published if len(rows)]
    if not tables:
        raise MusicGenreError("no clip of the collection can be used")
    write_index(folder, pd.concat(tables), splits)
    write_description(folder, label_order(splits), min_duration_s, source.made_by)
    for file in cache.iterdir():
        if file.stem not in {shard.key for shard in shards}:
            file.unlink()
    return [failed for _, failures in published for failed in failures]


def plan_split_shards(splits: pd.DataFrame, split_names: Sequence[str], cache_keys: Mapping[int, str]) -> list[Shard]:
    """Every shard of every split, named ``<split>-00000.npy`` and so on."""
    shards = []
    for split in split_names:
        in_split = splits.loc[splits["split"] == split, "track_id"].tolist()
        for number, track_ids in enumerate(plan_shards(in_split)):
            key = sha256(*(f"{track_id} {cache_keys[track_id]}\n" for track_id in track_ids))
            shards.append(Shard(f"{split}-{number:05d}.npy", track_ids, key))
    return shards


def plan_shards(track_ids: Sequence[int]) -> list[list[int]]:
    """Assign clips to shards of at most ``CLIPS_PER_SHARD`` by a hash of their id, in order of id within a shard.

    A clip that is added or removed changes its own shard and no other, until there are so many that twice the shards
    are needed.
    """
    count = 1
    while True:
        shards: list[list[int]] = [[] for _ in range(count)]
        for track_id in sorted(track_ids):
            shards[hash64(track_id) % count].append(track_id)
        if max(map(len, shards)) <= CLIPS_PER_SHARD:
            return [shard for shard in shards if shard]
        count *= 2


def write_missing_shards(cache: Path, shards: Sequence[Shard], source: ClipSource) -> None:
    """Write every shard that is not finished, from clips of finished shards where they have them."""
    missing = [shard for shard in shards if not shard_exists(cache, shard.key)]
    cached = cached_clips(cache)
    keys = source.cache_keys
    extracted = source.extract([i for shard in missing for i in shard.track_ids if keys[i] not in cached])
    for shard in missing:
        clips = (
            (track_id, read_clip(*cached[keys[track_id]]) if keys[track_id] in cached else next(extracted))
            for track_id in shard.track_ids
        )
        write_shard(cache, shard.key, clips, keys, source.dtype)


def write_shard(
    folder: Path,
    stem: str,
    clips: Iterable[tuple[int, ClipResult]],
    cache_keys: Mapping[int, str] | None = None,
    dtype: DType = np.float16,
) -> None:
    """Write ``<stem>.npy`` and, last, ``<stem>.json``: an interruption leaves nothing that looks finished.

    Args:
        folder: exists.
        stem: of the two files.
        clips: at most ``CLIPS_PER_SHARD`` of (track_id, array of one shape or what is wrong with the clip).
        cache_keys: by track id, what ``cached_clips`` finds a clip by.
        dtype: of what is stored.
    """
    good, failed = [], []
    for track_id, clip in clips:
        if isinstance(clip, AudioError):
            failed.append(FailedClip(track_id, clip.reason, clip.detail))
        else:
            good.append((track_id, clip.astype(dtype)))
    if good:
        with atomic_write(folder / f"{stem}.npy") as temporary, temporary.open("wb") as file:
            _save_array(file, np.stack([clip for _, clip in good]))
    track_ids = [track_id for track_id, _ in good]
    keys = [cache_keys[track_id] for track_id in track_ids] if cache_keys is not None else []
    contents = {"track_ids": track_ids, "cache_keys": keys, "failed": failed}
    atomic_write_text(folder / f"{stem}.json", json.dumps(contents))


def _save_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write what ``np.save`` writes, which raises an ``OSError`` without a number when the disk is full."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.data)


class ClipWriter:
    """Adds clips to the cache as they come, to be found by their keys until a store has them.

    Args:
        folder: of the cache.
        dtype: of what is stored.
    """

    def __init__(self, folder: Path, dtype: DType = np.float16) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dtype = folder, dtype
        self.waiting: list[tuple[str, ClipResult]] = []

    def add(self, key: str, clip: ClipResult) -> None:
        """Keep a clip until ``flush``."""
        self.waiting.append((key, clip))

    @property
    def is_full(self) -> bool:
        """Whether it is time to write."""
        return len(self.waiting) >= CLIPS_PER_WRITE

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            keys = dict(enumerate(key for key, _ in self.waiting))
            clips = enumerate(clip for _, clip in self.waiting)
            write_shard(self.folder, f"new-{sha256(*keys.values())}", clips, keys, self.dtype)
            self.waiting = []


def shard_exists(folder: Path, stem: str) -> bool:
    """Whether ``write_shard`` finished."""
    return (folder / f"{stem}.json").is_file()


def cached_clips(folder: Path) -> dict[str, tuple[Path, int]]:
    """By cache key, the shard and row of every clip in the finished shards of a folder."""
    clips: dict[str, tuple[Path, int]] = {}
    for file in sorted(folder.glob("*.json")):
        keys = json.loads(file.read_text(encoding="utf-8"))["cache_keys"]
        clips.update({key: (file.with_suffix(".npy"), row) for row, key in enumerate(keys)})
    return clips


def read_clip(shard: Path, row: int) -> np.ndarray:
    """The features of one clip, as they are stored."""
    return np.asarray(np.load(shard, mmap_mode="r", allow_pickle=False)[row])


def publish_shard(
    cache: Path, stem: str, target: Path, describe: Callable[[np.ndarray], dict[str, float]]
) -> tuple[pd.DataFrame, list[FailedClip]]:
    """Link or copy a finished shard to its place in the store, and describe its clips.

    Args:
        cache: the folder that ``write_shard`` wrote to.
        stem: of its files.
        target: the shard's place; nothing is written where every clip failed.
        describe: from the features of a clip to further columns.

    Returns:
        columns track_id, shard, row and those of ``describe``; and the clips that failed.
    """
    contents = json.loads((cache / f"{stem}.json").read_text(encoding="utf-8"))
    failed = [FailedClip(track_id, IssueReason(reason), detail) for track_id, reason, detail in contents["failed"]]
    if not contents["track_ids"]:
        return pd.DataFrame(), failed
    try:
        os.link(cache / f"{stem}.npy", target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(cache / f"{stem}.npy", target)
    rows = [
        {"track_id": track_id, "shard": target.name, "row": row, **describe(clip)}
        for row, (track_id, clip) in enumerate(zip(contents["track_ids"], np.load(target, mmap_mode="r"), strict=True))
    ]
    return pd.DataFrame(rows), failed
