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
        with bundle_dir(model) as (folder, _):
            from music_genre.inference.batch import MAX_DURATION_S
            from music_genre.interpretation.explain_clip import explain_recording

            explanation = explain_recording(folder, file, MAX_DURATION_S)
    except AudioError as error:
        raise MusicGenreError(f"{file}: {error}") from error
    save_plot(explanation.plot, output)
    typer.echo(f"{file}: {explanation.genre} ({explanation.confidence:.0%})")
    typer.echo(f"  {explanation.reason}")
    if explanation.tags:
        tags = ", ".join(f"{tag} ({probability:.0%})" for tag, probability in explanation.tags)
        typer.echo(f"  the encoder's own tags: {tags}")
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

    For each filter, the spectrogram that maximizes its activation.
    """
    output = output or Path(f"{model}_{layer.replace('/', '_')}.png")
    project = ProjectPaths.find()
    check_output(output, ".png")
    from music_genre.features.store import SpectrogramStore
    from music_genre.models.serialization import model_file
    from music_genre.params import load_params

    params = load_params(project.params)
    if model not in params.networks:
        raise MusicGenreError(f"no network {model!r}; there are {', '.join(params.networks)}")
    data, file = SpectrogramStore.open(project.spectrograms), model_file(project.models, model)
    from music_genre.interpretation.activations import load_network
    from music_genre.interpretation.feature_visualization import visualize_layer
    from music_genre.interpretation.plots import SpectrogramAxes, plot_filters

    filters = visualize_layer(load_network(file), layer, data, count, params.seed)
    save_plot(plot_filters(filters, SpectrogramAxes(data.transform), model), output)
    typer.echo(f"{output}: {len(filters.table)} of the {filters.n_filters} filters of {filters.layer} of {model}")


def save_plot(plot: Figure, output: Path) -> None:
    """Write a figure as PNG.

    Raises:
        MusicGenreError: it cannot be written.
    """
    from music_genre.evaluation.plots import save_figure

    try:
        save_figure(plot, output)
    except OSError as error:
        raise MusicGenreError(f"{output} cannot be written: {error.strerror}") from error
