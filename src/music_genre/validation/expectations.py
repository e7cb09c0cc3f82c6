"""What must hold of the data before anything is trained on it, as Great Expectations over its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from music_genre.datasets.inspection import AUDIO_COLUMNS
from music_genre.datasets.splits import SPLITS
from music_genre.errors import MusicGenreError
from music_genre.features.params import FLOOR_DB

CRITICAL, WARNING = "critical", "warning"
MIN_CLASS_BALANCE = 0.25  # genres with fewer clips, as a fraction of the mean over genres, will have poor metrics
TRACK_COLUMNS = ("track_id", "genre")
SPLIT_COLUMNS = ("track_id", "genre", "artist_id", "split")
INDEX_COLUMNS = ("track_id", "genre", "split")
STATISTICS = (
    "n_frames",
    "n_mels",
    "finite_fraction",
    "minimum_db",
    "maximum_db",
    "mean_db",
    "std_db",
    "silent_fraction",
)


@dataclass(frozen=True)
class Suite:
    """Expectations over one table.

    Args:
        name: shown in reports.
        table: what is checked.
        id_column: the column whose values identify failing rows in messages.
        expectations: Great Expectations' own objects.
    """

    name: str
    table: pd.DataFrame
    id_column: str
    expectations: list[Any]


def dataset_suites(
    tracks: pd.DataFrame,
    splits: pd.DataFrame,
    index: pd.DataFrame,
    shape: tuple[int, int] | None,
    min_duration_s: float | None,
    allow_artist_overlap: bool = False,
    expected_split_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[Suite]:
    """Everything that must hold before training.

    Where no track has a known artist there is no suite ``artists``, and without audio none of ``files``: there is
    nothing that they could check.

    Args:
        tracks: ``tracks.parquet``.
        splits: ``splits.parquet``.
        index: ``index.parquet``.
        shape: (n_frames, n_mels) that every clip must have; None: the shape of most clips.
        min_duration_s: the shortest duration that a track may have; None: tracks are ready spectrograms, whose audio
            columns are null.
        allow_artist_overlap: an artist in two splits is a warning, no critical failure.
        expected_split_sizes: by split, the least and the most clips that a published data set has there; other
            counts are warnings.

    Raises:
        MusicGenreError: a table lacks a column; the message names both.
    """
    has_audio = min_duration_s is not None
    require_columns("tracks", tracks, (*TRACK_COLUMNS, *(AUDIO_COLUMNS if has_audio else ())))
    require_columns("splits", splits, SPLIT_COLUMNS)
    require_columns("spectrograms", index, (*INDEX_COLUMNS, *STATISTICS))
    suites = [
        _tracks_suite(tracks, min_duration_s),
        _spectrograms_suite(index, splits, shape or _most_common_shape(index)),
        _splits_suite(splits, tracks),
        _genres_suite(index, splits["genre"]),
    ]
    if splits["artist_id"].notna().any():
        severity = WARNING if allow_artist_overlap else CRITICAL
        suites.append(
            Suite("artists", _splits_per_group(splits, splits["artist_id"]), "tracks", _in_one_split(severity))
        )
    if has_audio:
        recording = splits["track_id"].map(tracks.drop_duplicates("track_id").set_index("track_id")["audio_sha256"])
        suites.append(Suite("files", _splits_per_group(splits, recording), "tracks", _in_one_split(CRITICAL)))
    if expected_split_sizes:
        suites.append(_split_sizes_suite(index, expected_split_sizes))
    return suites


def clip_expectations(shape: tuple[int, int]) -> list[Any]:
    """What must hold of every spectrogram, a training clip's or a request's.

    Args:
        shape: (n_frames, n_mels).
    """
    from great_expectations import expectations as expect

    n_frames, n_mels = shape
    return [
        *_not_null(*STATISTICS),
        expect.ExpectColumnValuesToBeInSet(column="n_frames", value_set=[n_frames]),
        expect.ExpectColumnValuesToBeInSet(column="n_mels", value_set=[n_mels]),
        expect.ExpectColumnValuesToBeInSet(column="finite_fraction", value_set=[1.0]),
        expect.ExpectColumnValuesToBeBetween(column="minimum_db", min_value=FLOOR_DB),
        expect.ExpectColumnValuesToBeBetween(column="maximum_db", max_value=0),
        expect.ExpectColumnValuesToBeBetween(column="silent_fraction", max_value=1, strict_max=True),
    ]


def require_columns(name: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has its columns.

    Raises:
        MusicGenreError: it lacks one or more.
    """
    missing = [column for column in dict.fromkeys(columns) if column not in table]
    if missing:
        raise MusicGenreError(f"the table {name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")


