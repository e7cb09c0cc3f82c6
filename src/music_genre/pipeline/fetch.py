"""Bring the collection to ``data/raw``, whole or not at all."""

from __future__ import annotations

import shutil

from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    downloads = project.cache / "fetch"
    staging = downloads / "raw"
    shutil.rmtree(staging, ignore_errors=True)
    downloads.mkdir(parents=True, exist_ok=True)
    params.data.download(staging, downloads, params.seed)
    shutil.rmtree(project.raw, ignore_errors=True)
    project.raw.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staging, project.raw)  # a rename, unless the two are on different disks


if __name__ == "__main__":
    main()
