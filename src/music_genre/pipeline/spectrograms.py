"""Turn every clip into a log-mel spectrogram: ``data/spectrograms``, by way of ``.cache/spectrograms``."""

from __future__ import annotations

import pandas as pd

from music_genre.datasets.issues import DataIssue, issue_table
from music_genre.datasets.splits import SPLITS
from music_genre.features.cache import build_store
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    tracks, splits = pd.read_parquet(project.tracks), pd.read_parquet(project.splits)
    clips = params.data.clips(project.audio, tracks, params.spectrogram)
    cache = project.cache / "spectrograms"
    failed = build_store(project.spectrograms, cache, splits, SPLITS, clips, params.data.min_duration_s)
    paths = tracks.set_index("track_id")["path"]
    issues = [DataIssue(clip.track_id, paths[clip.track_id], "dropped", clip.reason, clip.detail) for clip in failed]
    issue_table(issues).to_csv(project.spectrogram_faults, index=False)


if __name__ == "__main__":
    main()
