"""Split tracks into training, validation and test: ``splits.parquet``, and ``splits.csv`` for people."""

from __future__ import annotations

import pandas as pd

from music_genre.datasets.splits import assign_splits, split_table
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    tracks = pd.read_parquet(project.tracks)
    split = params.split
    splits = assign_splits(tracks, split.validation_fraction, split.test_fraction, params.seed, split.method)
    splits.to_parquet(project.splits, index=False)
    table = split_table(splits)
    project.split_table.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(project.split_table, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
