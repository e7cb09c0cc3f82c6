"""Clean data passes, each kind of defect fails by its name; all with the real Great Expectations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.datasets.inspection import AUDIO_COLUMNS
from music_genre.datasets.splits import SPLITS
from music_genre.errors import MusicGenreError
from music_genre.validation.expectations import STATISTICS, Suite, clip_expectations
from music_genre.validation.runner import ValidationReport, validate

SPLIT_SIZES = {"training": (6, 8), "validation": (3, 3), "test": (2, 2)}


def spoil(tables: Any) -> None:
    """Add every kind of defect, each to tracks of its own."""
    tables.set_statistic(1, "finite_fraction", 0.99)
    tables.set_statistic(2, "n_frames", 600)
    tables.set_statistic(3, "n_mels", 96)
    tables.set_statistic(4, "maximum_db", 0.5)
    tables.set_statistic(5, "minimum_db", -93.0)
    tables.set_statistic(6, "silent_fraction", 1.0)
    tables.index = pd.concat([tables.index, tables.index[tables.index["track_id"] == 7]], ignore_index=True)
    tables.set_statistic(8, "track_id", 999)
    for number, column in enumerate(STATISTICS, start=18):
        tables.set_statistic(number, column, np.nan)
    tables.index = tables.index[~((tables.index["genre"] == "Jazz") & (tables.index["split"] == "test"))]
    tables.index.loc[(tables.index["genre"] == "Rock") & (tables.index["split"] == "training"), "genre"] = "Blues"
    tables.splits.loc[tables.splits["track_id"] == 9, "genre"] = None
    tables.splits.loc[tables.splits["track_id"] == 10, "split"] = "holdout"
    again = tables.splits[tables.splits["track_id"] == 12].assign(split="test")
    tables.splits = pd.concat([tables.splits, again], ignore_index=True)
    tables.splits.loc[tables.splits["track_id"].isin([14, 40]), "artist_id"] = "restless"
    tables.tracks.loc[tables.tracks["track_id"].isin([15, 30]), "audio_sha256"] = "same"
    tables.tracks.loc[tables.tracks["track_id"] == 16, "duration_s"] = 9.9
    tables.tracks.loc[tables.tracks["track_id"] == 17, "genre"] = None
    tables.tracks.loc[tables.tracks["track_id"] == 18, "duration_s"] = np.nan
    tables.tracks = tables.tracks[tables.tracks["track_id"] != 13]


# Suite, column, expectation: how many rows fail, and which are named. Track 10, which lies in another split than it
# did, takes its artist along; 12 its artist and its file.
DEFECTS = {
    ("tracks", "duration_s", "between"): (1, ["16"]),
    ("tracks", "duration_s", "not_be_null"): (1, ["18"]),
    ("tracks", "genre", "not_be_null"): (1, ["17"]),
    ("spectrograms", "finite_fraction", "in_set"): (1, ["1"]),
    ("spectrograms", "n_frames", "in_set"): (1, ["2"]),
    ("spectrograms", "n_mels", "in_set"): (1, ["3"]),
    ("spectrograms", "maximum_db", "between"): (1, ["4"]),
    ("spectrograms", "minimum_db", "between"): (1, ["5"]),
    ("spectrograms", "silent_fraction", "between"): (1, ["6"]),
    ("spectrograms", "track_id", "unique"): (2, ["7"]),
    ("spectrograms", "track_id", "in_set"): (1, ["999"]),
    **{("spectrograms", c, "not_be_null"): (1, [str(number)]) for number, c in enumerate(STATISTICS, start=18)},
    ("splits", "genre", "not_be_null"): (1, ["9"]),
    ("splits", "split", "in_set"): (1, ["10"]),
    ("splits", "track_id", "unique"): (2, ["12"]),
    ("splits", "track_id", "in_set"): (1, ["13"]),
    ("artists", "splits", "in_set"): (3, ["14 40", "6 12 12", "4 10"]),
    ("files", "splits", "in_set"): (2, ["15 30", "12 12"]),
    ("genres", "training", "between"): (1, ["Rock"]),
    ("genres", "test", "between"): (1, ["Jazz"]),
}
WARNINGS = {("genres", "test", "between")}


@pytest.fixture(scope="module")
def defects(make_tables: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> ValidationReport:
    """The report on data with every kind of defect."""
    tables = make_tables()
    spoil(tables)
    report: ValidationReport = tables.report(tmp_path_factory.mktemp("site"))
    return report


def entry(report: ValidationReport, suite: str, column: str | None, expectation: str) -> dict[str, Any]:
    """An expectation's entry of the summary."""
    (single,) = [
        single
        for single in report.summary["suites"][suite]["expectations"]
        if single["column"] == column and single["expectation"].endswith(expectation)
    ]
    return dict(single)


