"""What is wrong with a collection's tracks, in one table, and how much of it is too much."""

from __future__ import annotations

import pandas as pd
import pytest

from music_genre.datasets.issues import DataIssue, check_issue_rate, issue_table, left_out_issues, merge_issues
from music_genre.errors import IssueReason, MusicGenreError

ISSUE_COLUMNS = ["track_id", "path", "severity", "reason", "detail"]


def dropped(count: int, warned: int = 0) -> pd.DataFrame:
    issues = [DataIssue(number, f"{number}.mp3", "dropped", IssueReason.SILENT, "peak 0") for number in range(count)]
    issues += [DataIssue(100 + n, "w.mp3", "warned", IssueReason.DUPLICATE, "the same") for n in range(warned)]
    return issue_table(issues)


@pytest.mark.parametrize(("count", "fraction"), [(0, 0.0), (1, 0.1), (10, 0.5), (19, 1.0)])
def test_allowed_fraction_of_dropped_tracks_passes(count: int, fraction: float) -> None:
    check_issue_rate(dropped(count, warned=9), 10 if fraction < 0.5 else 20, fraction)


def test_too_many_dropped_tracks_are_refused_with_count_and_examples() -> None:
    with pytest.raises(MusicGenreError) as caught:
        check_issue_rate(dropped(6), 20, 0.1)
    message = str(caught.value)
    assert "6 of 20" in message
    assert "data.max_skipped_fraction" in message
    assert "10%" in message
    assert "0.mp3 silent; 1.mp3 silent; 2.mp3 silent" in message
    assert "data/faults.csv" in message


@pytest.mark.parametrize(("count", "listed"), [(5, 5), (0, 0)])
def test_collection_without_usable_tracks_is_refused(count: int, listed: int) -> None:
    with pytest.raises(MusicGenreError):
        check_issue_rate(dropped(count), listed, 1.0)


def test_issue_table_without_issues_has_its_columns() -> None:
    assert issue_table([]).columns.tolist() == ISSUE_COLUMNS
    assert issue_table([]).empty


def test_merged_issues_are_sorted_and_keep_their_columns() -> None:
    def table(*track_ids: int) -> pd.DataFrame:
        return issue_table([DataIssue(i, f"{i}.mp3", "dropped", IssueReason.SILENT, "peak 0") for i in track_ids])

    merged = merge_issues([table(1, 5), table(3)])
    assert merged["track_id"].tolist() == [1, 3, 5]
    assert merge_issues([table(), table(3)]).equals(table(3))
    assert merge_issues([table(), table()]).columns.tolist() == ISSUE_COLUMNS


@pytest.mark.parametrize("reason", [IssueReason.DUPLICATE, IssueReason.CORRECTION])
def test_tracks_that_were_left_out_on_purpose_are_not_counted(reason: IssueReason) -> None:
    issues = issue_table([DataIssue(n, f"{n}.mp3", "dropped", reason, "on purpose") for n in range(9)])
    check_issue_rate(issues, 10, 0.0)


def test_tracks_of_artists_in_two_splits_are_dropped_and_counted() -> None:
    left_out = pd.DataFrame({"track_id": [5, 3], "path": ["b.mp3", "a.mp3"], "reason": ["its artists ...", "too"]})
    issues = left_out_issues(left_out)
    assert issues.to_numpy().tolist() == [
        [3, "a.mp3", "dropped", "artist_conflict", "too"],
        [5, "b.mp3", "dropped", "artist_conflict", "its artists ..."],
    ]
    with pytest.raises(MusicGenreError, match="2 of 10"):
        check_issue_rate(issues, 10, 0.1)
