"""Shares hold, whatever the collection looks like; what cannot be met is said; the ledger is read as written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from music_genre.datasets.splits import SplitParams, SplitResult, assign_splits, read_ledger, write_ledger
from music_genre.errors import MusicGenreError

PARAMS = SplitParams(method="artist", validation_fraction=0.1, test_fraction=0.1)


def split(rows: list[tuple[str, str | None]], former: dict[int, str] | None = None) -> SplitResult:
    """Of tracks numbered from 1, (genre, artist) each."""
    table = pd.DataFrame(rows, columns=["genre", "artist_id"]).astype("string")
    table = table.assign(track_id=range(1, len(rows) + 1), split=pd.array([None] * len(rows), "string"))
    return assign_splits(table, PARAMS, 7, former)


def counts(result: SplitResult, genre: str) -> dict[str, int]:
    in_genre = result.splits[result.splits["genre"] == genre]
    return {name: int(count) for name, count in in_genre["split"].value_counts().sort_index().items()}


def notes(result: SplitResult) -> dict[tuple[str, str], str]:
    table = result.notes
    return dict(zip(zip(table["genre"], table["split"], strict=True), table["note"], strict=True))


def test_genre_of_three_tracks_costs_the_others_nothing() -> None:
    rows = [(f"Genre {g}", f"Artist {g} {number}") for g in range(4) for number in range(20)]
    result = split([*rows, *(("Rare", f"Rare {number}") for number in range(3))])
    assert [counts(result, f"Genre {g}") for g in range(4)] == [{"test": 2, "training": 16, "validation": 2}] * 4
    assert counts(result, "Rare") == {"test": 1, "training": 1, "validation": 1}


def test_compilations_are_dealt_track_by_track() -> None:
    rows = [("Rock", "Various Artists" if number % 2 else f"Artist {number}") for number in range(40)]
    rows += [("Pop", f"Other {number}") for number in range(40)]
    result = split(rows)
    assert counts(result, "Rock") == {"test": 4, "training": 32, "validation": 4}


def test_artist_with_a_third_of_a_genre_is_trained_on() -> None:
    rows = [("Rock", "Big" if number < 20 else f"Artist {number}") for number in range(60)]
    result = split([*rows, *(("Pop", f"Other {number}") for number in range(60))])
    assert counts(result, "Rock") == {"test": 6, "training": 48, "validation": 6}
    assert set(result.splits.loc[result.splits["artist_id"] == "Big", "split"]) == {"training"}


@pytest.mark.parametrize(("artists", "expected"), [(1, {"training"}), (2, {"training", "validation"})])
def test_genre_with_too_few_artists_is_said(artists: int, expected: set[str]) -> None:
    rows = [("Rock", f"Artist {number % artists}") for number in range(30)]
    result = split([*rows, *(("Pop", f"Other {number}") for number in range(30))])
    assert counts(result, "Rock").keys() == expected
    assert notes(result)["Rock", "test"] == f"no test clip; the genre has {artists} artists"


def test_few_validation_clips_are_said() -> None:
    result = split([(genre, f"{genre} {number}") for genre in ("Rock", "Pop") for number in range(20)])
    assert notes(result)["Rock", "validation"] == "below 5 clips figures mean little"


def test_share_that_an_artist_spoils_is_said_with_the_artist() -> None:
    rows = [("Rock", f"Artist {number // 20}") for number in range(60)]
    result = split([*rows, *(("Pop", f"Other {number}") for number in range(100))])
    assert counts(result, "Rock") == {"test": 20, "training": 20, "validation": 20}
    row = result.notes.set_index(["genre", "split"]).loc["Rock", "test"]
    assert (row["wanted"], row["found"]) == (6.0, 20)
    assert row["note"].startswith("Artist ")
    assert row["note"].endswith(" alone has 20")


def test_new_track_that_links_two_splits_is_left_out_and_nobody_moves() -> None:
    rows: list[tuple[str, str | None]] = [(g, f"{g} {number}") for g in ("Rock", "Pop") for number in range(30)]
    first = split(rows)
    by_split = first.splits[first.splits["genre"] == "Rock"].groupby("split")["artist_id"].first()
    later = split([*rows, ("Rock", f"{by_split['test']} feat. {by_split['training']}")], first.dealt)
    assert later.splits.equals(first.splits)
    assert later.left_out[["track_id", "reason"]].to_numpy().tolist() == [[61, "its artists are in test and training"]]
    assert later.dealt == first.dealt


def test_track_left_out_for_wrong_tags_is_back_when_they_are_right() -> None:
    rows: list[tuple[str, str | None]] = [(g, f"{g} {number}") for g in ("Rock", "Pop") for number in range(30)]
    first = split(rows)
    held_out = first.splits[first.splits["split"] == "validation"].iloc[0]
    in_test = first.splits[first.splits["split"] == "test"].iloc[0]
    wrong = list(rows)
    wrong[held_out["track_id"] - 1] = (held_out["genre"], in_test["artist_id"])
    second = split(wrong, first.dealt)
    assert second.left_out["track_id"].tolist() == [held_out["track_id"]]
    assert split(rows, first.dealt | second.dealt).splits.equals(first.splits)


def test_shares_that_former_splits_spoil_are_said_also_without_artists() -> None:
    rows: list[tuple[str, str | None]] = [(genre, None) for genre in ("Rock", "Pop") for _ in range(60)]
    result = split(rows, dict.fromkeys(range(1, 61), "training"))
    assert counts(result, "Rock") == {"training": 60}
    assert notes(result)["Rock", "training"] == "kept from before"
    assert notes(result)["Rock", "test"] == "no test clip; the genre has 0 artists"


def test_official_tracks_count_where_others_are_dealt() -> None:
    official = [("Rock", f"Known {number}", "training" if number < 8 else "test", "fma") for number in range(10)]
    own = [("Rock", f"Mine {number}", None, "folder") for number in range(10)]
    table = pd.DataFrame([*official, *own], columns=["genre", "artist_id", "split", "source"]).astype("string")
    table = table.assign(track_id=range(1, 21))
    result = assign_splits(table, SplitParams(method="official", validation_fraction=0.1, test_fraction=0.1), 7)
    assert counts(result, "Rock") == {"test": 3, "training": 16, "validation": 1}
    assert result.notes.to_numpy().tolist() == [["Rock", "validation", 1.0, 1, "below 5 clips figures mean little"]]


def test_artist_without_a_name_is_known_by_the_id() -> None:
    rows = [("1", "The Ones"), ("1", None), ("2", "Two"), ("3", "Three"), ("4", None), ("4", "Four")]
    table = pd.DataFrame(10 * rows, columns=["artist_id", "artist"]).astype("string")
    table = table.assign(track_id=range(1, 61), genre="Rock", source="fma", split=pd.array([None] * 60, "string"))
    splits = assign_splits(table, PARAMS, 7).splits
    assert splits.groupby(table["artist_id"])["split"].nunique().eq(1).all()


def test_ledger_is_read_as_written(tmp_path: Path) -> None:
    ledger = {"artist": {30: "test", 4: "training"}, "random": {4: "validation"}}
    write_ledger(tmp_path / "ledger.csv", ledger)
    assert read_ledger(tmp_path / "ledger.csv") == ledger


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("artist,4,test\nartist,4,training", "line 3: track 4 has two splits; keep one"),
        ("<<<<<<< HEAD\nartist,4,test", "line 2: found '<<<<<<< HEAD'"),
        ("artist,4,holdout", "line 2: found 'artist,4,holdout'"),
        ("artist,x,test", "line 2"),
    ],
)
def test_ledger_that_two_branches_spoiled_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "ledger.csv").write_text(f"method,track_id,split\n{lines}\n", encoding="utf-8")
    with pytest.raises(MusicGenreError, match=message):
        read_ledger(tmp_path / "ledger.csv")
