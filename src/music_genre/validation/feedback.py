"""Feedback: how often clients said that a version's predictions were right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from music_genre.validation.request_log import FEEDBACK_FILES, read_rows

COLUMNS = ("time", "request_id", "version", "predicted", "genre", "right")


@dataclass(frozen=True)
class FeedbackAccuracy:
    """Accuracy of a version on the requests that have feedback.

    Args:
        version: that predicted.
        n: requests with feedback; at least one.
        n_right: of them, those whose prediction was right.
        accuracy: ``n_right / n``.
        low: lower end of its 95 % Wilson interval.
        high: upper end.
    """

    version: str
    n: int
    n_right: int
    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        interval = f"95 % interval {self.low:.0%} to {self.high:.0%}"
        return f"feedback: {self.n_right} of {self.n} predictions right ({self.accuracy:.0%}, {interval})"


def read_feedback(folder: Path, newest_bytes: int | None = None) -> pd.DataFrame:
    """Columns ``COLUMNS``: the newest feedback of each request, oldest first.

    ``genre`` is the right one, ``right`` says whether it was predicted. ``newest_bytes`` as for ``read_rows``.
    """
    rows = [row for row in read_rows(folder, FEEDBACK_FILES, newest_bytes=newest_bytes) if row.keys() >= set(COLUMNS)]
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values("time", kind="stable")
    return table.drop_duplicates("request_id", keep="last").reset_index(drop=True)


def accuracy_by_version(feedback: pd.DataFrame) -> dict[str, FeedbackAccuracy]:
    """The accuracy of each version that has feedback, from ``read_feedback``."""
    from scipy.stats import binomtest

    accuracies = {}
    for version, is_right in feedback.groupby("version")["right"]:
        n, n_right = len(is_right), int(is_right.sum())
        interval = binomtest(n_right, n).proportion_ci(method="wilson")
        accuracies[version] = FeedbackAccuracy(
            version, n, n_right, n_right / n, float(interval.low), float(interval.high)
        )
    return accuracies
