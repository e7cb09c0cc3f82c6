"""Great Expectations over what training is about to see: tracks, splits, the spectrogram index, artists, files and
genres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from music_genre.datasets.splits import SPLITS
from music_genre.features.mel import FLOOR_DB
from music_genre.validation.data_docs import make_static

CRITICAL, WARNING = "critical", "warning"
NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands for the time of the run: a report of the same data is the same bytes."""

EVEN_SHARE = 0.25
"""A genre with less than this part of an even share of the clips is told: its figures will be poor."""

FMA_SMALL = {"training": (6394, 6400), "validation": (800, 800), "test": (800, 800)}
"""Clips of each official split, as published; six of the training clips hold too little audio (README of FMA)."""

SHOWN_IDS = 5


@dataclass(frozen=True)
class Suite:
    """Expectations over one table.

    Args:
        name: said in reports.
        table: what is checked.
        identified_by: the column that names a failing row.
        expectations: Great Expectations' own objects.
    """

    name: str
    table: pd.DataFrame
    identified_by: str
    expectations: list[Any]


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Args:
        success: every critical expectation holds.
        summary: for ``summary.json``: neither times nor ids of runs.
        failures: one sentence a failed expectation.
    """

    success: bool
    summary: dict[str, Any]
    failures: list[str]


def suites(
    tracks: pd.DataFrame,
    splits: pd.DataFrame,
    index: pd.DataFrame,
    shape: tuple[int, int],
    min_duration_s: float,
    artists_may_span: bool,
    is_fma_small: bool,
) -> list[Suite]:
    """Everything that must hold before training.

    Args:
        tracks: ``tracks.parquet``.
        splits: ``splits.parquet``.
        index: ``index.parquet``.
        shape: (frames, n_mels) that every clip must have.
        min_duration_s: shortest that a track may be.
        artists_may_span: an artist in two splits is told, not refused.
        is_fma_small: the known counts of FMA-small are expected.
    """
    from great_expectations import expectations as expect

    files = tracks.drop_duplicates("track_id").set_index("track_id")["sha256"]
    counted = [_fma_small(index)] if is_fma_small else []
    return [
        Suite(
            "tracks",
            tracks,
            "track_id",
            [
                expect.ExpectColumnValuesToBeUnique(column="track_id"),
                expect.ExpectColumnValuesToNotBeNull(column="genre"),
                expect.ExpectColumnValuesToBeBetween(column="seconds", min_value=min_duration_s),
            ],
        ),
        Suite(
            "spectrograms",
            index,
            "track_id",
            [
                expect.ExpectColumnValuesToBeUnique(column="track_id"),
                expect.ExpectColumnValuesToBeInSet(column="track_id", value_set=splits["track_id"].tolist()),
                *of_clips(shape),
            ],
        ),
        Suite(
            "splits",
            splits,
            "track_id",
            [
                expect.ExpectColumnValuesToBeUnique(column="track_id"),
                expect.ExpectColumnValuesToNotBeNull(column="genre"),
                expect.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS)),
            ],
        ),
        Suite(
            "artists",
            _splits_of(splits, splits["artist_id"]),
            "tracks",
            [_one_split(WARNING if artists_may_span else CRITICAL)],
        ),
        Suite(
            "files",
            _splits_of(splits, splits["track_id"].map(files)),
            "tracks",
            [_one_split(CRITICAL)],
        ),
        Suite(
            "genres",
            _clips_of_genres(index, splits["genre"]),
            "genre",
            [
                *(expect.ExpectColumnValuesToBeBetween(column=split, min_value=1) for split in SPLITS),
                expect.ExpectColumnValuesToBeBetween(column="even_share", min_value=EVEN_SHARE, severity=WARNING),
            ],
        ),
        *counted,
    ]


def of_clips(shape: tuple[int, int]) -> list[Any]:
    """What must hold of every spectrogram, a training clip's or a request's.

    Args:
        shape: (frames, n_mels).
    """
    from great_expectations import expectations as expect

    frames, n_mels = shape
    return [
        expect.ExpectColumnValuesToBeInSet(column="frames", value_set=[frames]),
        expect.ExpectColumnValuesToBeInSet(column="n_mels", value_set=[n_mels]),
        expect.ExpectColumnValuesToBeInSet(column="finite_share", value_set=[1.0]),
        expect.ExpectColumnValuesToBeBetween(column="minimum_db", min_value=FLOOR_DB),
        expect.ExpectColumnValuesToBeBetween(column="maximum_db", max_value=0),
        expect.ExpectColumnValuesToBeBetween(column="silent_share", max_value=1, strict_max=True),
    ]


def run(checked: Sequence[Suite], site: Path) -> Verdict:
    """Validate every suite and write Data Docs.

    Args:
        checked: from ``suites``.
        site: folder of the static pages, made anew.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site.absolute())}
    context.add_data_docs_site("site", {"class_name": "SiteBuilder", "store_backend": store})
    source = context.data_sources.add_pandas("music-genre")
    summary: dict[str, Any] = {}
    failures: list[str] = []
    for suite in checked:
        batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        expectations = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=suite.expectations))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=expectations)
        )
        result = definition.run(
            batch_parameters={"dataframe": suite.table},
            run_id=gx.RunIdentifier(run_name="data", run_time=NO_TIME),
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [suite.identified_by]},
        )
        outcomes = [_outcome(single) for single in result.results]
        summary[suite.name] = {
            "success": all(outcome["success"] for outcome in outcomes if outcome["severity"] == CRITICAL),
            "expectations": outcomes,
        }
        failures += [_sentence(suite, single) for single in result.results if not single.success]
    context.build_data_docs()
    success = all(suite["success"] for suite in summary.values())
    verdict = Verdict(success, {"success": success, "suites": summary}, failures)
    make_static(site, verdict.summary, failures)
    return verdict


