"""Predictions as rows of a table."""

from __future__ import annotations

from pathlib import Path

from music_genre.cli._predictions import csv_columns, csv_row
from music_genre.errors import AudioError, IssueReason

GENRES = ("Blues", "Rock")
PREDICTION = {
    "genre": "Rock",
    "confidence": 0.75,
    "confident": False,
    "probabilities": {"Blues": 0.25, "Rock": 0.75},
    "duration_seconds": 2.0,
    "notes": [{"code": "truncated", "message": "..."}, {"code": "band_limited", "message": "..."}],
    "tags": [{"tag": "guitar", "probability": 0.5}],
}


def test_row_has_a_column_for_each_probability_and_the_codes_of_notes() -> None:
    row = csv_row(Path("a.mp3"), PREDICTION)
    assert row == {
        "file": "a.mp3",
        "genre": "Rock",
        "confidence": 0.75,
        "confident": False,
        "duration_seconds": 2.0,
        "notes": "truncated;band_limited",
        "Blues": 0.25,
        "Rock": 0.75,
    }
    assert set(row) <= set(csv_columns(GENRES))


def test_row_of_a_file_without_a_prediction_has_the_error_alone() -> None:
    row = csv_row(Path("a.mp3"), AudioError(IssueReason.EMPTY, "the file has 0 bytes"))
    assert row == {"file": "a.mp3", "error": "empty: the file has 0 bytes"}
