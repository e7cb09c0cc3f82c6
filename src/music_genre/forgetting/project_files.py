"""What holds a recording in the checkout: the user's files, their copy, caches, tables, features and pages."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from music_genre.datasets.copying import MANIFEST
from music_genre.datasets.corrections import DROP, FORGOTTEN, read_corrections, write_corrections
from music_genre.datasets.identity import identify
from music_genre.datasets.listing import ListedFile, read_listing, stat_files
from music_genre.datasets.registry import DataParams
from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.cache import read_clip, write_shard
from music_genre.files import file_sha256, sha256
from music_genre.forgetting.holders import (
    CLIP_PLOTS,
    Holder,
    file_holder,
    lines_holder,
    table_holder,
)
from music_genre.forgetting.recording import Recording
from music_genre.paths import ProjectPaths

TABLES = (  # relative to the project, with a column track_id
    *("data/tracks.parquet", "data/inspection.csv", "data/splits.parquet", "data/faults.csv", "data/split_ledger.csv"),
    *("reports/split_changes.csv", "reports/label_issues.csv"),
    *("reports/evaluation/*/predictions.csv", "reports/evaluation/*/predictions_by_model.csv"),
    "reports/interpretation/*/tables/embedding.csv",
)
# Removed where the recording has features: they hold them, or show clips. `dvc repro` makes them again.
FEATURES = (
    "data/spectrograms",
    "data/embeddings",
    "data/predictions",
    "reports/index.html",
    "reports/data_quality/site",
)


def list_sources(project: ProjectPaths, data: DataParams) -> tuple[list[ListedFile], list[str]]:
    """What lies at the sources now; where they cannot be listed, what lay there, and a note."""
    try:
        return stat_files(data.list_files().files), []
    except MusicGenreError as error:
        former = [file for file in read_listing(project.listing) if Path(file.path).is_file()]
        return former, [f"the sources, which cannot be listed: {error}"]


class SourceFiles:
    """The files of a recording at the sources.

    Args:
        listed: what lies there now.
        former: what lay there when stage ``scan`` ran.
        notes: on sources that cannot be listed.
        recording: to be forgotten.
    """

    def __init__(
        self, listed: Sequence[ListedFile], former: Collection[ListedFile], notes: Iterable[str], recording: Recording
    ) -> None:
        self.recording = recording
        self.notes = [*notes]
        self.deletable: list[ListedFile] = []
        former = set(former)
        for file in listed:
            # What is not as it was listed may be a copy, or another recording under the same name.
            if file.name in recording.names or (recording.audio_sha256 and file not in former):
                self._judge(Path(file.path), file)

    @property
    def returns(self) -> bool:
        """Whether the next run could take the recording in again."""
        deletable = {file.name for file in self.deletable}
        return bool(self.notes) or not self.recording.id_follows_audio or not deletable >= set(self.recording.names)

    def holders(self) -> Iterator[Holder]:
        """The files that can be deleted."""
        for file in self.deletable:
            yield file_holder(Path(file.path), file.path)

    def _judge(self, path: Path, file: ListedFile) -> None:
        if not self._is_recording(path):
            if file.name in self.recording.names:
                self.notes.append(f"{path} was left alone: it is another file than the one that was listed")
            return
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.notes.append(f"{path}: its folder may not be written; delete it yourself")
            return
        if path.is_symlink():
            self.notes.append(f"{path.resolve()}, which the link {path} leads to; delete it yourself")
        elif path.stat().st_nlink > 1:
            self.notes.append(f"a further hard link to {path}, wherever it is")
        self.deletable.append(file)

    def _is_recording(self, path: Path) -> bool:
        try:
            if file_sha256(path) in self.recording.sha256:
                return True
            return (
                self.recording.audio_sha256 is not None and identify(path).audio_sha256 == self.recording.audio_sha256
            )
        except (OSError, AudioError):
            return False


def correction_holder(project: ProjectPaths, recording: Recording) -> list[Holder]:
    """The row of ``corrections.csv``: ``drop`` where the recording would come back, else none. It is left as it is
    where no file of the recording is known.
    """
    if recording.track_id is None or not recording.names:
        return []
    table = read_corrections(project.corrections)
    rows = {int(row.track_id): (int(row.track_id), row.genre, row.reason) for row in table.itertuples()}
    wanted = (recording.track_id, DROP, FORGOTTEN) if recording.returns else None
    if rows.get(recording.track_id) == wanted:
        return []

    def write() -> None:
        rows.pop(int(recording.track_id or 0), None)
        write_corrections(project.corrections, [*rows.values(), *([wanted] if wanted else [])])

    return [Holder(f"data/corrections.csv: {'a row drop, so that it stays out' if wanted else 'its row'}", write)]


def table_holders(project: ProjectPaths, recording: Recording) -> Iterator[Holder]:
    """Rows of tables that have the track id, or are about its files."""
    names, root = set(recording.names), project.root
    if recording.track_id is not None:
        for pattern in TABLES:
            for path in sorted(root.glob(pattern)):
                yield from table_holder(path, _relative(path, root), "track_id", {recording.track_id})
    for path, column in ((project.listing, "name"), (project.audio / MANIFEST, "path")):
        yield from table_holder(path, _relative(path, root), column, names)


def feature_holders(project: ProjectPaths, recording: Recording) -> Iterator[Holder]:
    """Features of the collection, predictions, and what shows them, where the recording was among them."""
    if not recording.splits:
        return
    paths = [project.root / name for name in FEATURES]
    paths += [path for path in sorted(project.reports.rglob("*.png")) if path.name in CLIP_PLOTS]
    paths += [path for path in [project.cache / "train"] if path.is_dir() and any(path.iterdir())]
    for path in paths:
        if path.exists():
            yield file_holder(path, _relative(path, project.root))


def audio_holders(project: ProjectPaths, recording: Recording) -> Iterator[Holder]:
    """The pipeline's copies, finished or not."""
    inside = [name for name in recording.names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    for name in inside:
        path = project.audio / name
        for copy in (path, path.with_name(f"{path.name[:100]}.partial")):
            if copy.is_file() or copy.is_symlink():
                yield file_holder(copy, _relative(copy, project.root))


def cache_holders(project: ProjectPaths, recording: Recording) -> Iterator[Holder]:
    """What ``.cache`` keeps by content, of files and of clips."""
    cache, root = project.cache, project.root
    for path in sorted((cache / "inspect").glob("files-*.jsonl")):
        yield from lines_holder(path, _relative(path, root), lambda name: name in recording.sha256)
    for path in sorted((cache / "inspect").glob("recordings-*.jsonl")):
        yield from lines_holder(path, _relative(path, root), lambda name: name == recording.audio_sha256)
    copied = cache / "fetch/copied.jsonl"
    prefixes = tuple(f"{name} " for name in recording.names)
    yield from lines_holder(copied, _relative(copied, root), lambda name: name.startswith(prefixes))
    for folder in (cache / "spectrograms", *sorted((cache / "embeddings").glob("*"))):
        for path in sorted(folder.glob("*.json")):
            if _rows_of(path, recording):
                yield Holder(f"{_relative(path, root)}: its clip", partial(drop_clip, path, recording))


def drop_clip(description: Path, recording: Recording) -> None:
    """Write a shard of ``features.cache`` again without a recording; the other clips are found by their keys, so that
    they need not be decoded again.
    """
    if not description.is_file():
        return
    contents, ours = json.loads(description.read_text(encoding="utf-8")), _rows_of(description, recording)
    rows = [row for row in range(len(contents["track_ids"])) if row not in ours]
    shard = description.with_suffix(".npy")
    if rows and contents["cache_keys"]:
        keys = dict(enumerate(contents["cache_keys"][row] for row in rows))
        dtype = np.float16 if np.load(shard, mmap_mode="r").dtype == np.float16 else np.float32
        clips = ((number, read_clip(shard, row)) for number, row in enumerate(rows))
        write_shard(description.parent, f"new-{sha256(*keys.values())}", clips, keys, dtype)
    description.unlink()  # first: without it the other is no shard
    shard.unlink(missing_ok=True)


def _rows_of(description: Path, recording: Recording) -> set[int]:
    """The rows of a shard in the cache that have the recording; {-1} where it only says that its clip failed."""
    contents = json.loads(description.read_text(encoding="utf-8"))
    keys = contents["cache_keys"]
    rows = {row for row, key in enumerate(keys) if recording.audio_sha256 and key.startswith(recording.audio_sha256)}
    if not description.name.startswith("new-"):  # whose clips have numbers in place of track ids
        rows |= {row for row, track_id in enumerate(contents["track_ids"]) if track_id == recording.track_id}
        rows |= {-1 for track_id, *_ in contents["failed"] if track_id == recording.track_id}
    return rows


def request_pages(project: ProjectPaths, recording: Recording) -> Iterator[Holder]:
    """Pages of ``music-genre drift`` that name its requests."""
    for path in sorted(project.drift.rglob("*")):
        if path.is_file() and any(request_id.encode() in path.read_bytes() for request_id in recording.request_ids):
            yield file_holder(path, _relative(path, project.root))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
