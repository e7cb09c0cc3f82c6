"""The data checks: clean data passes, each kind of harm is named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre import checks
from music_genre.checks import Verdict

SHAPE = (640, 128)
GENRES = ["Blues", "Jazz", "Rock"]
SPLIT_OF_FOUR = ["training", "training", "validation", "test"]
CLIPS = 48


@dataclass
class Data:
    """The three tables that are checked."""

    tracks: pd.DataFrame
    splits: pd.DataFrame
    index: pd.DataFrame

    def harm(self, track_id: int, column: str, value: object) -> None:
        """Set one value of the spectrogram index."""
        self.index.loc[self.index["track_id"] == track_id, column] = value

    def split_of(self, track_id: int, split: str) -> None:
        for table in (self.splits, self.index):
            table.loc[table["track_id"] == track_id, "split"] = split


def clean(official: bool = False) -> Data:
    """48 clips, two of each artist, every genre in every split."""
    ids = np.arange(1, CLIPS + 1)
    splits = pd.DataFrame(
        {
            "track_id": ids,
            "genre": [GENRES[track_id % 3] for track_id in ids],
            "artist_id": [f"artist {(track_id - 1) // 12} {track_id % 6}" for track_id in ids],
            "split": [SPLIT_OF_FOUR[(track_id - 1) // 12] for track_id in ids],
        }
    )
    tracks = splits.assign(sha256=[f"{track_id:064x}" for track_id in ids], split=splits["split"] if official else None)
    index = splits[["track_id", "split", "genre"]].assign(
        label=0,
        shard="training-00000.npy",
        row=0,
        frames=640,
        n_mels=128,
        finite_share=1.0,
        minimum_db=-80.0,
        maximum_db=-0.5,
        mean_db=-40.0,
        std_db=15.0,
        silent_share=0.1,
    )
    return Data(tracks, splits, index)


def verdict_on(data: Data, site: Path, *only: str) -> Verdict:
    suites = checks.suites(data.tracks, data.splits, data.index, SHAPE)
    return checks.run([suite for suite in suites if not only or suite.name in only], site)


def harmed() -> Data:
    """Every kind of harm, each on tracks of its own."""
    data = clean()
    data.harm(1, "finite_share", 0.99)
    data.harm(2, "frames", 600)
    data.harm(3, "n_mels", 96)
    data.harm(4, "maximum_db", 0.5)
    data.harm(5, "minimum_db", -93.0)
    data.harm(6, "silent_share", 1.0)
    data.index = pd.concat([data.index, data.index[data.index["track_id"] == 7]], ignore_index=True)
    data.harm(8, "track_id", 999)
    data.index = data.index[~((data.index["genre"] == "Jazz") & (data.index["split"] == "test"))]
    data.splits.loc[data.splits["track_id"] == 9, "genre"] = None
    data.splits.loc[data.splits["track_id"] == 10, "split"] = "holdout"
    twice = data.splits[data.splits["track_id"] == 12].assign(split="test")
    data.splits = pd.concat([data.splits, twice], ignore_index=True)
    data.splits.loc[data.splits["track_id"].isin([14, 40]), "artist_id"] = "restless"
    data.tracks.loc[data.tracks["track_id"].isin([15, 30]), "sha256"] = "same"
    return data


# suite, column, expectation: how many rows fail, and what the sentence names. Tracks 10 and 12, which stand in other
# splits than they did, take their artists along, and 12 its file.
HARM = {
    ("spectrograms", "finite_share", "in_set"): (1, ["1"]),
    ("spectrograms", "frames", "in_set"): (1, ["2"]),
    ("spectrograms", "n_mels", "in_set"): (1, ["3"]),
    ("spectrograms", "maximum_db", "between"): (1, ["4"]),
    ("spectrograms", "minimum_db", "between"): (1, ["5"]),
    ("spectrograms", "silent_share", "between"): (1, ["6"]),
    ("spectrograms", "track_id", "unique"): (2, ["7"]),
    ("spectrograms", "track_id", "in_set"): (1, ["999"]),
    ("splits", "genre", "not_be_null"): (1, ["9"]),
    ("splits", "split", "in_set"): (1, ["10"]),
    ("splits", "track_id", "unique"): (2, ["12"]),
    ("artists", "splits", "in_set"): (3, ["14 40", "6 12 12", "4 10"]),
    ("files", "splits", "in_set"): (2, ["15 30", "12 12"]),
    ("genres", "test", "between"): (1, ["Jazz"]),
}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, one of which holds a page of an earlier run."""
    first, second = (tmp_path_factory.mktemp(name) / "site" for name in ("first", "second"))
    (second / "expectations").mkdir(parents=True)
    (second / "expectations/of_last_year.html").write_text("old", encoding="utf-8")
    return [first, second]


@pytest.fixture(scope="module")
def verdicts(sites: list[Path]) -> list[Verdict]:
    """The harmed data, judged twice."""
    return [verdict_on(harmed(), site) for site in sites]


def outcome(verdict: Verdict, suite: str, column: str, expectation: str) -> dict[str, Any]:
    (found,) = [
        single
        for single in verdict.summary["suites"][suite]["expectations"]
        if single["column"] == column and single["expectation"].endswith(expectation)
    ]
    return dict(found)


def test_clean_data_passes(tmp_path: Path) -> None:
    verdict = verdict_on(clean(), tmp_path)
    assert verdict.success
    assert verdict.failures == []
    assert verdict.summary["success"]
    assert set(verdict.summary["suites"]) == {"spectrograms", "splits", "artists", "files", "genres"}
    assert all(suite["success"] and suite["expectations"] for suite in verdict.summary["suites"].values())
    assert (tmp_path / "index.html").is_file()


