"""``music-genre experiments``: the runs of DVC experiments."""

from __future__ import annotations

import typer

from music_genre.cli._context import connect
from music_genre.paths import ProjectPaths


def experiments() -> None:
    """List the runs of DVC experiments.

    The best on validation come first, with the params in which they differ.
    """
    project = ProjectPaths.find()
    from music_genre.cli._tables import print_table
    from music_genre.tracking.runs import list_experiments

    table = list_experiments(connect(project)[0])
    if table.empty:
        typer.echo("no DVC experiment has trained a model yet: `make sweep`, or `dvc exp run -S ...`")
        return
    rows = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    print_table([str(column) for column in table], rows)
