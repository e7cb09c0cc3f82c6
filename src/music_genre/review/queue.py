"""What there is to decide: labels that look wrong, and recordings that lie under several genres."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from music_genre.datasets.corrections import DROP, read_corrections, write_corrections
from music_genre.errors import IssueReason, MusicGenreError
from music_genre.files import read_csv


@dataclass(frozen=True)
class ReviewItem:
    """A track to decide on.

    Args:
        track_id: of the track.
        path: of its recording, relative to ``data/audio``.
        title: as far as known.
        genre: its label; empty where copies have several.
        suggested: what a model believes; empty where there is none.
        self_confidence: the model's probability of the label, in [0, 1]; None where it has none.
        suggested_confidence: likewise, of what is suggested.
        note: why else the label may be wrong.
    """

    track_id: int
    path: str
    title: str
    genre: str
    suggested: str
    self_confidence: float | None
    suggested_confidence: float | None
    note: str


class ReviewQueue:
    """The items of one checkout, and the decisions on them: rows of ``corrections.csv``.

    Args:
        label_issues: ``label_issues.csv``.
        faults: ``faults.csv``, whose copies under several genres come first.
        corrections: ``corrections.csv``, read and replaced at every decision.
        genres: that a track can have.

    Raises:
        MusicGenreError: there is nothing to review as yet.
    """

    def __init__(self, label_issues: Path, faults: Path, corrections: Path, genres: list[str]) -> None:
        if not label_issues.is_file():
            raise MusicGenreError(f"{label_issues} does not exist: `dvc repro label_quality` makes it")
        self.genres, self.corrections = genres, corrections
        copies = _copies(read_csv(faults)) if faults.is_file() else []
        items = [*copies, *_suspicious(read_csv(label_issues))]
        self.items = {item.track_id: item for item in reversed(items)}
        self.order = list(dict.fromkeys(item.track_id for item in items))

    def decisions(self) -> dict[int, str]:
        """By track_id, the genre that was decided on, or ``drop``."""
        table = read_corrections(self.corrections)
        return dict(zip(table["track_id"].tolist(), table["genre"].tolist(), strict=True))

    def decide(self, track_id: int, genre: str | None, reason: str) -> None:
        """Write a decision; None takes it back.

        Raises:
            KeyError: the track is none of the queue.
            ValueError: the genre is unknown.
        """
        if track_id not in self.items:
            raise KeyError(track_id)
        if genre is not None and genre not in (*self.genres, DROP):
            raise ValueError(genre)
        table = read_corrections(self.corrections)
        rows = {int(row.track_id): (int(row.track_id), row.genre, row.reason) for row in table.itertuples()}
        rows.pop(track_id, None)
        if genre is not None:
            rows[track_id] = (track_id, genre, " ".join(reason.split()))
        write_corrections(self.corrections, rows.values())


def _suspicious(issues: pd.DataFrame) -> list[ReviewItem]:
    return [
        ReviewItem(
            int(row.track_id),
            row.path,
            row.title,
            row.genre,
            row.suggested if row.suggested != row.genre else "",
            _number(row.self_confidence),
            _number(row.suggested_confidence),
            row.note,
        )
        for row in issues.itertuples()
    ]


def _copies(faults: pd.DataFrame) -> list[ReviewItem]:
    """Recordings under several genres, each once."""
    rows = faults[faults["reason"] == IssueReason.LABEL_CONFLICT].drop_duplicates("track_id")
    return [
        ReviewItem(int(row.track_id), row.path, "", "", "", None, None, f"{row.path}: {row.detail}")
        for row in rows.itertuples()
    ]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
