"""List the tracks and inspect every file: ``tracks.parquet`` and ``faults.csv``."""

from __future__ import annotations

from music_genre.datasets import arrays
from music_genre.datasets.inspection import index_audio, index_spectrograms, refuse_too_many
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    data = load_params(project.params).data
    listed = data.dataset.load_tracks(project.raw, data.section)
    if data.dataset.has_audio:
        tracks, faults = index_audio(listed, project.raw, data.min_duration_s, data.dataset.artists_from_tags)
    else:
        tracks, faults = index_spectrograms(listed, arrays.spread(project.raw))
    faults.to_csv(project.faults, index=False)
    refuse_too_many(faults, len(listed), data.max_skipped_fraction)
    tracks.to_parquet(project.tracks, index=False)
    counts = ", ".join(f"{count} {reason}" for reason, count in faults["reason"].value_counts().items())
    print(f"{len(tracks)} of {len(listed)} tracks, {tracks['genre'].nunique()} genres; faults: {counts or 'none'}")


if __name__ == "__main__":
    main()
