"""Check the data before anything is trained on it: ``summary.json`` and Data Docs."""

from __future__ import annotations

import json

import pandas as pd

from music_genre.datasets.splits import is_official
from music_genre.errors import MusicGenreError
from music_genre.features.store import INDEX
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.validation import expectations as checks


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    index = pd.read_parquet(project.spectrograms / INDEX)
    if not params.data.dataset.has_audio:
        shape = (int(index["frames"].mode()[0]), int(index["n_mels"].mode()[0]))
    else:
        shape = (params.spectrogram.n_frames, params.spectrogram.n_mels)
    tracks = pd.read_parquet(project.tracks)
    suites = checks.suites(
        tracks,
        pd.read_parquet(project.splits),
        index,
        shape,
        min_duration_s=params.data.min_duration_s,
        artists_may_span=params.split.method == "random" or is_official(tracks, params.split.method),
        is_fma_small=params.data.source == "fma" and params.data.section.subset == "small",
    )
    verdict = checks.run(suites, project.data_quality / "site")
    summary = json.dumps(verdict.summary, indent=2) + "\n"
    (project.data_quality / "summary.json").write_text(summary, encoding="utf-8")
    print(*verdict.failures, sep="\n", end="\n" if verdict.failures else "")
    if not verdict.success:
        raise MusicGenreError(
            f"{len(verdict.failures)} checks failed; {project.data_quality}/site/index.html shows the data"
        )
    print(f"All checks hold; {project.data_quality}/site/index.html shows them")


if __name__ == "__main__":
    main()
