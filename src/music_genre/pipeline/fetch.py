"""Bring the collection to ``data/audio``: copies of the user's files, and what is downloaded or made."""

from __future__ import annotations

from functools import partial

from music_genre.datasets.copying import update_copy
from music_genre.datasets.corrections import forgotten_tracks, read_corrections
from music_genre.datasets.listing import read_listing
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    downloads = project.cache / "fetch"
    downloads.mkdir(parents=True, exist_ok=True)
    listed = read_listing(project.listing)
    copied = {file.name.partition("/")[0] for file in listed}
    forgotten = forgotten_tracks(read_corrections(project.corrections))
    update_copy(
        project.audio,
        listed,
        downloads,
        partial(params.data.download, project.audio, downloads, params.seed, forgotten),
        [f"{name}/" for name in params.data.sources if name not in copied],
    )


if __name__ == "__main__":
    main()