def failed(report: ValidationReport) -> set[tuple[str, str | None, str]]:
    """(suite, column, expectation) of what does not hold."""
    return {
        (name, single["column"], single["expectation"])
        for name, suite in report.summary["suites"].items()
        for single in suite["expectations"]
        if not single["success"]
    }


def test_clean_data_passes(tables: Any, tmp_path: Path) -> None:
    report = tables.report(tmp_path)
    assert report.success
    assert report.failures == []
    assert set(report.summary["suites"]) == {"tracks", "spectrograms", "splits", "genres", "artists", "files"}
    assert all(suite["success"] and suite["expectations"] for suite in report.summary["suites"].values())


@pytest.mark.parametrize(("suite", "column", "expectation"), DEFECTS)
def test_defect_is_named_with_expectation_count_and_ids(
    defects: ValidationReport, suite: str, column: str, expectation: str
) -> None:
    count, ids = DEFECTS[suite, column, expectation]
    severity = "warning" if (suite, column, expectation) in WARNINGS else "critical"
    single = entry(defects, suite, column, expectation)
    assert (single["success"], single["severity"], single["unexpected_count"]) == (False, severity, count)
    (sentence,) = [
        line
        for line in defects.failures
        if line.startswith(f"{suite}.{column}:") and f"{single['expectation']} fails" in line
    ]
    assert f"fails for {count} of " in sentence
    shown = sentence.partition("(")[2]
    assert all(re.search(rf"\b{re.escape(name)}\b", shown) for name in ids)


def test_only_defects_fail(defects: ValidationReport) -> None:
    names = {(suite, column) for suite, column, _ in failed(defects)}
    assert names == {(suite, column) for suite, column, _ in DEFECTS}
    assert len(defects.failures) == len(DEFECTS)
    assert not defects.success
    assert not defects.summary["success"]


@pytest.mark.parametrize("name", ["tracks", "splits", "index"])
def test_empty_table_fails(tables: Any, tmp_path: Path, name: str) -> None:
    setattr(tables, name, getattr(tables, name).head(0))
    suite = "spectrograms" if name == "index" else name
    report = tables.report(tmp_path)
    assert not report.success
    assert not entry(report, suite, None, "row_count_to_be_between")["success"]
    assert any(
        line == f"{suite}: expect_table_row_count_to_be_between fails: the table has 0 rows (critical)"
        for line in report.failures
    )


def test_empty_tables_fail_all_suites(tables: Any, tmp_path: Path) -> None:
    tables.tracks, tables.splits, tables.index = (t.head(0) for t in (tables.tracks, tables.splits, tables.index))
    report = tables.report(tmp_path)
    assert not any(suite["success"] for suite in report.summary["suites"].values())


@pytest.mark.parametrize(
    ("name", "suite", "column"),
    [
        *(("tracks", "tracks", column) for column in ("track_id", "genre", *AUDIO_COLUMNS)),
        *(("splits", "splits", column) for column in ("track_id", "genre", "split")),
        *(("index", "spectrograms", column) for column in ("track_id", "genre", "split", *STATISTICS)),
    ],
)
def test_all_null_column_fails(tables: Any, tmp_path: Path, name: str, suite: str, column: str) -> None:
    table = getattr(tables, name)
    table[column] = pd.Series([None] * len(table), dtype=object)
    report = tables.report(tmp_path, suite)
    assert not report.success
    assert entry(report, suite, column, "not_be_null")["unexpected_count"] == len(table)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("tracks", "audio_sha256", "the table tracks lacks the column audio_sha256"),
        ("splits", "artist_id", "the table splits lacks the column artist_id"),
        ("index", "std_db", "the table spectrograms lacks the column std_db"),
    ],
)
def test_missing_column_is_named_with_its_table(
    tables: Any, tmp_path: Path, name: str, column: str, message: str
) -> None:
    setattr(tables, name, getattr(tables, name).drop(columns=column))
    with pytest.raises(MusicGenreError, match=f"^{message}$"):
        tables.report(tmp_path)


def test_missing_columns_of_any_suite_are_named(tables: Any, tmp_path: Path) -> None:
    requests = tables.index.drop(columns=["n_mels", "std_db"])
    with pytest.raises(MusicGenreError, match=r"^the table requests lacks the columns n_mels, std_db$"):
        validate([Suite("requests", requests, "track_id", clip_expectations((640, 128)))], tmp_path)
    with pytest.raises(MusicGenreError, match=r"^the table requests lacks the column request_id$"):
        validate([Suite("requests", tables.index, "request_id", clip_expectations((640, 128)))], tmp_path)