@pytest.mark.parametrize(("suite", "column", "expectation"), HARM)
def test_harm_is_named_with_expectation_count_and_ids(
    verdicts: list[Verdict], suite: str, column: str, expectation: str
) -> None:
    count, ids = HARM[suite, column, expectation]
    found = outcome(verdicts[0], suite, column, expectation)
    assert (found["success"], found["severity"], found["unexpected_count"]) == (False, "critical", count)
    (sentence,) = [
        line
        for line in verdicts[0].failures
        if line.startswith(f"{suite}.{column}:") and f"{found['expectation']} fails" in line
    ]
    assert f"fails for {count} of " in sentence
    named = sentence.partition("(")[2]
    assert all(re.search(rf"\b{re.escape(name)}\b", named) for name in ids)


def test_only_what_was_harmed_fails(verdicts: list[Verdict]) -> None:
    failed = {
        (name, single["column"])
        for name, suite in verdicts[0].summary["suites"].items()
        for single in suite["expectations"]
        if not single["success"]
    }
    assert failed == {(suite, column) for suite, column, _ in HARM}
    assert not verdicts[0].success
    assert not verdicts[0].summary["success"]
    assert len(verdicts[0].failures) == len(HARM)


@pytest.mark.parametrize(("official", "severity"), [(False, "critical"), (True, "warning")])
def test_an_artist_in_two_splits_stops_an_own_split_and_is_told_of_an_official_one(
    tmp_path: Path, official: bool, severity: str
) -> None:
    data = clean(official)
    for table in (data.tracks, data.splits):
        table.loc[table["track_id"].isin([14, 40]), "artist_id"] = "restless"
    verdict = verdict_on(data, tmp_path, "artists")
    assert verdict.success == official
    assert verdict.summary["suites"]["artists"]["success"] == official
    assert outcome(verdict, "artists", "splits", "in_set")["severity"] == severity
    (sentence,) = verdict.failures
    assert "fails for 1 of" in sentence
    assert "14 40" in sentence
    assert severity in sentence


def test_copies_and_artists_within_one_split_are_no_failure(tmp_path: Path) -> None:
    data = clean()
    data.tracks.loc[data.tracks["track_id"].isin([1, 2]), "sha256"] = "same"
    data.splits.loc[data.splits["track_id"] <= 12, "artist_id"] = "one"
    assert verdict_on(data, tmp_path, "artists", "files").failures == []


def test_tracks_without_artist_or_file_belong_to_no_one(tmp_path: Path) -> None:
    data = clean()
    data.splits["artist_id"] = pd.array([None] * CLIPS, dtype="string")
    data.tracks["sha256"] = pd.array([None] * CLIPS, dtype="string")
    assert verdict_on(data, tmp_path, "artists", "files").success


def test_a_split_without_clips_fails_for_every_genre(tmp_path: Path) -> None:
    data = clean()
    data.index = data.index[data.index["split"] != "validation"]
    verdict = verdict_on(data, tmp_path, "genres")
    assert not verdict.success
    assert outcome(verdict, "genres", "validation", "between")["unexpected_count"] == 3
    assert "Blues, Jazz, Rock" in verdict.failures[0]


def test_a_genre_without_any_spectrogram_fails(tmp_path: Path) -> None:
    data = clean()
    data.index = data.index[data.index["genre"] != "Jazz"]
    verdict = verdict_on(data, tmp_path, "genres")
    assert not verdict.success
    assert any("Jazz" in sentence for sentence in verdict.failures)


def test_of_many_ids_the_first_five_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    data = clean()
    data.index.loc[data.index["track_id"] <= 9, "maximum_db"] = 3.0
    (sentence,) = verdict_on(data, tmp_path, "spectrograms").failures
    assert "fails for 9 of 48 rows (track_id: 1, 2, 3, 4, 5, ...; critical)" in sentence


def test_the_same_data_gives_the_same_summary(verdicts: list[Verdict]) -> None:
    first, second = (json.dumps(verdict.summary) for verdict in verdicts)
    assert first == second


def test_the_summary_holds_no_time_and_no_id(verdicts: list[Verdict]) -> None:
    text = json.dumps(verdicts[0].summary)
    assert not re.search(r"\d{4}-?\d\d-?\d\d|\d\d:\d\d|[0-9a-f]{8}-[0-9a-f]{4}", text)


def test_the_same_data_gives_the_same_site_byte_for_byte(sites: list[Path], verdicts: list[Verdict]) -> None:
    assert len(verdicts) == 2
    first, second = ({p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()} for site in sites)
    assert first.keys() == second.keys()
    assert [str(page) for page in first if first[page] != second[page]] == []
    assert sum(page.suffix == ".html" for page in first) == 11


def test_the_site_holds_no_time_of_its_making(sites: list[Path], verdicts: list[Verdict]) -> None:
    assert not verdicts[0].success
    for page in sites[0].rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        stamps = re.findall(r"\b20\d\d-?[01]\d-?[0-3]\d[T ]\d\d:?\d\d", text)
        assert {stamp for stamp in stamps if not stamp.startswith(("20000101", "2000-01-01"))} == set(), page


def test_a_site_is_made_anew(sites: list[Path], verdicts: list[Verdict]) -> None:
    assert len(verdicts) == 2
    assert (sites[1] / "expectations/genres.html").is_file()
    assert not (sites[1] / "expectations/of_last_year.html").exists()