def _tracks_suite(tracks: pd.DataFrame, min_duration_s: float | None) -> Suite:
    """``tracks.parquet``; no audio columns are checked where ``min_duration_s`` is None."""
    from great_expectations import expectations as expect

    expectations = [_not_empty(), *_unique_ids(), *_not_null("genre")]
    if min_duration_s is not None:
        expectations += [
            *_not_null(*AUDIO_COLUMNS),
            expect.ExpectColumnValuesToBeBetween(column="duration_s", min_value=min_duration_s),
        ]
    return Suite("tracks", tracks, "track_id", expectations)


def _spectrograms_suite(index: pd.DataFrame, splits: pd.DataFrame, shape: tuple[int, int]) -> Suite:
    return Suite(
        "spectrograms",
        index,
        "track_id",
        [
            _not_empty(),
            *_unique_ids(),
            _ids_in(splits),
            *_not_null("genre", "split"),
            *clip_expectations(shape),
        ],
    )


def _splits_suite(splits: pd.DataFrame, tracks: pd.DataFrame) -> Suite:
    from great_expectations import expectations as expect

    return Suite(
        "splits",
        splits,
        "track_id",
        [
            _not_empty(),
            *_unique_ids(),
            _ids_in(tracks),
            *_not_null("genre", "split"),
            expect.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS)),
        ],
    )


def _genres_suite(index: pd.DataFrame, genres: pd.Series) -> Suite:
    """Clips with a spectrogram: each genre must be in training, should be in every split, and should not be rare.

    Args:
        index: ``index.parquet``.
        genres: of every track, with a spectrogram or without.
    """
    from great_expectations import expectations as expect

    counts = pd.crosstab(index["genre"], index["split"])
    counts = counts.reindex(
        index=pd.Index(sorted(genres.dropna().unique()), name="genre"), columns=list(SPLITS), fill_value=0
    )
    total = counts.sum(axis=1)
    counts["class_balance"] = total / total.mean()
    return Suite(
        "genres",
        counts.reset_index().rename_axis(columns=None),
        "genre",
        [
            _not_empty(),
            expect.ExpectColumnValuesToBeBetween(column="training", min_value=1),
            *(
                expect.ExpectColumnValuesToBeBetween(column=split, min_value=1, severity=WARNING)
                for split in SPLITS[1:]
            ),
            expect.ExpectColumnValuesToBeBetween(column="class_balance", min_value=MIN_CLASS_BALANCE, severity=WARNING),
        ],
    )


def _split_sizes_suite(index: pd.DataFrame, expected: Mapping[str, tuple[int, int]]) -> Suite:
    """The clips of each split against those that the data set was published with, as warnings."""
    from great_expectations import expectations as expect

    sizes = {split: int((index["split"] == split).sum()) for split in expected}
    text = ", ".join(f"{split} {size}" for split, size in sizes.items())
    return Suite(
        "split_sizes",
        pd.DataFrame({"sizes": [text], **{split: [size] for split, size in sizes.items()}}),
        "sizes",
        [
            expect.ExpectColumnValuesToBeBetween(column=split, min_value=least, max_value=most, severity=WARNING)
            for split, (least, most) in expected.items()
        ],
    )


def _splits_per_group(splits: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """How many splits the tracks of each group lie in: columns group, splits, tracks (their ids). Tracks whose group
    is null belong to none.
    """
    grouped = splits.assign(group=group.astype("string")).dropna(subset="group").groupby("group")
    table = grouped.agg(splits=("split", "nunique"), tracks=("track_id", lambda ids: " ".join(map(str, ids))))
    return table.reset_index()


def _most_common_shape(index: pd.DataFrame) -> tuple[int, int]:
    """(n_frames, n_mels) of most clips; (0, 0) where there are none, which fails for being empty."""
    shapes = index[["n_frames", "n_mels"]].dropna().value_counts()
    n_frames, n_mels = shapes.idxmax() if len(shapes) else (0, 0)
    return int(n_frames), int(n_mels)


def _not_empty() -> Any:
    """Expectations about values hold of an empty table: this one does not."""
    from great_expectations import expectations as expect

    return expect.ExpectTableRowCountToBeBetween(min_value=1)


def _not_null(*columns: str) -> list[Any]:
    """Other expectations skip null and NaN: these do not."""
    from great_expectations import expectations as expect

    return [expect.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def _unique_ids() -> list[Any]:
    from great_expectations import expectations as expect

    return [*_not_null("track_id"), expect.ExpectColumnValuesToBeUnique(column="track_id")]


def _ids_in(table: pd.DataFrame) -> Any:
    from great_expectations import expectations as expect

    return expect.ExpectColumnValuesToBeInSet(column="track_id", value_set=table["track_id"].dropna().tolist())


def _in_one_split(severity: str) -> list[Any]:
    from great_expectations import expectations as expect

    return [_not_empty(), expect.ExpectColumnValuesToBeInSet(column="splits", value_set=[1], severity=severity)]
