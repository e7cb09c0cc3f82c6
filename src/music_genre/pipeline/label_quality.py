"""Rank the tracks by how little their labels are believed: ``label_issues.csv``, for ``music-genre review``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from music_genre.evaluation.label_quality import find_label_issues, recording_digest
from music_genre.features.store import SpectrogramStore
from music_genre.models.baseline import clip_statistics
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

BATCH_SIZE = 256


@stage
def main(project: ProjectPaths) -> None:
    data, seed = SpectrogramStore.open(project.spectrograms), load_params(project.params).seed
    order, features, recordings = [], [], []
    for split in data.index["split"].unique():
        clips = data.split(split)
        order.append(clips.track_id)
        for mel in clips.batches(BATCH_SIZE):
            features.append(clip_statistics(mel))
            recordings += [recording_digest(clip) for clip in mel]
    splits = pd.read_parquet(project.splits).set_index("track_id").loc[np.concatenate(order)].reset_index()
    issues = find_label_issues(np.concatenate(features), splits, recordings, data.genres, seed)
    tracks = pd.read_parquet(project.tracks)
    issues.merge(tracks[["track_id", "path", "title"]], on="track_id").to_csv(project.label_issues, index=False)
    print(
        f"{len(issues)} of {len(splits)} tracks sound like another genre to a model that knows other artists;"
        " `music-genre review` is to listen and decide"
    )


if __name__ == "__main__":
    main()
