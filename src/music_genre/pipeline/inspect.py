"""List the tracks and inspect every file: ``tracks.parquet`` and ``inspection.csv``."""

from __future__ import annotations

from music_genre.datasets.inspection import check_issue_rate
from music_genre.errors import MusicGenreError
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    data = load_params(project.params).data
    listed = data.load_tracks(project.raw)
    tracks, issues = data.inspect(listed, project.raw)
    issues.to_csv(project.inspection, index=False)
    try:
        check_issue_rate(issues, len(listed), data.max_skipped_fraction)
    except MusicGenreError:
        issues.to_csv(project.faults, index=False)  # stage validate, which writes it, will not run
        raise
    tracks.to_parquet(project.tracks, index=False)
    counts = ", ".join(f"{count} {reason}" for reason, count in issues["reason"].value_counts().items())
    print(f"{len(tracks)} of {len(listed)} tracks, {tracks['genre'].nunique()} genres; issues: {counts or 'none'}")


if __name__ == "__main__":
    main()
