"""``music-genre predict``: the genres of audio files, or of ready spectrograms."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from music_genre.cli._context import ExitCode, ModelOption, check_output, load_model
from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from music_genre.inference.batch import Predicted


def predict(
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
    model: ModelOption = "champion",
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
    project = ProjectPaths.find()
    if output:
        check_output(output)
    if input_arrays and output:
        if not input_arrays.is_file():
            raise MusicGenreError(f"{input_arrays}: no such file")
        predict_arrays(input_arrays, output, model)
        return
    if not any(path.exists() for path in paths):
        # Loading a model takes seconds, and there is nothing to predict.
        for path in paths:
            report_error(path, AudioError(IssueReason.MISSING, "no such file"))
        raise no_prediction(paths, paths)
    bundle, threshold = load_model(model)
    from music_genre.inference.batch import audio_files, predict_files

    audio = audio_files(paths)
    results = predict_files(
        bundle, threshold, audio, timeline, "Predicting" if output else "", project.cache / "predict-journal"
    )
    if not output:
        n_errors = print_results(results, as_json)
    else:
        n_errors = write_lines(results, output) if as_json else write_table(results, bundle.manifest.genres, output)
        typer.echo(f"{len(audio) - n_errors} predictions, {n_errors} errors written to {output}")
        if n_errors:
            typer.echo(f"music-genre: {n_errors} of {len(audio)} files have no prediction; see {output}", err=True)
    if n_errors:
        raise no_prediction(paths, audio)


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


def print_results(results: Iterable[tuple[Path, Predicted]], as_json: bool) -> int:
    """Print predictions on stdout and errors on stderr; returns the number of errors."""
    n_errors = 0
    for path, result in results:
        if isinstance(result, AudioError):
            n_errors += 1
            report_error(path, result)
        elif as_json:
            typer.echo(json.dumps({"file": str(path), **result}))
        else:
            note = "" if result["confident"] else ", low confidence"
            typer.echo(f"{path}: {result['genre']} ({result['confidence']:.0%}{note})")
            for remark in result.get("notes", []):
                typer.echo(f"  {remark['message']}")
            for segment in result.get("segments", []):
                start, end, genre = segment["start_seconds"], segment["end_seconds"], segment["genre"]
                typer.echo(f"  {start:7.1f} - {end:.1f} s  {genre} ({segment['probabilities'][genre]:.0%})")
    return n_errors


def write_lines(results: Iterable[tuple[Path, Predicted]], output: Path) -> int:
    """Write a JSON object a line, of a file with an error only ``file`` and ``error``; returns the number of errors.

    Each line is written at once, so that an interrupted command leaves the predictions that it made.
    """
    n_errors = 0
    with opened(output) as stream:
        for path, result in results:
            row = {"error": str(result)} if isinstance(result, AudioError) else result
            n_errors += "error" in row
            stream.write(json.dumps({"file": str(path), **row}) + "\n")
            stream.flush()
    return n_errors


def write_table(results: Iterable[tuple[Path, Predicted]], genres: Sequence[str], output: Path) -> int:
    """Write a CSV row a file, each at once; returns the number of errors."""
    from music_genre.inference.batch import csv_columns, csv_row

    n_errors = 0
    with opened(output) as stream:
        writer = csv.DictWriter(stream, csv_columns(genres))
        writer.writeheader()
        for path, result in results:
            writer.writerow(csv_row(path, result))
            stream.flush()
            n_errors += isinstance(result, AudioError)
    return n_errors


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


@contextmanager
def opened(output: Path) -> Iterator[TextIO]:
    """A text file to write; names of files that are not text in any encoding are written with escapes.

    Raises:
        MusicGenreError: it cannot be written.
    """
    try:
        with output.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
    except OSError as error:
        raise MusicGenreError(f"{output} cannot be written: {error.strerror}") from error


def report_error(path: Path, error: AudioError) -> None:
    typer.echo(f"music-genre: {path}: {error}", err=True)