def _one_split(severity: str) -> Any:
    from great_expectations import expectations as expect

    return expect.ExpectColumnValuesToBeInSet(column="splits", value_set=[1], severity=severity)


def _splits_of(splits: pd.DataFrame, owner: pd.Series) -> pd.DataFrame:
    """How many splits each owner's tracks lie in; tracks without an owner are left out."""
    grouped = splits.assign(owner=owner.astype("string")).dropna(subset="owner").groupby("owner")
    table = grouped.agg(splits=("split", "nunique"), tracks=("track_id", lambda ids: " ".join(map(str, ids))))
    return table.reset_index()


def _clips_of_genres(index: pd.DataFrame, genres: pd.Series) -> pd.DataFrame:
    """Clips with a spectrogram: a row a genre, a column a split; ``even_share`` is 1 where all genres have as many."""
    counts = pd.crosstab(index["genre"], index["split"])
    counts = counts.reindex(
        index=pd.Index(sorted(genres.dropna().unique()), name="genre"), columns=list(SPLITS), fill_value=0
    )
    total = counts.sum(axis=1)
    counts["even_share"] = total / total.mean()
    return counts.reset_index().rename_axis(columns=None)


def _fma_small(index: pd.DataFrame) -> Suite:
    """The clips of FMA-small, counted; a part of it is told, not refused."""
    from great_expectations import expectations as expect

    counts = {split: [int((index["split"] == split).sum())] for split in FMA_SMALL}
    expected = [
        expect.ExpectColumnValuesToBeBetween(column=split, min_value=low, max_value=high, severity=WARNING)
        for split, (low, high) in FMA_SMALL.items()
    ]
    return Suite("fma_small", pd.DataFrame({"collection": ["fma_small"], **counts}), "collection", expected)


def _outcome(single: Any) -> dict[str, Any]:
    return {
        "expectation": single.expectation_config.type,
        "column": single.expectation_config.kwargs["column"],
        "severity": single.expectation_config.severity.value,
        "success": bool(single.success),
        "unexpected_count": int(single.result.get("unexpected_count", 0)),
    }


def _sentence(suite: Suite, single: Any) -> str:
    outcome = _outcome(single)
    rows = single.result.get("unexpected_index_list") or []
    ids = [str(row[suite.identified_by]) for row in rows]
    shown = ", ".join(ids[:SHOWN_IDS]) + (", ..." if len(ids) > SHOWN_IDS else "")
    return (
        f"{suite.name}.{outcome['column']}: {outcome['expectation']} fails for {outcome['unexpected_count']} "
        f"of {len(suite.table)} rows ({suite.identified_by}: {shown}; {outcome['severity']})"
    )
