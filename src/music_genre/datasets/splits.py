"""Split tracks into training, validation and test: by the data set's own split, by artist or at random.

A track keeps its split as long as it exists, by way of a ledger of former splits; only new ones are dealt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import model_validator

from music_genre.config import Fraction, ParamsModel
from music_genre.datasets.grouping import Group, deal_groups, group_tracks
from music_genre.datasets.names import artist_keys
from music_genre.errors import MusicGenreError
from music_genre.files import atomic_write_text

SPLITS = ("training", "validation", "test")
MIN_HELD_OUT = 5  # a genre with fewer validation clips has figures that mean little
MAX_SHARE_ERROR = 0.1  # of what is wanted; more is said
LEDGER_COLUMNS = ("method", "track_id", "split")

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

    @property
    def fractions(self) -> dict[str, float]:
        """What each split is to have of the tracks."""
        held_out = {"validation": self.validation_fraction, "test": self.test_fraction}
        return {"training": 1 - sum(held_out.values()), **held_out}


@dataclass(frozen=True)
class SplitResult:
    """Which track is in which split, and why not as asked for.

    Args:
        splits: columns track_id, genre, artist_id, split; by track_id. Tracks whose artists are linked have the same
            artist_id.
        left_out: columns track_id, path, genre, split (the former one, or null), reason: tracks that fit into no split,
            because their artists are in two.
        dealt: track_id -> split of all tracks without an official split, also of those left out.
        notes: columns genre, split, wanted (null in an official split), found, note: what could not be met.
    """

    splits: pd.DataFrame
    left_out: pd.DataFrame
    dealt: dict[int, str]
    notes: pd.DataFrame


def assign_splits(
    tracks: pd.DataFrame, params: SplitParams, seed: int, former: Mapping[int, str] | None = None
) -> SplitResult:
    """Give every track its split.

    Official splits are kept where every track of a source has one. Former splits are kept, too. New tracks go where
    their artists are; whole groups of the others, tracks of linked artists and copies of one recording, are dealt so
    that the fractions come closest in every genre and in all.

    Args:
        tracks: columns track_id, genre, artist_id (may be null), split (official or null), audio_sha256 (may be null);
            where there are, source, path and artist (the artists' names beside an id).
        params: fractions and method.
        seed: decides between groups that fit equally well.
        former: split by track_id, of an earlier time.

    Raises:
        MusicGenreError: the name of an official split is unknown.
    """
    tracks = tracks.sort_values("track_id", ignore_index=True)
    official = official_tracks(tracks, params.method)
    _check_names(tracks.loc[official, "split"])
    fixed = tracks["split"].where(official)
    fixed = fixed.astype("string").fillna(tracks["track_id"].map(former or {}).astype("string"))
    grouping = group_tracks(
        tracks["track_id"].tolist(), _keys(tracks, params.method), fixed.fillna("").tolist(), official.tolist()
    )
    splits = pd.Series(grouping.split, dtype="string").replace("", pd.NA)
    is_left_out = pd.Series(grouping.conflict) != ""
    is_new = splits.isna() & ~is_left_out
    groups = [
        Group(str(name), rows["genre"].value_counts().to_dict(), min(rows["track_id"]))
        for name, rows in tracks[is_new].groupby(pd.Series(grouping.group)[is_new])
    ]
    counts = tracks[~official].assign(split=splits).groupby(["genre", "split"]).size()
    totals = tracks.loc[~official & ~is_left_out, "genre"].value_counts().to_dict()
    chosen = deal_groups(groups, counts.to_dict(), totals, params.fractions, seed)
    splits = splits.fillna(pd.Series(grouping.group).astype(str).map(chosen).where(is_new).astype("string"))
    table = tracks[["track_id", "genre"]].assign(artist_id=_group_names(tracks, grouping.group), split=splits)
    left_out = tracks.reindex(columns=["track_id", "path", "genre"]).assign(split=fixed, reason=grouping.conflict)
    dealt = splits.fillna(fixed)[~official].dropna()
    kept = table[~is_left_out].reset_index(drop=True)
    return SplitResult(
        kept,
        left_out[is_left_out].reset_index(drop=True),
        dict(zip(tracks.loc[dealt.index, "track_id"].tolist(), dealt.tolist(), strict=True)),
        _notes(kept, official[~is_left_out].to_numpy(dtype=bool), params.fractions),
    )


def official_tracks(tracks: pd.DataFrame, method: SplitMethod) -> pd.Series:
    """(n,) bool: whether the data set's own split of a track is kept: the method is ``official``, and every track of
    its source has a split.
    """
    source = tracks["source"] if "source" in tracks else pd.Series("", tracks.index)
    has_split = tracks["split"].notna()
    return has_split.groupby(source).transform("all") & (method == "official")


def split_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Tracks and known artists: a row a genre, columns genre and ``<split>_tracks``, ``<split>_artists`` of each."""
    counts = splits.groupby(["genre", "split"]).agg(tracks=("track_id", "size"), artists=("artist_id", "nunique"))
    wide = counts.unstack(fill_value=0).swaplevel(axis=1)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([SPLITS, counts.columns]), fill_value=0)
    return wide.set_axis(["_".join(pair) for pair in wide.columns], axis=1).reset_index()


