"""List what lies at the sources: ``listing.parquet``. It runs in every ``dvc repro``, so that changes are seen."""

from __future__ import annotations

import sys

from music_genre.datasets.listing import Changes, check_overlap, read_listing, stat_files, write_listing
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

MAX_SKIPPED_SHOWN = 20


@stage
def main(project: ProjectPaths) -> None:
    data = load_params(project.params).data
    check_overlap(data.roots, project.outs)
    listing = data.list_files()
    for reason in listing.skipped[:MAX_SKIPPED_SHOWN]:
        print(f"left out: {reason}", file=sys.stderr)
    if len(listing.skipped) > MAX_SKIPPED_SHOWN:
        print(f"left out: {len(listing.skipped) - MAX_SKIPPED_SHOWN} more", file=sys.stderr)
    files = stat_files(listing.files)
    changes = Changes.between(read_listing(project.listing), files)
    write_listing(project.listing, files, data.source_sections())
    found = f"{len(files):,} files: {changes}" if data.roots else "no files outside the project"
    print(f"{data.source_name}: {found}")


@stage
def check(project: ProjectPaths) -> None:
    """Refuse sources that overlap the project's folders, before DVC starts: experiments remove and write those before
    any stage runs.
    """
    check_overlap(load_params(project.params).data.roots, project.outs)


if __name__ == "__main__":
    main()
