"""``music-genre explain`` and ``music-genre visualize-filters``: plots of what a prediction or a filter depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.cli._context import ModelOption, bundle_dir, check_output
from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Audio, as for predict.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Default: FILE with the suffix .explained.png.")
    ] = None,
    model: ModelOption = "champion",
) -> None:
    """Plot the saliency map of a prediction."""
    output = output or file.with_name(f"{file.stem}.explained.png")
    ProjectPaths.find()
    check_output(output, ".png")
    try:
        if not file.is_file():
            raise AudioError(IssueReason.MISSING, "no such file")
        from music_genre.inference.batch import MAX_DURATION_S
        from music_genre.interpretation import explain_clip

        with bundle_dir(model) as (folder, _):
            explanation = explain_clip.explain(folder, file, MAX_DURATION_S)
    except AudioError as error:
        raise MusicGenreError(f"{file}: {error}") from error
    save_plot(explanation.picture, output)
    typer.echo(f"{file}: {explanation.genre} ({explanation.confidence:.0%})")
    typer.echo(f"  {explanation.reason}")
    typer.echo(f"  saliency map: {output}")


def visualize_filters(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A trained network by name, as crnn.")],
    layer: Annotated[
        str,
        typer.Argument(metavar="LAYER", help="A convolution, as conv3; another name lists the right ones."),
    ],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Filters shown, the most selective first.")] = 24,
    output: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Default: MODEL_LAYER.png.")] = None,
) -> None:
    """Plot what activates a convolution's filters.

    For each filter, the spectrogram that maximises its activation.
    """
    output = output or Path(f"{model}_{layer.replace('/', '_')}.png")
    project = ProjectPaths.find()
    check_output(output, ".png")
    from music_genre.pipeline.interpret import look_into

    plot, description = look_into(project, model, layer, count)
    save_plot(plot, output)
    typer.echo(f"{output}: {description}")


def save_plot(plot: Figure, output: Path) -> None:
    from music_genre.evaluation.plots import save_figure

    try:
        save_figure(plot, output)
    except OSError as error:
        raise MusicGenreError(f"{output} cannot be written: {error.strerror}") from error
