"""Labels that people corrected, and copies of one recording."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from music_genre.datasets.corrections import apply_corrections, read_corrections, write_corrections
from music_genre.datasets.duplicates import drop_copies
from music_genre.datasets.issues import issue_table
from music_genre.errors import MusicGenreError


@pytest.fixture
def tracks() -> pd.DataFrame:
    table = pd.DataFrame(
        [(1, "a.mp3", "Rock"), (2, "b.mp3", "Pop"), (3, "c.mp3", "NA")], columns=["track_id", "path", "genre"]
    )
    return table.astype({"path": "string", "genre": "string"})


def corrections(tmp_path: Path, *lines: str) -> pd.DataFrame:
    path = tmp_path / "corrections.csv"
    path.write_text("\n".join(["track_id,genre,reason", *lines, ""]), encoding="utf-8")
    return read_corrections(path)


def test_genre_is_corrected_and_the_listed_one_kept(tracks: pd.DataFrame, tmp_path: Path) -> None:
    table = corrections(tmp_path, "2,rock,by ear", "3,NA,label is right")
    result = apply_corrections(tracks, issue_table([]), table)
    assert result.tracks["genre"].tolist() == ["Rock", "Rock", "NA"]
    assert result.tracks["listed_genre"].tolist() == ["Rock", "Pop", "NA"]
    assert result.issues.empty


def test_dropped_track_is_an_issue_with_its_reason(tracks: pd.DataFrame, tmp_path: Path) -> None:
    result = apply_corrections(tracks, issue_table([]), corrections(tmp_path, '2,drop,"speech, no music"'))
    assert result.tracks["track_id"].tolist() == [1, 3]
    expected = [2, "b.mp3", "dropped", "correction", "speech, no music"]
    assert result.issues.to_numpy().tolist() == [expected]


def test_correction_of_a_track_that_is_not_here_changes_nothing(tracks: pd.DataFrame, tmp_path: Path) -> None:
    result = apply_corrections(tracks, issue_table([]), corrections(tmp_path, "999,Rock,gone"))
    assert result.tracks["genre"].tolist() == tracks["genre"].tolist()
    assert result.unknown_ids == (999,)


def test_unknown_genre_is_refused_with_those_there_are(tracks: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"no track has the genre Rcok; choose from NA, Pop, Rock, or drop"):
        apply_corrections(tracks, issue_table([]), corrections(tmp_path, "1,Rcok,typo"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,Rock,a", "1,Pop,b"], "line 3: track 1 has two corrections"),
        (["x,Rock,a"], "line 2: found track_id 'x'"),
        (["-1,Rock,a"], "found track_id '-1'"),
        (["1,,a"], "line 2: expected track_id, genre"),
        (["1,Rock,a,b"], "line 2: expected track_id, genre"),
    ],
)
def test_line_that_cannot_be_read_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(MusicGenreError, match=message):
        corrections(tmp_path, *lines)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text("id,label\n1,Rock\n", encoding="utf-8")
    with pytest.raises(MusicGenreError, match="expected track_id,genre,reason"):
        read_corrections(tmp_path / "corrections.csv")


def test_missing_file_holds_no_correction(tmp_path: Path) -> None:
    assert read_corrections(tmp_path / "corrections.csv").empty


def test_written_corrections_read_back(tmp_path: Path) -> None:
    rows = [(30, "NA", "by ear"), (2, "drop", 'he said "no", twice')]
    write_corrections(tmp_path / "corrections.csv", rows)
    assert read_corrections(tmp_path / "corrections.csv").to_numpy().tolist() == [list(row) for row in sorted(rows)]


def test_of_copies_the_first_by_path_is_kept() -> None:
    table = pd.DataFrame({"track_id": [7, 7, 8], "path": ["b.mp3", "a.mp3", "c.mp3"], "genre": "Rock"})
    kept, issues = drop_copies(table)
    assert kept["path"].tolist() == ["a.mp3", "c.mp3"]
    assert [(issue.path, issue.reason, issue.detail) for issue in issues] == [
        ("b.mp3", "duplicate", "the same recording as a.mp3")
    ]


def test_copies_under_several_genres_are_dropped_until_a_correction_says_which(tmp_path: Path) -> None:
    table = pd.DataFrame({"track_id": [7, 7], "path": ["Pop/a.mp3", "Rock/a.mp3"], "genre": ["Pop", "Rock"]})
    kept, issues = drop_copies(table)
    assert kept.empty
    assert {issue.reason for issue in issues} == {"label_conflict"}
    assert [issue.detail for issue in issues] == [
        "the same recording as Rock/a.mp3, under Pop, Rock: data/corrections.csv can say which",
        "the same recording as Pop/a.mp3, under Pop, Rock: data/corrections.csv can say which",
    ]
    decided = apply_corrections(table, issue_table([]), corrections(tmp_path, "7,Rock,by ear"))
    kept, issues = drop_copies(decided.tracks)
    assert kept[["path", "genre"]].to_numpy().tolist() == [["Pop/a.mp3", "Rock"]]
    assert len(issues) == 1
