"""Decide who is trained on, chosen by and tested on: ``splits.parquet``."""

from __future__ import annotations

import pandas as pd

from music_genre.params import load_params
from music_genre.project import Project
from music_genre.splits import assign_splits, split_table
from music_genre.stages import stage


@stage
def main(project: Project) -> None:
    params = load_params(project.params)
    tracks = pd.read_parquet(project.tracks)
    splits = assign_splits(tracks, params.split.validation, params.split.test, params.seed)
    splits.to_parquet(project.splits, index=False)
    print(split_table(splits).to_string())


if __name__ == "__main__":
    main()
