"""What holds a recording in DVC's cache: objects of this revision and of all others whose folders are listed there."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from music_genre.datasets.copying import MANIFEST
from music_genre.features.store import INDEX
from music_genre.forgetting.holders import CLIP_PLOTS, Holder, file_holder, table_names
from music_genre.forgetting.project_files import FEATURES, TABLES
from music_genre.forgetting.recording import Recording

Listing = Mapping[str, str]  # of a folder: by path relative to it, the digest of a file


@dataclass(frozen=True)
class ObjectCache:
    """DVC's cache on this machine.

    Args:
        folder: of its objects; it may be outside the project.
        remotes: names of the remotes that the project has.
    """

    folder: Path
    remotes: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> ObjectCache | None:
        """The cache of the project at ``root``; None where it is no project of DVC's."""
        from dvc.exceptions import NotDvcRepoError
        from dvc.repo import Repo

        try:
            repo = Repo(str(root))
        except NotDvcRepoError:
            return None
        with repo:
            return cls(Path(repo.cache.local.path), tuple(repo.config["remote"]))

    def path(self, digest: str) -> Path:
        """Where an object is, if it is here."""
        return self.folder / digest[:2] / digest[2:]

    @cached_property
    def folders(self) -> dict[str, Listing]:
        """Every folder that was ever an out, by its digest, which ends in ``.dir``."""
        return {
            file.parent.name + file.name: {row["relpath"]: row["md5"] for row in json.loads(file.read_text("utf-8"))}
            for file in sorted(self.folder.glob("??/*.dir"))
        }


@dataclass(frozen=True)
class Shard:
    """An object with the features of a recording.

    Args:
        digest: of the folder that it is in.
        path: of the object.
        row: of the clip.
        split: that the clip is in.
    """

    digest: str
    path: Path
    row: int
    split: str

    def read(self) -> np.ndarray | None:
        """The features; None where the object is gone."""
        if not self.path.is_file():
            return None
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False)[self.row])


def find_shards(cache: ObjectCache, track_id: int | None) -> list[Shard]:
    """The shards of every revision that hold a track."""
    shards = []
    for digest, files in cache.folders.items():
        for name in files:
            if PurePosixPath(name).name == INDEX:
                folder = PurePosixPath(name).parent
                for row in index_rows(cache.path(files[name]), track_id).itertuples():
                    shard = files.get((folder / row.shard).as_posix())
                    if shard:
                        shards.append(Shard(digest, cache.path(shard), int(row.row), str(row.split)))
    return shards


def known_stores(cache: ObjectCache) -> set[str]:
    """The digests of all folders of spectrograms whose index is here."""
    return {digest for digest, files in cache.folders.items() if INDEX in files and cache.path(files[INDEX]).is_file()}


def object_holders(cache: ObjectCache, lock: Path, recording: Recording) -> Iterator[Holder]:
    """The objects that hold the recording: its files, shards and indices of every revision; tables, pages and plots of
    this one.
    """
    found: dict[Path, str] = {}
    indices: dict[Path, str] = {}  # last: they say which shards there are
    for files in cache.folders.values():
        if MANIFEST in files:
            for name in _names_with(cache.path(files[MANIFEST]), set(recording.sha256)):
                if name in files:
                    found[cache.path(files[name])] = f"data/audio/{name}"
        for name, digest in files.items():
            if PurePosixPath(name).name == INDEX and len(index_rows(cache.path(digest), recording.track_id)):
                indices[cache.path(digest)] = f"{name} with its row"
                faults = files.get((PurePosixPath(name).parent / "faults.csv").as_posix())
                if faults and table_names(cache.path(faults), "track_id", {recording.track_id}):
                    found[cache.path(faults)] = "faults.csv with its row"
    for shard in find_shards(cache, recording.track_id):
        found[shard.path] = "a shard with its clip"
    for path, what in _current_outs(cache, lock, recording):
        found.setdefault(path, what)
    for path, what in (found | indices).items():
        if path.is_file():
            yield file_holder(path, f"{path}, in DVC's cache ({what})")


def _current_outs(cache: ObjectCache, lock: Path, recording: Recording) -> Iterator[tuple[Path, str]]:
    """Objects of the outs in ``dvc.lock`` that have the recording's row, or show clips."""
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    for out in (out for stage in stages.values() for out in stage.get("outs", [])):
        digest, name = out.get("md5"), out["path"]
        if not digest:
            continue
        for relative, file in cache.folders.get(digest, {}).items() if digest.endswith(".dir") else [("", digest)]:
            whole = f"{name}/{relative}" if relative else name
            if _shows_clips(whole) and recording.splits:
                yield cache.path(file), whole
            is_table = any(fnmatch(whole, pattern) for pattern in TABLES)
            if is_table and table_names(cache.path(file), "track_id", {recording.track_id}):
                yield cache.path(file), f"{whole} with its row"


def _shows_clips(name: str) -> bool:
    """Whether a file of an out holds or shows clips, but not as a shard or an index, which are looked into."""
    pages = [path for path in FEATURES if path not in ("data/spectrograms", "data/embeddings")]
    is_below = any(name == path or name.startswith(f"{path}/") for path in pages)
    return is_below or (name.startswith("reports/") and PurePosixPath(name).name in CLIP_PLOTS)


def index_rows(path: Path, track_id: int | None) -> pd.DataFrame:
    """Columns track_id, split, shard, row of a track in an index; empty where the object is gone, or is no index."""
    columns = ["track_id", "split", "shard", "row"]
    if track_id is None or not path.is_file():
        return pd.DataFrame(columns=columns)
    try:
        return pd.read_parquet(path, columns=columns, filters=[("track_id", "==", track_id)])
    except (OSError, ValueError, pa.ArrowException):
        return pd.DataFrame(columns=columns)


def _names_with(manifest: Path, digests: set[str]) -> list[str]:
    """The files of a manifest that have one of some digests."""
    if not manifest.is_file():
        return []
    with manifest.open(encoding="utf-8", newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row.get("sha256") in digests]
