"""Training, validation, test: the source's own split, one that no artist spans, or, to see what that is worth, a
random one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import model_validator

from music_genre.config import Fraction, ParamsModel
from music_genre.errors import MusicGenreError

SPLITS = ("training", "validation", "test")

MAX_FOLDS = 20
"""Finer shares are not worth the time, unless a share asks for them."""


SplitMethod = Literal["official", "artist", "random"]


class SplitParams(ParamsModel):
    """The section ``split``.

    Args:
        method: ``official`` keeps the source's split and, where it has none, is ``artist``: no artist is in two splits.
            ``random`` looks at genres alone; it overestimates accuracy (artist effect).
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
            raise ValueError("validation_fraction and test_fraction together must be below 1")
        return self


def assign_splits(
    tracks: pd.DataFrame, validation: float, test: float, seed: int, method: SplitMethod = "official"
) -> pd.DataFrame:
    """Give every track its split.

    Official splits are kept where every track has one. Otherwise whole groups are dealt out, stratified by genre:
    tracks of one artist and copies of one file belong together.

    Args:
        tracks: columns track_id, genre, artist_id (may be null), split (official or null), sha256 (may be null).
        validation: share of the tracks.
        test: share of the tracks.
        seed: decides which groups go where.
        method: ``artist`` deals anew what has an official split, ``random`` does so and deals artists apart.

    Returns:
        columns track_id, genre, artist_id, split; by track_id.

    Raises:
        MusicGenreError: a split's name is unknown, or there are too few artists for the shares.
    """
    if is_official(tracks, method):
        unknown = sorted(set(tracks["split"]) - set(SPLITS))
        if unknown:
            raise MusicGenreError(f"the source's split names {', '.join(unknown)}; expected {', '.join(SPLITS)}")
        chosen = tracks["split"].to_numpy()
    else:
        chosen = _deal(tracks, validation, test, seed, ("sha256",) if method == "random" else ("artist_id", "sha256"))
    table = tracks[["track_id", "genre", "artist_id"]].assign(split=pd.array(chosen, dtype="string"))
    return table.sort_values("track_id", ignore_index=True)


def is_official(tracks: pd.DataFrame, method: SplitMethod) -> bool:
    """Whether the source's own split is kept: where it is asked for and every track has one."""
    return method == "official" and bool(tracks["split"].notna().all())


def split_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Tracks and known artists: a row a genre, columns genre and ``<split>_tracks``, ``<split>_artists`` of each."""
    counts = splits.groupby(["genre", "split"]).agg(tracks=("track_id", "size"), artists=("artist_id", "nunique"))
    wide = counts.unstack(fill_value=0).swaplevel(axis=1)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([SPLITS, counts.columns]), fill_value=0)
    return wide.set_axis(["_".join(pair) for pair in wide.columns], axis=1).reset_index()


def _deal(tracks: pd.DataFrame, validation: float, test: float, seed: int, together: Sequence[str]) -> np.ndarray:
    """(n,) split names, by folds as large as the smaller share; rows alike in a column of ``together`` stay so."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to load, and most who ask for SPLITS deal none

    groups = _groups(tracks, together)
    artists = int(tracks.assign(group=groups).groupby("genre")["group"].nunique().min())
    if artists < len(SPLITS):
        raise MusicGenreError(
            f"a genre has {artists} artists; three splits that share no artist take at least {len(SPLITS)}"
        )
    folds, for_validation, for_test = _folds(validation, test, artists)
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(tracks), dtype=np.int64)
    for number, (_, members) in enumerate(dealer.split(tracks, tracks["genre"], groups)):
        fold[members] = number
    return np.select([fold < for_test, fold < for_test + for_validation], ["test", "validation"], "training")


def _folds(validation: float, test: float, artists: int) -> tuple[int, int, int]:
    """How many folds, and how many of them validation and test take: as near the shares as whole folds come, no more
    folds than the poorest genre has artists, at least one fold for each split.
    """

    def choice(folds: int) -> tuple[float, int, int, int]:
        for_validation, for_test = max(1, round(validation * folds)), max(1, round(test * folds))
        error = abs(for_validation / folds - validation) + abs(for_test / folds - test)
        return (round(error, 6) if for_validation + for_test < folds else np.inf), folds, for_validation, for_test

    most = min(artists, max(MAX_FOLDS, round(1 / min(validation, test))))
    error, folds, for_validation, for_test = min(map(choice, range(len(SPLITS), most + 1)))
    if not np.isfinite(error):
        raise MusicGenreError(
            f"split: {artists} artists a genre cannot be shared out with {validation:g} and {test:g} held out"
        )
    return folds, for_validation, for_test


def _groups(tracks: pd.DataFrame, together: Sequence[str]) -> np.ndarray:
    """(n,) a number a group: tracks alike in a column of ``together`` are linked, and links chain."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns, nodes = [], [], len(tracks)
    for column in together:
        codes, values = pd.factorize(tracks[column])
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        columns.append(codes[known] + nodes)
        nodes += len(values)
    source, target = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(source), bool), (source, target)), shape=(nodes, nodes))
    labels: np.ndarray = connected_components(graph, directed=False)[1][: len(tracks)]
    return labels
