"""List the tracks, inspect every file, apply corrections: ``tracks.parquet`` and ``inspection.csv``."""

from __future__ import annotations

import sys
from pathlib import Path

from music_genre.datasets.corrections import forgotten_tracks, read_corrections
from music_genre.datasets.issues import check_issue_rate
from music_genre.datasets.recordings import InspectionCache
from music_genre.encoders.encoder import Encoder
from music_genre.errors import MusicGenreError
from music_genre.features.extraction import EmbeddingExtractor, FeatureExtractor, SpectrogramExtractor
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.settings import load_settings


def feature_extractors(project: ProjectPaths, params: Params) -> tuple[tuple[Path, FeatureExtractor], ...]:
    """The caches of all features that the same decoding gives, each with what makes them. Those of an encoder that is
    not here are left to stage ``embeddings``.
    """
    embeddings = [
        (project.embedding_cache(name), EmbeddingExtractor(Encoder.open(project.encoder(name)), params.spectrogram))
        for name in params.encoders
        if project.encoder(name).is_dir()
    ]
    return (project.cache / "spectrograms", SpectrogramExtractor(params.spectrogram)), *embeddings


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    data = params.data
    corrections = read_corrections(project.corrections)
    listed, notes = data.load_tracks(project.audio, forgotten_tracks(corrections))
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    cache = InspectionCache(project.cache / "inspect", feature_extractors(project, params))
    audio = load_settings(project.root).audio_folder(project.audio)
    inspected = data.inspect(listed, audio, cache, corrections)
    tracks, issues = inspected.tracks, inspected.issues
    issues.to_csv(project.inspection, index=False)
    try:
        check_issue_rate(issues, len(listed), data.max_skipped_fraction)
    except MusicGenreError:
        issues.to_csv(project.faults, index=False)  # stage validate, which writes it, will not run
        raise
    tracks.to_parquet(project.tracks, index=False)
    counts = ", ".join(f"{count} {reason}" for reason, count in issues["reason"].value_counts().items())
    print(f"{len(tracks)} of {len(listed)} tracks, {tracks['genre'].nunique()} genres; issues: {counts or 'none'}")
    n_corrected = int((tracks["genre"] != tracks["listed_genre"]).sum())
    if n_corrected or inspected.unknown_ids:
        print(
            f"{project.corrections}: {n_corrected} genres corrected;"
            f" {len(inspected.unknown_ids)} corrections of tracks that are not here"
        )


if __name__ == "__main__":
    main()
