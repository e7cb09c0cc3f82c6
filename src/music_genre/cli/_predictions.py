"""Predictions as people and programs read them: lines, JSON, a table. Each is written at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import typer

from music_genre.errors import MusicGenreError

Predicted = dict[str, Any] | MusicGenreError  # what ``inference.format_prediction`` gives, or why there is none
Results = Iterable[tuple[Path, Predicted]]


def print_results(results: Results, as_json: bool) -> int:
    """Print predictions on stdout and errors on stderr; returns the number of errors."""
    n_errors = 0
    for path, result in results:
        if isinstance(result, MusicGenreError):
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


def write_lines(results: Results, output: Path) -> int:
    """Write a JSON object a line, of a file with an error only ``file`` and ``error``; returns the number of errors.

    Each line is written at once, so that an interrupted command leaves the predictions that it made.
    """
    n_errors = 0
    with opened(output) as stream:
        for path, result in results:
            row = {"error": str(result)} if isinstance(result, MusicGenreError) else result
            n_errors += "error" in row
            stream.write(json.dumps({"file": str(path), **row}) + "\n")
            stream.flush()
    return n_errors


def write_table(results: Results, genres: Sequence[str], output: Path) -> int:
    """Write a CSV row a file, each at once; returns the number of errors."""
    n_errors = 0
    with opened(output) as stream:
        writer = csv.DictWriter(stream, csv_columns(genres))
        writer.writeheader()
        for path, result in results:
            writer.writerow(csv_row(path, result))
            stream.flush()
            n_errors += isinstance(result, MusicGenreError)
    return n_errors


def csv_columns(genres: Sequence[str]) -> list[str]:
    """The columns of a table of predictions: one for each genre at the end."""
    return ["file", "genre", "confidence", "confident", "duration_seconds", "notes", "error", *genres]


def csv_row(file: Path, predicted: Predicted) -> dict[str, Any]:
    """A row of ``csv_columns``; that of a file without a prediction has only ``file`` and ``error``."""
    if isinstance(predicted, MusicGenreError):
        return {"file": str(file), "error": str(predicted)}
    row = dict(predicted)
    probabilities, notes = row.pop("probabilities"), row.pop("notes", [])
    row.pop("tags", None)  # a table has no lists
    return {"file": str(file), **row, "notes": ";".join(note["code"] for note in notes), **probabilities}


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


def report_error(path: Path, error: MusicGenreError) -> None:
    """Print on stderr why a file has no prediction."""
    typer.echo(f"music-genre: {path}: {error}", err=True)
