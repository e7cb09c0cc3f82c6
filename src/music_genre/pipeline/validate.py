"""Check the data before anything is trained on it: ``data/faults.csv`` and ``reports/data_quality``."""

from __future__ import annotations

import json

import pandas as pd

from music_genre.datasets.issues import check_issue_rate, left_out_issues, merge_issues
from music_genre.datasets.splits import official_tracks
from music_genre.errors import MusicGenreError
from music_genre.features.store import INDEX
from music_genre.files import read_csv
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.reporting.validation_pages import write_data_checks
from music_genre.validation.expectations import dataset_suites
from music_genre.validation.runner import validate


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    data, tracks = params.data, pd.read_parquet(project.tracks)
    inspection, failed = read_csv(project.inspection), read_csv(project.spectrogram_faults)
    issues = merge_issues([inspection, left_out_issues(read_csv(project.split_changes)), failed])
    issues.to_csv(project.faults, index=False)
    n_tracks = len(tracks) + int((inspection["severity"] == "dropped").sum())
    check_issue_rate(issues, n_tracks, data.max_skipped_fraction)
    has_audio, is_official = data.has_audio, official_tracks(tracks, params.split.method)
    suites = dataset_suites(
        tracks,
        pd.read_parquet(project.splits),
        pd.read_parquet(project.spectrograms / INDEX),
        (params.spectrogram.n_frames, params.spectrogram.n_mels) if has_audio else None,
        min_duration_s=data.min_duration_s if has_audio else None,
        allow_artist_overlap=params.split.method == "random" or bool(is_official.any()),
        expected_split_sizes=data.split_sizes,
    )
    site = project.data_quality / "site"
    report = validate(suites, site)
    write_data_checks(site, report)
    project.data_checks.write_text(json.dumps(report.summary, indent=2) + "\n", encoding="utf-8")
    print(*report.failures, sep="\n", end="\n" if report.failures else "")
    if not report.success:
        raise MusicGenreError(f"{len(report.failures)} expectations fail; {site}/index.html shows the data")
    print(f"All critical expectations pass; {site}/index.html shows them")


if __name__ == "__main__":
    main()
