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

from music_genre.datasets.splits import SPLITS
from music_genre.validation import expectations as checks
from music_genre.validation.expectations import Verdict

SHAPE = (640, 128)
MIN_SECONDS = 10.0
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


def clean() -> Data:
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
    tracks = splits.assign(sha256=[f"{track_id:064x}" for track_id in ids], split=None, seconds=30.0)
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


def verdict_on(
    data: Data, site: Path, *only: str, artists_may_span: bool = False, is_fma_small: bool = False
) -> Verdict:
    suites = checks.suites(
        data.tracks,
        data.splits,
        data.index,
        SHAPE,
        min_duration_s=MIN_SECONDS,
        artists_may_span=artists_may_span,
        is_fma_small=is_fma_small,
    )
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
    data.tracks.loc[data.tracks["track_id"] == 16, "seconds"] = 9.9
    data.tracks.loc[data.tracks["track_id"] == 17, "genre"] = None
    return data


# suite, column, expectation: how many rows fail, and what the sentence names. Tracks 10 and 12, which stand in other
# splits than they did, take their artists along, and 12 its file.
HARM = {
    ("tracks", "seconds", "between"): (1, ["16"]),
    ("tracks", "genre", "not_be_null"): (1, ["17"]),
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
    assert set(verdict.summary["suites"]) == {"tracks", "spectrograms", "splits", "artists", "files", "genres"}
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


@pytest.mark.parametrize(("may_span", "severity"), [(False, "critical"), (True, "warning")])
def test_an_artist_in_two_splits_is_refused_and_told_where_that_may_be(
    tmp_path: Path, may_span: bool, severity: str
) -> None:
    data = clean()
    for table in (data.tracks, data.splits):
        table.loc[table["track_id"].isin([14, 40]), "artist_id"] = "restless"
    verdict = verdict_on(data, tmp_path, "artists", artists_may_span=may_span)
    assert verdict.success == may_span
    assert verdict.summary["suites"]["artists"]["success"] == may_span
    assert outcome(verdict, "artists", "splits", "in_set")["severity"] == severity
    (sentence,) = verdict.failures
    assert "fails for 1 of" in sentence
    assert "14 40" in sentence
    assert severity in sentence


def test_a_file_in_two_splits_is_refused_even_where_artists_may_span_them(tmp_path: Path) -> None:
    data = clean()
    data.tracks.loc[data.tracks["track_id"].isin([15, 30]), "sha256"] = "same"
    verdict = verdict_on(data, tmp_path, "artists", "files", artists_may_span=True)
    assert not verdict.success
    assert outcome(verdict, "files", "splits", "in_set")["severity"] == "critical"


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


@pytest.mark.parametrize("seconds", [10.0, 30.0, 3000.0])
def test_a_track_as_long_as_the_shortest_allowed_or_longer_passes(tmp_path: Path, seconds: float) -> None:
    data = clean()
    data.tracks["seconds"] = seconds
    assert verdict_on(data, tmp_path, "tracks").failures == []


def test_tracks_whose_length_is_not_known_pass(tmp_path: Path) -> None:
    # Ready spectrograms have none.
    data = clean()
    data.tracks["seconds"] = pd.array([None] * CLIPS, dtype="Float64")
    assert verdict_on(data, tmp_path, "tracks").success


def test_a_track_listed_twice_is_refused(tmp_path: Path) -> None:
    data = clean()
    data.tracks = pd.concat([data.tracks, data.tracks[data.tracks["track_id"] == 5]], ignore_index=True)
    verdict = verdict_on(data, tmp_path, "tracks")
    assert not verdict.success
    assert outcome(verdict, "tracks", "track_id", "unique")["unexpected_count"] == 2


# Of each split; the other two genres have ten. A quarter of an even share of 66 clips is 5.5, of 63 it is 5.25.
@pytest.mark.parametrize(("jazz", "told"), [(10, []), (2, []), (1, ["Jazz"])])
def test_a_genre_with_less_than_a_quarter_of_an_even_share_is_told_not_refused(
    tmp_path: Path, jazz: int, told: list[str]
) -> None:
    data = clean()
    rows = [(genre, split) for genre in GENRES for split in SPLITS for _ in range(jazz if genre == "Jazz" else 10)]
    data.index = pd.DataFrame(rows, columns=["genre", "split"])
    verdict = verdict_on(data, tmp_path, "genres")
    assert verdict.success
    found = outcome(verdict, "genres", "even_share", "between")
    assert (found["severity"], found["unexpected_count"]) == ("warning", len(told))
    assert len(verdict.failures) == len(told)
    assert all("genres.even_share" in line and "genre: Jazz; warning" in line for line in verdict.failures)


def index_of(training: int, validation: int, test: int) -> pd.DataFrame:
    split = ["training"] * training + ["validation"] * validation + ["test"] * test
    return pd.DataFrame({"track_id": range(len(split)), "genre": "Rock", "split": split})


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((6394, 800, 800), []),
        ((6400, 800, 800), []),
        ((6393, 800, 800), ["training"]),
        ((6401, 800, 800), ["training"]),
        ((6400, 799, 801), ["validation", "test"]),
    ],
)
def test_other_counts_than_fma_smalls_are_told_not_refused(
    tmp_path: Path, counts: tuple[int, int, int], told: list[str]
) -> None:
    data = clean()
    data.index = index_of(*counts)
    verdict = verdict_on(data, tmp_path, "fma_small", is_fma_small=True)
    assert verdict.success
    assert [line.partition(":")[0] for line in verdict.failures] == [f"fma_small.{split}" for split in told]
    assert all("warning" in line for line in verdict.failures)


def test_fma_smalls_counts_are_asked_of_no_other_collection(tmp_path: Path) -> None:
    assert verdict_on(clean(), tmp_path, "fma_small").summary["suites"] == {}


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
    assert sum(page.suffix == ".html" for page in first) == 13


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
