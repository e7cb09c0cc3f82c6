"""Split tracks into training, validation and test: by the data set's own split, by artist or at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import model_validator

from music_genre.config import Fraction, ParamsModel
from music_genre.errors import MusicGenreError

SPLITS = ("training", "validation", "test")
MAX_FOLDS = 20  # more only where a fraction is smaller than one fold of these

SplitMethod = Literal["official", "artist", "random"]


class SplitParams(ParamsModel):
    """The section ``split``.

    Args:
        method: ``official`` keeps the data set's split and, where it has none, is ``artist``: no artist is in two
            splits. ``random`` looks at genres alone; it overestimates accuracy (artist effect).
        validation_fraction: of the tracks, where the split is not official.
        test_fraction: likewise.
    """

    method: SplitMethod
    validation_fraction: Fraction
    test_fraction: Fraction

    @model_validator(mode="after")
    def check_split_sizes(self) -> SplitParams:
        """Something must remain to train on."""
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction {self.validation_fraction} and test_fraction {self.test_fraction} "
                "together must be below 1"
            )
        return self


def assign_splits(
    tracks: pd.DataFrame,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    method: SplitMethod = "official",
) -> pd.DataFrame:
    """Give every track its split.

    Official splits are kept where every track has one. Otherwise whole groups are assigned, stratified by genre: tracks
    of one artist, and copies of one file, stay together.

    Args:
        tracks: columns track_id, genre, artist_id (may be null), split (official or null), sha256 (may be null).
        validation_fraction: of the tracks.
        test_fraction: of the tracks.
        seed: decides which groups go where.
        method: ``artist`` ignores an official split, ``random`` ignores artists, too.

    Returns:
        columns track_id, genre, artist_id, split; by track_id.

    Raises:
        MusicGenreError: a split's name is unknown, or there are too few artists for the fractions.
    """
    if is_official(tracks, method):
        unknown = sorted(set(tracks["split"]) - set(SPLITS))
        if unknown:
            raise MusicGenreError(f"the data set's split names {', '.join(unknown)}; expected {', '.join(SPLITS)}")
        names = tracks["split"].to_numpy()
    else:
        group_columns = ("sha256",) if method == "random" else ("artist_id", "sha256")
        names = _group_split(tracks, validation_fraction, test_fraction, seed, group_columns)
    table = tracks[["track_id", "genre", "artist_id"]].assign(split=pd.array(names, dtype="string"))
    return table.sort_values("track_id", ignore_index=True)


def is_official(tracks: pd.DataFrame, method: SplitMethod) -> bool:
    """Whether the data set's own split is kept: the method is ``official``, and every track has a split."""
    return method == "official" and bool(tracks["split"].notna().all())


def split_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Tracks and known artists: a row a genre, columns genre and ``<split>_tracks``, ``<split>_artists`` of each."""
    counts = splits.groupby(["genre", "split"]).agg(tracks=("track_id", "size"), artists=("artist_id", "nunique"))
    wide = counts.unstack(fill_value=0).swaplevel(axis=1)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([SPLITS, counts.columns]), fill_value=0)
    return wide.set_axis(["_".join(pair) for pair in wide.columns], axis=1).reset_index()


def _group_split(
    tracks: pd.DataFrame, validation_fraction: float, test_fraction: float, seed: int, group_columns: Sequence[str]
) -> np.ndarray:
    """(n,) split names; tracks with the same value in one of ``group_columns`` get the same split."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import, and needed here alone

    groups = _connected_groups(tracks, group_columns)
    n_artists = int(tracks.assign(group=groups).groupby("genre")["group"].nunique().min())
    if n_artists < len(SPLITS):
        raise MusicGenreError(
            f"a genre has {n_artists} artists; three splits that share no artist need at least {len(SPLITS)}"
        )
    plan = _plan_folds(validation_fraction, test_fraction, n_artists)
    splitter = StratifiedGroupKFold(plan.n_folds, shuffle=True, random_state=seed)
    fold = np.empty(len(tracks), dtype=np.int64)
    for number, (_, members) in enumerate(splitter.split(tracks, tracks["genre"], groups)):
        fold[members] = number
    return np.select([fold < plan.n_test, fold < plan.n_test + plan.n_validation], ["test", "validation"], "training")


@dataclass(frozen=True)
class _FoldPlan:
    """So many equal folds, of which validation and test take some."""

    n_folds: int
    n_validation: int
    n_test: int

    @classmethod
    def nearest(cls, n_folds: int, validation_fraction: float, test_fraction: float) -> _FoldPlan:
        """The plan with ``n_folds`` folds whose fractions are nearest; each split has at least one fold."""
        return cls(n_folds, max(1, round(validation_fraction * n_folds)), max(1, round(test_fraction * n_folds)))

    def error(self, validation_fraction: float, test_fraction: float) -> float:
        """How far the plan's fractions are from the given ones; rounded, so that equally good plans are equal."""
        validation_error = abs(self.n_validation / self.n_folds - validation_fraction)
        return round(validation_error + abs(self.n_test / self.n_folds - test_fraction), 6)


def _plan_folds(validation_fraction: float, test_fraction: float, n_artists: int) -> _FoldPlan:
    """The plan nearest to the fractions, with as few folds as possible and at most one per artist of the genre that
    has the fewest.
    """
    max_folds = min(n_artists, max(MAX_FOLDS, round(1 / min(validation_fraction, test_fraction))))
    candidates = [
        _FoldPlan.nearest(n_folds, validation_fraction, test_fraction) for n_folds in range(len(SPLITS), max_folds + 1)
    ]
    candidates = [plan for plan in candidates if plan.n_validation + plan.n_test < plan.n_folds]
    if not candidates:
        raise MusicGenreError(
            f"split: {n_artists} artists in a genre are too few for validation_fraction {validation_fraction:g}"
            f" and test_fraction {test_fraction:g}"
        )
    return min(candidates, key=lambda plan: (plan.error(validation_fraction, test_fraction), plan.n_folds))


def _connected_groups(tracks: pd.DataFrame, group_columns: Sequence[str]) -> np.ndarray:
    """(n,) the number of each track's group. Tracks with the same value in a column are linked; a group is all that
    links connect.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns, n_nodes = [], [], len(tracks)
    for column in group_columns:
        codes, values = pd.factorize(tracks[column])
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        columns.append(codes[known] + n_nodes)
        n_nodes += len(values)
    source, target = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(source), bool), (source, target)), shape=(n_nodes, n_nodes))
    labels: np.ndarray = connected_components(graph, directed=False)[1][: len(tracks)]
    return labels
