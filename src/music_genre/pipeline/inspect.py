"""List the tracks and listen to every one: ``tracks.parquet`` and ``faults.csv``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from music_genre.datasets import arrays, fma, folder
from music_genre.datasets.inspection import index_audio, index_spectrograms, refuse_too_many
from music_genre.params import DataParams, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    data = load_params(project.params).data
    listed = list_tracks(project.raw, data)
    if data.source == "arrays":
        tracks, faults = index_spectrograms(listed, arrays.spread(project.raw))
    else:
        tracks, faults = index_audio(listed, project.raw, data.min_seconds, data.source == "folder")
    faults.to_csv(project.faults, index=False)
    refuse_too_many(faults, len(listed), data.max_fault_share)
    tracks.to_parquet(project.tracks, index=False)
    counts = ", ".join(f"{count} {reason}" for reason, count in faults["reason"].value_counts().items())
    print(f"{len(tracks)} of {len(listed)} tracks, {tracks['genre'].nunique()} genres; faults: {counts or 'none'}")


def list_tracks(raw: Path, data: DataParams) -> pd.DataFrame:
    """The tracks that the source says it has."""
    if data.source == "arrays":
        return arrays.tracks(raw)
    if data.source == "folder":
        return folder.tracks(raw, data.folder.artist_pattern)
    return fma.tracks(raw, "small" if data.source == "sample" else data.fma.subset)


if __name__ == "__main__":
    main()