def test_expectation_that_cannot_be_evaluated_says_why(tables: Any, tmp_path: Path) -> None:
    tables.index["minimum_db"] = "quiet"
    report = tables.report(tmp_path, "spectrograms")
    assert not report.success
    (sentence,) = report.failures
    assert sentence.startswith("spectrograms.minimum_db: expect_column_values_to_be_between fails: ")
    assert "of the same type" in sentence
    assert "\n" not in sentence


def test_ready_spectrograms_pass_without_audio_columns(tables: Any, tmp_path: Path) -> None:
    for column in AUDIO_COLUMNS:
        tables.tracks[column] = pd.Series([None] * len(tables.tracks), dtype=object)
    report = tables.report(tmp_path, shape=None, min_duration_s=None)
    assert report.success
    assert "files" not in report.summary["suites"]
    checked = {single["column"] for single in report.summary["suites"]["tracks"]["expectations"]}
    assert not checked & {*AUDIO_COLUMNS}


def test_ready_spectrograms_of_another_shape_than_most_fail(tables: Any, tmp_path: Path) -> None:
    tables.index["n_frames"] = 500
    tables.set_statistic(3, "n_frames", 400)
    report = tables.report(tmp_path, "spectrograms", shape=None, min_duration_s=None)
    assert failed(report) == {("spectrograms", "n_frames", "expect_column_values_to_be_in_set")}
    assert "track_id: 3;" in report.failures[0]


@pytest.mark.parametrize(("allowed", "severity"), [(False, "critical"), (True, "warning")])
def test_artist_in_two_splits_fails_or_warns_where_allowed(
    tables: Any, tmp_path: Path, allowed: bool, severity: str
) -> None:
    tables.splits.loc[tables.splits["track_id"].isin([14, 40]), "artist_id"] = "restless"
    report = tables.report(tmp_path, "artists", allow_artist_overlap=allowed)
    assert report.success == allowed
    assert report.summary["suites"]["artists"]["success"] == allowed
    assert entry(report, "artists", "splits", "in_set")["severity"] == severity
    (sentence,) = report.failures
    assert "fails for 1 of" in sentence
    assert f"tracks: 14 40; {severity}" in sentence


def test_recording_in_two_splits_fails_even_where_artists_may_overlap(tables: Any, tmp_path: Path) -> None:
    tables.tracks.loc[tables.tracks["track_id"].isin([15, 30]), "audio_sha256"] = "same"
    report = tables.report(tmp_path, "artists", "files", allow_artist_overlap=True)
    assert not report.success
    assert entry(report, "files", "splits", "in_set")["severity"] == "critical"


def test_duplicates_and_artists_within_one_split_pass(tables: Any, tmp_path: Path) -> None:
    tables.tracks.loc[tables.tracks["track_id"].isin([1, 2]), "audio_sha256"] = "same"
    tables.splits.loc[tables.splits["track_id"] <= 12, "artist_id"] = "one"
    assert tables.report(tmp_path, "artists", "files").failures == []


def test_unknown_artists_are_not_one_artist(tables: Any, tmp_path: Path) -> None:
    tables.splits.loc[tables.splits["track_id"] > 2, "artist_id"] = None
    assert tables.report(tmp_path, "artists").success


def test_no_suite_claims_to_have_checked_artists_where_none_is_known(tables: Any, tmp_path: Path) -> None:
    tables.splits["artist_id"] = pd.array([None] * len(tables.splits), dtype="string")
    report = tables.report(tmp_path)
    assert report.success
    assert "artists" not in report.summary["suites"]


@pytest.mark.parametrize(
    ("split", "severity"), [("training", "critical"), ("validation", "warning"), ("test", "warning")]
)
def test_split_without_clips_fails_for_every_genre_in_training_and_else_warns(
    tables: Any, tmp_path: Path, split: str, severity: str
) -> None:
    tables.index = tables.index[tables.index["split"] != split]
    report = tables.report(tmp_path, "genres")
    assert report.success == (severity == "warning")
    single = entry(report, "genres", split, "between")
    assert (single["severity"], single["unexpected_count"]) == (severity, 3)
    assert f"Blues, Jazz, Rock; {severity}" in report.failures[0]


def test_genre_without_any_spectrogram_fails(tables: Any, tmp_path: Path) -> None:
    tables.index = tables.index[tables.index["genre"] != "Jazz"]
    report = tables.report(tmp_path, "genres")
    assert not report.success
    assert any("Jazz" in sentence for sentence in report.failures)


@pytest.mark.parametrize("duration_s", [10.0, 30.0, 3000.0])
def test_track_of_minimum_duration_or_longer_passes(tables: Any, tmp_path: Path, duration_s: float) -> None:
    tables.tracks["duration_s"] = duration_s
    assert tables.report(tmp_path, "tracks").failures == []


