"""Turn every clip into a log-mel spectrogram: the shards of ``data/spectrograms``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.audio import decode
from music_genre.params import load_params
from music_genre.project import Project
from music_genre.shards import write_index, write_split
from music_genre.sources import arrays
from music_genre.spectrogram import clip_features
from music_genre.splits import SPLITS
from music_genre.stages import stage
from music_genre.transform import MelTransform
from music_genre.workers import map_clips


@stage
def main(project: Project) -> None:
    params = load_params(project.params)
    tracks, splits = pd.read_parquet(project.tracks), pd.read_parquet(project.splits)
    shutil.rmtree(project.spectrograms, ignore_errors=True)
    project.spectrograms.mkdir(parents=True)
    chosen = {split: splits.loc[splits["split"] == split, "track_id"].tolist() for split in SPLITS}
    if params.data.source == "arrays":
        transform, mel = None, from_arrays(project.raw, chosen, params.data.arrays.scale)
    else:
        transform, mel = params.spectrogram, from_audio(project.raw, tracks, chosen, params.spectrogram)
    # Each split takes its clips off the one stream, so that the workers start once.
    written = [write_split(project.spectrograms, split, zip(chosen[split], mel, strict=False)) for split in SPLITS]
    write_index(project.spectrograms, pd.concat(written, ignore_index=True), splits, transform, params.data.min_seconds)


def from_audio(
    raw: Path, tracks: pd.DataFrame, chosen: dict[str, list[int]], transform: MelTransform
) -> Iterator[np.ndarray]:
    """(frames, n_mels) dB of every chosen track, split by split."""
    paths = tracks.set_index("track_id")["path"]
    files = [str(paths[track_id]) for split in chosen.values() for track_id in split]
    return map_clips(partial(features, raw, transform=transform), files, "Spectrograms")


def from_arrays(raw: Path, chosen: dict[str, list[int]], scale: str) -> Iterator[np.ndarray]:
    """The same from ready spectrograms."""
    listed = arrays.tracks(raw)  # every archive's clips in its order, faulty ones included
    for split, track_ids in chosen.items():
        archive = f"{split}.npz"
        stored = arrays.read_arrays(raw / archive).mel
        row = {track_id: row for row, track_id in enumerate(listed.loc[listed["path"] == archive, "track_id"])}
        for track_id in track_ids:
            yield arrays.to_db(stored[row[track_id]], scale)


def features(raw: Path, path: str, transform: MelTransform) -> np.ndarray:
    """One file's spectrogram, in the precision it is stored with."""
    # A second more than a clip: resampling its end takes a few samples from beyond it.
    recording = decode(raw / path, transform.clip_seconds + 1)
    return clip_features(recording, transform).astype(np.float16)


if __name__ == "__main__":
    main()
