"""Turn every clip into a log-mel spectrogram: ``data/spectrograms``, by way of ``.cache/spectrograms``."""

from __future__ import annotations

import pandas as pd

from music_genre.datasets.issues import DataIssue, issue_table
from music_genre.datasets.splits import SPLITS
from music_genre.errors import IssueReason
from music_genre.features.cache import build_store
from music_genre.features.statistics import is_band_limited
from music_genre.features.store import INDEX
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.settings import load_settings


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    tracks, splits = pd.read_parquet(project.tracks), pd.read_parquet(project.splits)
    audio = load_settings(project.root).audio_folder(project.audio)
    clips = params.data.clips(audio, tracks, params.spectrogram, project.cache / "journal")
    cache = project.cache / "spectrograms"
    splits = splits[["track_id", "genre", "split"]]
    failed = build_store(project.spectrograms, cache, splits, SPLITS, clips, params.data.min_duration_s)
    paths = tracks.set_index("track_id")["path"]
    issues = [DataIssue(clip.track_id, paths[clip.track_id], "dropped", clip.reason, clip.detail) for clip in failed]
    index = pd.read_parquet(project.spectrograms / INDEX)
    limited = index.loc[is_band_limited(index["upper_fraction"]), "track_id"]
    detail = f"nothing above {params.spectrogram.sample_rate_hz / 4000:.1f} kHz"
    issues += [DataIssue(i, paths[i], "warned", IssueReason.BAND_LIMITED, detail) for i in limited]
    issue_table(issues).to_csv(project.spectrogram_faults, index=False)


if __name__ == "__main__":
    main()