def test_track_listed_twice_fails(tables: Any, tmp_path: Path) -> None:
    tables.tracks = pd.concat([tables.tracks, tables.tracks[tables.tracks["track_id"] == 5]], ignore_index=True)
    report = tables.report(tmp_path, "tracks")
    assert not report.success
    assert entry(report, "tracks", "track_id", "unique")["unexpected_count"] == 2


# Clips in each split; the other two genres have ten. A quarter of the mean of 66 clips is 5.5, of 63 it is 5.25.
@pytest.mark.parametrize(("jazz", "rare"), [(10, []), (2, []), (1, ["Jazz"])])
def test_rare_genre_is_a_warning(tables: Any, tmp_path: Path, jazz: int, rare: list[str]) -> None:
    rows = [
        {"genre": genre, "split": split}
        for genre in ("Blues", "Jazz", "Rock")
        for split in SPLITS
        for _ in range(jazz if genre == "Jazz" else 10)
    ]
    tables.index = pd.DataFrame(rows, columns=tables.index.columns)
    report = tables.report(tmp_path, "genres")
    assert report.success
    single = entry(report, "genres", "class_balance", "between")
    assert (single["severity"], single["unexpected_count"]) == ("warning", len(rare))
    assert len(report.failures) == len(rare)
    assert all("genres.class_balance" in line and "genre: Jazz; warning" in line for line in report.failures)


@pytest.mark.parametrize(
    ("sizes", "unexpected"),
    [
        ((6, 3, 2), []),
        ((8, 3, 2), []),
        ((5, 3, 2), ["training"]),
        ((9, 3, 2), ["training"]),
        ((7, 2, 3), ["validation", "test"]),
    ],
)
def test_other_sizes_than_the_published_ones_are_warnings(
    tables: Any, tmp_path: Path, sizes: tuple[int, int, int], unexpected: list[str]
) -> None:
    split = [name for name, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    tables.index = pd.DataFrame({"split": split}, columns=tables.index.columns)
    report = tables.report(tmp_path, "split_sizes", expected_split_sizes=SPLIT_SIZES)
    assert report.success
    assert [line.partition(":")[0] for line in report.failures] == [f"split_sizes.{split}" for split in unexpected]
    text = "training {}, validation {}, test {}".format(*sizes)
    assert all(f"(sizes: {text}; warning)" in line for line in report.failures)


def test_first_five_ids_are_shown_and_all_are_counted(tables: Any, tmp_path: Path) -> None:
    tables.index.loc[tables.index["track_id"] <= 9, "maximum_db"] = 3.0
    (sentence,) = tables.report(tmp_path, "spectrograms").failures
    assert "fails for 9 of 48 rows (track_id: 1, 2, 3, 4, 5, ...; critical)" in sentence


def test_summary_has_no_time_and_no_id(defects: ValidationReport) -> None:
    text = json.dumps(defects.summary)
    assert not re.search(r"\d{4}-?\d\d-?\d\d|\d\d:\d\d|[0-9a-f]{8}-[0-9a-f]{4}", text)
    entries = [single for suite in defects.summary["suites"].values() for single in suite["expectations"]]
    always = ("expectation", "column", "severity", "success", "unexpected_count")
    assert {tuple(single) for single in entries if single["success"]} == {always}
    assert {tuple(single) for single in entries if not single["success"]} == {(*always, "expected", "found")}


@pytest.mark.parametrize(
    ("suite", "column", "value", "kind", "expected", "found"),
    [
        ("tracks", "duration_s", [9.5, 3, 9.5], "between", "at least 10", "9.5, 3.0"),
        (
            "spectrograms",
            "maximum_db",
            [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
            "between",
            "at most 0",
            "1.5, 2.5, 3.5, 4.5 and 2 more",
        ),
        ("spectrograms", "silent_fraction", [1.0], "between", "below 1", "1.0"),
        ("spectrograms", "finite_fraction", [0.5], "in_set", "one of 1", "0.5"),
        ("tracks", "genre", [None], "not_be_null", "a value", "no value"),
        ("tracks", "track_id", [5, 5], "unique", "no value twice", "5"),
    ],
)
def test_failure_tells_what_was_expected_and_found(
    tables: Any, tmp_path: Path, suite: str, column: str, value: list[Any], kind: str, expected: str, found: str
) -> None:
    table = tables.tracks if suite == "tracks" else tables.index
    table.loc[table.index[: len(value)], column] = value
    single = entry(tables.report(tmp_path, suite), suite, column, kind)
    assert (single["expected"], single["found"]) == (expected, found)


def test_failure_of_a_table_without_rows_tells_how_many_it_has(tables: Any, tmp_path: Path) -> None:
    tables.tracks = tables.tracks.head(0)
    report = tables.report(tmp_path, "tracks")
    single = next(s for s in report.summary["suites"]["tracks"]["expectations"] if "row_count" in s["expectation"])
    assert (single["expected"], single["found"]) == ("at least 1", "0")
