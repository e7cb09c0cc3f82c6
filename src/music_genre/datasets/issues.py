"""What is wrong with the tracks of a collection: the rows of ``data/faults.csv``, whatever stage finds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import pandas as pd

from music_genre.errors import IssueReason, MusicGenreError

MAX_TRACKS_SHOWN = 3  # of a refused collection, in the error message
# What was left out on purpose does not speak against a collection.
INTENDED_REASONS = (IssueReason.DUPLICATE, IssueReason.LABEL_CONFLICT, IssueReason.CORRECTION)


@dataclass(frozen=True)
class DataIssue:
    """A row of ``faults.csv``."""

    track_id: int
    path: str
    severity: Literal["dropped", "warned"]
    reason: IssueReason
    detail: str


def check_issue_rate(issues: pd.DataFrame, n_tracks: int, max_skipped_fraction: float) -> None:
    """Refuse a collection of which too much was dropped.

    Args:
        issues: the columns of ``DataIssue``.
        n_tracks: all that were listed.
        max_skipped_fraction: that may be dropped.

    Raises:
        MusicGenreError: more tracks were dropped, or all.
    """
    dropped = issues[(issues["severity"] == "dropped") & ~issues["reason"].isin(INTENDED_REASONS)]
    if n_tracks and len(dropped) < n_tracks and len(dropped) <= max_skipped_fraction * n_tracks:
        return
    first = "; ".join(f"{row.path} {row.reason}" for row in dropped.head(MAX_TRACKS_SHOWN).itertuples())
    raise MusicGenreError(
        f"{len(dropped)} of {n_tracks} tracks cannot be used, data.max_skipped_fraction allows"
        f" {max_skipped_fraction:.0%}: {first or 'no track is listed'}; data/faults.csv has all"
    )


def left_out_issues(left_out: pd.DataFrame) -> pd.DataFrame:
    """Tracks that fit into no split, as issues.

    Args:
        left_out: columns track_id, path, reason.
    """
    return issue_table(
        DataIssue(int(row.track_id), str(row.path), "dropped", IssueReason.ARTIST_CONFLICT, str(row.reason))
        for row in left_out.itertuples()
    )


def issue_table(issues: Iterable[DataIssue]) -> pd.DataFrame:
    """The columns of ``DataIssue``, by track_id and reason."""
    columns = [field.name for field in fields(DataIssue)]
    return _sorted(pd.DataFrame([asdict(issue) | {"reason": issue.reason.value} for issue in issues], columns=columns))


def merge_issues(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The issues that several stages found, in one table."""
    return _sorted(pd.concat([table for table in tables if len(table)] or [tables[0]]))


def _sorted(issues: pd.DataFrame) -> pd.DataFrame:
    return issues.sort_values(["track_id", "reason"], ignore_index=True)
