"""Select a model and judge it by what the stages found: ``reports/gate.json``, the same wherever it runs."""

from __future__ import annotations

from music_genre.features.store import SpectrogramStore
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.pipeline.register import decide


@stage
def main(project: ProjectPaths) -> None:
    decide(project, load_params(project.params), SpectrogramStore.open(project.spectrograms))


if __name__ == "__main__":
    main()