def ledger_method(method: SplitMethod) -> str:
    """The method that tracks without an official split are dealt by."""
    return "random" if method == "random" else "artist"


def read_ledger(path: Path) -> dict[str, dict[int, str]]:
    """Former splits: by method, split by track_id. Empty where there is no file.

    Raises:
        MusicGenreError: the file is not such a table, or gives a track two splits, as two branches may.
    """
    ledger: dict[str, dict[int, str]] = {}
    if not path.exists():
        return ledger
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[:1] != [",".join(LEDGER_COLUMNS)]:
        raise MusicGenreError(f"{path}: expected the columns {', '.join(LEDGER_COLUMNS)} in its first line")
    for number, line in enumerate(lines[1:], start=2):
        method, _, rest = line.partition(",")
        track_id, _, split = rest.partition(",")
        if method not in ("artist", "random") or not track_id.isdigit() or split not in SPLITS:
            raise MusicGenreError(f"{path}, line {number}: found {line[:60]!r}; expected method, track_id, split")
        if ledger.setdefault(method, {}).setdefault(int(track_id), split) != split:
            raise MusicGenreError(f"{path}, line {number}: track {track_id} has two splits; keep one")
    return ledger


def write_ledger(path: Path, ledger: Mapping[str, Mapping[int, str]]) -> None:
    """Replace the ledger as a whole; the same content is the same bytes."""
    lines = [
        f"{method},{track_id},{split}"
        for method in sorted(ledger)
        for track_id, split in sorted(ledger[method].items())
    ]
    atomic_write_text(path, "\n".join([",".join(LEDGER_COLUMNS), *lines]) + "\n")


def _check_names(splits: pd.Series) -> None:
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise MusicGenreError(f"the data set's split names {', '.join(unknown)}; expected {', '.join(SPLITS)}")


def _keys(tracks: pd.DataFrame, method: SplitMethod) -> list[tuple[str, ...]]:
    """What links each track to others: its recording and, unless the method is random, its artists."""
    empty = pd.Series(pd.NA, tracks.index, "string")
    recordings = tracks.get("audio_sha256", empty)
    names = tracks.get("artist", empty)
    sources = tracks.get("source", empty).fillna("")
    # Where a source names artists beside their ids, an id counts within the source, and a name everywhere.
    with_ids = set(sources[names.notna()])
    keys = []
    for recording, artist_id, name, source in zip(recordings, tracks["artist_id"], names, sources, strict=True):
        linked = [] if pd.isna(recording) else [f"recording {recording}"]
        if method != "random":
            credit = name if source in with_ids else artist_id
            linked += [f"artist {key}" for key in artist_keys(None if pd.isna(credit) else str(credit))]
            if source in with_ids and not pd.isna(artist_id):
                linked.append(f"id {source} {artist_id}")
        keys.append(tuple(linked))
    return keys


def _group_names(tracks: pd.DataFrame, groups: Iterable[int]) -> pd.Series:
    """(n,) the first artist of each track's group, by name; null where no artist is known."""
    return tracks["artist_id"].groupby(pd.Series(groups)).transform("min").astype("string")


def _notes(splits: pd.DataFrame, official: np.ndarray, fractions: Mapping[str, float]) -> pd.DataFrame:
    """What could not be met: too few clips of a genre, and shares that are off by more than a track."""
    rows = []
    for genre, tracks in splits.assign(official=official).groupby("genre"):
        dealt = tracks[~tracks["official"]]
        for split in SPLITS:
            found = tracks[tracks["split"] == split]
            # Beside the official tracks, which are as they are.
            wanted = round(found["official"].sum() + fractions[split] * len(dealt), 1) if len(dealt) else None
            note = _note(tracks, found, dealt, split, wanted)
            if note:
                rows.append((genre, split, wanted, len(found), note))
    return pd.DataFrame(rows, columns=["genre", "split", "wanted", "found", "note"])


def _note(
    genre: pd.DataFrame, found: pd.DataFrame, dealt: pd.DataFrame, split: str, wanted: float | None
) -> str | None:
    """What is wrong with a genre's tracks in a split; None: nothing."""
    if found.empty:
        return f"no {split} clip; the genre has {genre['artist_id'].nunique()} artists"
    if split == "validation" and len(found) < MIN_HELD_OUT:
        return f"below {MIN_HELD_OUT} clips figures mean little"
    if wanted is None or abs(len(found) - wanted) <= max(1.0, MAX_SHARE_ERROR * wanted):
        return None
    artists = (dealt[dealt["split"] == split] if len(found) > wanted else dealt)["artist_id"].value_counts()
    if artists.empty or artists.iloc[0] == 1:
        return "kept from before"
    return f"{artists.index[0]} alone has {artists.iloc[0]}"
