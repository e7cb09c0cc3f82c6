"""The command ``music-genre``.

Commands import heavy libraries when they run, never above: ``--help`` answers at once, and wrong arguments are refused
before anything is loaded.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from music_genre.cli._context import ExitCode
from music_genre.cli.artist_effect import artist_effect
from music_genre.cli.compare import compare
from music_genre.cli.drift import drift
from music_genre.cli.experiments import experiments
from music_genre.cli.explain import explain, visualize_filters
from music_genre.cli.forget import forget
from music_genre.cli.learn_curve import learn_curve
from music_genre.cli.models import promote, register, rollback, versions
from music_genre.cli.predict import predict
from music_genre.cli.retrain import retrain
from music_genre.cli.review import review
from music_genre.errors import GateRefusedError, MusicGenreError
from music_genre.runtime import configure_libraries


class CommandGroup(TyperGroup):
    """The commands, whose known failures are one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MusicGenreError as error:
            typer.echo(f"music-genre: {' '.join(str(error).split())}", err=True)
            refused = isinstance(error, GateRefusedError)
            raise typer.Exit(ExitCode.REFUSED if refused else ExitCode.FAILED) from error


app = typer.Typer(
    name="music-genre", cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def prepare() -> None:
    """Predict the genre of music, and manage the models that do.

    Exit codes: 0 done; 1 failed, with one line of reason; 2 wrong usage; 3 refused by the gate, drift detected, or some
    of several files have no prediction.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be text in any encoding.
            stream.reconfigure(errors="backslashreplace")
    configure_libraries()


COMMANDS: dict[str, Callable[..., None]] = {
    "predict": predict,
    "explain": explain,
    "visualize-filters": visualize_filters,
    "versions": versions,
    "register": register,
    "promote": promote,
    "rollback": rollback,
    "retrain": retrain,
    "experiments": experiments,
    "compare": compare,
    "drift": drift,
    "artist-effect": artist_effect,
    "learn-curve": learn_curve,
    "review": review,
    "forget": forget,
}

for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its code."""
    app(prog_name="music-genre")
