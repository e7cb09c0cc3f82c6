"""Bring the collection to ``data/raw``, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    staging = project.cache / "fetch/raw"
    shutil.rmtree(staging, ignore_errors=True)
    staging.parent.mkdir(parents=True, exist_ok=True)
    fetch(staging, params, project.cache / "fetch")
    shutil.rmtree(project.raw, ignore_errors=True)
    project.raw.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staging, project.raw)  # a rename, unless the two lie on different disks


def fetch(raw: Path, params: Params, cache: Path) -> None:
    """Fill ``raw`` from the source that ``params`` names; ``cache`` keeps what was downloaded."""
    if params.data.source == "sample":
        from music_genre.datasets import synthetic as sample

        sample.write_collection(raw, params.data.sample.tracks_per_genre, params.data.sample.seconds, params.seed)
    elif params.data.source == "fma":
        from music_genre.datasets import fma

        fma.fetch(raw, params.data.fma, cache)
    elif params.data.source == "folder":
        from music_genre.datasets import folder

        folder.fetch(raw, params.data.folder)
    else:
        from music_genre.datasets import arrays

        arrays.fetch(raw, params.data.arrays)


if __name__ == "__main__":
    main()
