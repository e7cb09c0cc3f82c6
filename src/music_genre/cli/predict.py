"""``music-genre predict``: the genres of audio files, or of ready spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from music_genre.audio.folder import audio_files, check_file
from music_genre.cli._context import ExitCode, ModelOption, check_output, load_model
from music_genre.cli._predictions import Results, opened, print_results, report_error, write_lines, write_table
from music_genre.cli._server import PredictionServer, find_api_key
from music_genre.errors import AudioError, MusicGenreError
from music_genre.paths import ProjectPaths
from music_genre.registry.history import CHAMPION


def predict(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE|FOLDER", help="Recordings of any kind, as mp3, wav, flac, m4a; or folders."),
    ] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Predict each segment of a file, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A row a file, errors too: a CSV table, or with --json JSON lines."),
    ] = None,
    model: ModelOption = CHAMPION,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask a running service, as http://localhost:3000, and load no model here."),
    ] = None,
    input_arrays: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Spectrograms, not audio: mel (n, n_frames, n_mels), track_id (n,)."),
    ] = None,
) -> None:
    """Predict the genre of audio files.

    With --input-arrays and --output FILE.csv: of spectrograms.

    A folder stands for every file below it that is audio or is called so. Exit code 1: failed, or the only file has no
    prediction; 3: some of several files have no prediction.
    """
    paths = files or []
    check_usage(paths, timeline, as_json, output, input_arrays)
    if server is None:
        ProjectPaths.find()
    else:
        check_server(server, is_given(ctx, "model"), input_arrays)
    if output:
        check_output(output)
    if input_arrays and output:
        if not input_arrays.is_file():
            raise MusicGenreError(f"{input_arrays}: no such file")
        predict_arrays(input_arrays, output, model)
        return
    audio = audio_files(paths)
    if not any(file.is_file() for file in audio):
        # Loading a model takes seconds, and there is nothing to predict.
        for file in audio:
            report_missing(file)
        raise no_prediction(paths, audio)
    description = "Predicting" if output else ""
    if server is None:
        results, genres = predict_here(model, audio, timeline, description)
    else:
        results, genres = ask_server(server, audio, timeline, description)
    n_errors = write_results(results, genres, as_json, output)
    if output:
        typer.echo(f"{len(audio) - n_errors} predictions, {n_errors} errors written to {output}")
        if n_errors:
            typer.echo(f"music-genre: {n_errors} of {len(audio)} files have no prediction; see {output}", err=True)
    if n_errors:
        raise no_prediction(paths, audio)


def predict_here(model: str, audio: Sequence[Path], timeline: bool, description: str) -> tuple[Results, Sequence[str]]:
    """Predictions by a model that is loaded here, and its genres."""
    bundle, threshold = load_model(model)
    from music_genre.inference.batch import predict_files

    journal = ProjectPaths.find().cache / "predict-journal"
    return predict_files(bundle, threshold, audio, timeline, description, journal), bundle.manifest.genres


def ask_server(url: str, audio: Sequence[Path], timeline: bool, description: str) -> tuple[Results, Sequence[str]]:
    """Predictions by a running service, and the genres of its model."""
    service = PredictionServer(url, find_api_key())
    genres = service.read_genres()
    return service.predict_files(audio, timeline, description), genres


def write_results(results: Results, genres: Sequence[str], as_json: bool, output: Path | None) -> int:
    """Print predictions, or write them to a file; returns the number of errors."""
    if not output:
        return print_results(results, as_json)
    return write_lines(results, output) if as_json else write_table(results, genres, output)


def report_missing(file: Path) -> None:
    """Print on stderr that a path is no file."""
    try:
        check_file(file)
    except AudioError as error:
        report_error(file, error)


def no_prediction(paths: Sequence[Path], files: Sequence[Path]) -> typer.Exit:
    """How the command ends where a file has no prediction: failed if it is the only argument."""
    return typer.Exit(ExitCode.FAILED if list(paths) == list(files) and len(files) == 1 else ExitCode.REFUSED)


def check_usage(
    paths: Sequence[Path], timeline: bool, as_json: bool, output: Path | None, input_arrays: Path | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        typer.BadParameter: they do not.
    """
    if bool(paths) == bool(input_arrays):
        raise typer.BadParameter("give either FILEs or --input-arrays FILE.npz")
    if input_arrays and (output is None or timeline or as_json):
        raise typer.BadParameter("--input-arrays takes --output FILE.csv, but neither --timeline nor --json")
    if output and timeline and not as_json:
        raise typer.BadParameter("a CSV table has no segments: --timeline with --output takes --json")


def is_given(ctx: typer.Context, option: str) -> bool:
    """Whether an option was given, be it with its default's value."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def check_server(server: str, has_model: bool, input_arrays: Path | None) -> None:
    """Refuse an address that is none, and options that do not go with it.

    Raises:
        typer.BadParameter: they do not.
    """
    if has_model or input_arrays:
        raise typer.BadParameter("--server predicts audio by its own model: neither --model nor --input-arrays")
    try:
        address = urlsplit(server)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in ("http", "https") or not address.hostname:
        raise typer.BadParameter("takes an address as http://localhost:3000", param_hint="'--server'")


def predict_arrays(source: Path, output: Path, model: str) -> None:
    """Write track_id, genre and one probability column a genre for every spectrogram of an npz archive."""
    import numpy as np
    import pandas as pd

    from music_genre.datasets.arrays import read_arrays
    from music_genre.features.mel import to_db
    from music_genre.features.params import SPECTROGRAMS
    from music_genre.models.predictors import PREDICT_BATCH_SIZE
    from music_genre.params import load_params

    arrays = read_arrays(source)
    if not np.isfinite(arrays.mel).all():
        raise MusicGenreError(f"{source}: mel has values that are not finite")
    data = load_params(ProjectPaths.find().params).data
    if "arrays" not in data.names:
        raise MusicGenreError("params.yaml has no section data.arrays, whose scale says what the values are")
    scale = data["arrays"].scale
    bundle, _ = load_model(model)
    if bundle.manifest.inputs != (SPECTROGRAMS,):
        raise MusicGenreError(f"{model} takes audio, not spectrograms: choose another by --model")
    if arrays.mel.shape[1:] != bundle.manifest.shape:
        raise MusicGenreError(
            f"{source}: spectrograms are {arrays.mel.shape[1:]}, the model takes {bundle.manifest.shape}"
        )
    starts = range(0, len(arrays.mel), PREDICT_BATCH_SIZE)
    batches = (arrays.mel[start : start + PREDICT_BATCH_SIZE] for start in starts)
    probabilities = np.concatenate([bundle.predict({SPECTROGRAMS: to_db(batch, scale)}) for batch in batches])
    genres = np.asarray(bundle.manifest.genres)
    track_id = np.arange(len(arrays.mel)) if arrays.track_id is None else arrays.track_id
    table = pd.DataFrame({"track_id": track_id, "genre": genres[probabilities.argmax(axis=1)]})
    with opened(output) as stream:
        pd.concat([table, pd.DataFrame(probabilities, columns=genres)], axis=1).to_csv(stream, index=False)
    typer.echo(f"{len(table)} predictions written to {output}")
