"""``music-genre forget``: take a recording out of everything, and say what still holds it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths


def forget(
    what: Annotated[
        str, typer.Argument(metavar="TRACK|REQUEST", help="A track_id, a recording's file, or a request's id.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take a recording out of everything here.

    Removes your own file of it, copies, features, log lines and artifacts; then says what still holds it. It can be
    killed and run again. dvc repro then trains without it.
    """
    project = ProjectPaths.find()
    from music_genre.forgetting.forget import plan_forgetting

    plan = plan_forgetting(project, what)
    if plan.holders:
        typer.echo(f"{plan.recording} is held by:")
        for holder in plan.holders:
            typer.echo(f"  {holder.where.removeprefix(f'{project.root}/')}")
        if not yes and not sys.stdin.isatty():
            raise MusicGenreError("nothing was removed: without a terminal to ask on, --yes is needed")
        if not yes and not typer.confirm("Remove all of this?"):
            raise MusicGenreError("nothing was removed")
    failures = plan.carry_out()
    typer.echo(
        f"{plan.recording}: {len(plan.holders) - len(failures)} removed"
        if plan.holders
        else f"nothing here holds {plan.recording}"
    )
    for line in ("Still held by, as far as it was there:", *(f"  {text}" for text in plan.remaining)):
        typer.echo(line)
    if failures:
        raise MusicGenreError(f"{len(failures)} could not be removed; fix this and run again: {'; '.join(failures)}")
    if plan.holders:
        typer.echo("`dvc repro` makes everything anew without it.")
