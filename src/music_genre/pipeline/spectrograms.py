"""Turn every clip into a log-mel spectrogram: the shards of ``data/spectrograms``.

Each finished shard stays in ``.cache/spectrograms``, named after all that determines it: a run after an interruption
makes only what is missing. Of a collection that has changed only what is new is heard: a clip is known by its file,
whatever id, split and shard it had.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.compute import map_clips
from music_genre.datasets import arrays
from music_genre.datasets.splits import SPLITS
from music_genre.errors import AudioError
from music_genre.features import audio
from music_genre.features import mel as spectrogram
from music_genre.features.mel import FEATURES_VERSION, MelConfig
from music_genre.features.store import (
    find_clips,
    is_stored,
    place_shard,
    plan_shards,
    read_clip,
    store_shard,
    write_index,
)
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@dataclass(frozen=True)
class Shard:
    """A file to be: its name, its clips, and the digest of all that determines it."""

    name: str
    track_ids: list[int]
    key: str


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    tracks, splits = pd.read_parquet(project.tracks).set_index("track_id"), pd.read_parquet(project.splits)
    stored = project.cache / "spectrograms"
    stored.mkdir(parents=True, exist_ok=True)
    origin = origins(project.raw, tracks, params)
    shards = plan(splits, origin)
    missing = [shard for shard in shards if not is_stored(stored, shard.key)]
    # An archive of ready spectrograms stands for all of its clips: they are as soon read as looked for.
    known = {} if not params.data.dataset.has_audio else find_clips(stored)
    wanted = [track_id for shard in missing for track_id in shard.track_ids]
    new = spectrograms(project.raw, tracks.loc[[each for each in wanted if origin[each] not in known]], params)
    for shard in missing:
        clips = (
            (track_id, read_clip(*known[origin[track_id]])) if origin[track_id] in known else next(new)
            for track_id in shard.track_ids
        )
        store_shard(stored, shard.key, clips, origin)
    place(project, shards, stored, tracks, splits, params)


def origins(raw: Path, tracks: pd.DataFrame, params: Params) -> pd.Series:
    """By track id, what determines its spectrogram: the digest of its file, the transform, the features version."""
    if not params.data.dataset.has_audio:
        return (
            tracks["path"]
            .map({name: _digest((raw / name).read_bytes()) for name in tracks["path"].unique()})
            .map(lambda archive: f"{archive} {params.data.section.scale} {FEATURES_VERSION}")
        )
    made_by = _digest(params.spectrogram.model_dump_json().encode(), f" {FEATURES_VERSION}".encode())
    return tracks["sha256"] + f" {made_by}"


def plan(splits: pd.DataFrame, origin: pd.Series) -> list[Shard]:
    """Every shard of every split."""
    shards = []
    for split in SPLITS:
        chosen = splits.loc[splits["split"] == split, "track_id"].tolist()
        for number, track_ids in enumerate(plan_shards(chosen)):
            key = _digest(*(f"{track_id} {origin[track_id]}\n".encode() for track_id in track_ids))
            shards.append(Shard(f"{split}-{number:05d}.npy", track_ids, key))
    return shards


def spectrograms(raw: Path, tracks: pd.DataFrame, params: Params) -> Iterator[tuple[int, np.ndarray | AudioError]]:
    """(track_id, (frames, n_mels) dB or what is wrong) of every track, in order."""
    if not params.data.dataset.has_audio:
        made: Iterator[np.ndarray | AudioError] = from_arrays(raw, tracks, params.data.section.scale)
    else:
        work = partial(features, raw, transform=params.spectrogram)
        made = map_clips(work, tracks["path"].tolist(), "Spectrograms", on_crash=crashed)
    return zip(tracks.index.tolist(), made, strict=True)


def from_arrays(raw: Path, tracks: pd.DataFrame, scale: str) -> Iterator[np.ndarray]:
    """(frames, n_mels) dB of ready spectrograms, in order; one archive at a time is in memory."""
    listed = arrays.load_tracks(raw)  # every archive's clips in its order, faulty ones included
    row = listed.groupby("path").cumcount().set_axis(listed["track_id"])
    archive, stored = "", np.empty(0)
    for track_id, path in tracks["path"].items():
        if path != archive:
            archive, stored = path, arrays.read_arrays(raw / path).mel
        yield arrays.to_db(stored[row[track_id]], scale)


def features(raw: Path, path: str, transform: MelConfig) -> np.ndarray | AudioError:
    """One file's spectrogram, in the precision it is stored with, or what is wrong with it."""
    try:
        # A second more than a clip: resampling its end takes a few samples from beyond it.
        recording = audio.decode(raw / path, transform.clip_duration_s + 1)
        return spectrogram.extract_first_clip(recording, transform).astype(np.float16)
    except AudioError as fault:
        return fault


def crashed(path: str) -> AudioError:
    """What is said of a file that ended its worker."""
    return AudioError("undecodable", "the decoder crashed")


def place(
    project: ProjectPaths, shards: list[Shard], stored: Path, tracks: pd.DataFrame, splits: pd.DataFrame, params: Params
) -> None:
    """Put the shards, their index and what was found faulty into ``data/spectrograms``; forget what no shard needs."""
    shutil.rmtree(project.spectrograms, ignore_errors=True)
    project.spectrograms.mkdir(parents=True)
    placed = [place_shard(stored, shard.key, project.spectrograms / shard.name) for shard in shards]
    faults = [(track_id, tracks["path"][track_id], "dropped", *why) for _, found in placed for track_id, *why in found]
    columns = ["track_id", "path", "severity", "reason", "detail"]
    pd.DataFrame(faults, columns=columns).to_csv(project.spectrograms / "faults.csv", index=False)
    rows = pd.concat([rows for rows, _ in placed], ignore_index=True)
    transform = None if not params.data.dataset.has_audio else params.spectrogram
    write_index(project.spectrograms, rows, splits, transform, params.data.min_duration_s)
    for file in stored.iterdir():
        if file.stem not in {shard.key for shard in shards}:
            file.unlink()


def _digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


if __name__ == "__main__":
    main()
