"""Splits over the life of a collection: random collections, and random histories of them."""

from __future__ import annotations

from itertools import product

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from music_genre.datasets.grouping import Group, deal_groups
from music_genre.datasets.names import artist_keys
from music_genre.datasets.splits import SPLITS, SplitParams, SplitResult, assign_splits

# The same examples in every run.
few = settings(max_examples=40, deadline=None, derandomize=True)
PARAMS = SplitParams(method="artist", validation_fraction=0.15, test_fraction=0.2)
GENRES = ("Folk", "Pop", "Rock")
NAMES = ("The Ones", "THE ONES ", "Two", "two", "Three", "Four", "Various Artists", "", None)
Track = tuple[str, str | None, str]  # genre, credit, recording

credits = st.one_of(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(NAMES[:6]), st.sampled_from(NAMES[:6])).map(" feat. ".join),
    st.integers(5, 40).map(lambda number: f"Artist {number}"),
)
tracks = st.tuples(st.sampled_from(GENRES), credits, st.integers(0, 60).map(str))
collections = st.dictionaries(st.integers(1, 200), tracks, min_size=1, max_size=40)
# Tracks by id; None removes one, and a new value renames, relabels or credits it anew.
changes = st.dictionaries(st.integers(1, 200), st.one_of(st.none(), tracks), max_size=25)


def split(collection: dict[int, Track], former: dict[int, str] | None = None) -> SplitResult:
    table = pd.DataFrame(
        [(track_id, *track) for track_id, track in collection.items()],
        columns=["track_id", "genre", "artist_id", "audio_sha256"],
    ).astype({"genre": "string", "artist_id": "string", "audio_sha256": "string"})
    return assign_splits(table.assign(split=pd.array([None] * len(table), "string")), PARAMS, 7, former)


def split_of(result: SplitResult) -> dict[int, str]:
    return dict(zip(result.splits["track_id"].tolist(), result.splits["split"].tolist(), strict=True))


def assert_nobody_is_in_two_splits(collection: dict[int, Track], splits: dict[int, str]) -> None:
    where: dict[str, set[str]] = {}
    for track_id, name in splits.items():
        _, credit, recording = collection[track_id]
        for key in (*artist_keys(credit), f"recording {recording}"):
            where.setdefault(key, set()).add(name)
    assert {key for key, names in where.items() if len(names) > 1} == set()


@few
@given(collections)
def test_every_track_has_a_split_and_no_artist_two(collection: dict[int, Track]) -> None:
    result = split(collection)
    assert split_of(result).keys() == collection.keys()
    assert set(split_of(result).values()) <= set(SPLITS)
    assert_nobody_is_in_two_splits(collection, split_of(result))


@settings(few, max_examples=20)
@given(collections, st.lists(changes, min_size=1, max_size=4))
def test_tracks_stay_in_their_split_through_a_history(
    collection: dict[int, Track], history: list[dict[int, Track | None]]
) -> None:
    ledger: dict[int, str] = {}
    for change in [{}, *history]:
        collection = {i: track for i, track in (collection | change).items() if track is not None}
        if not collection:
            return
        result = split(collection, ledger)
        splits = split_of(result)
        assert_nobody_is_in_two_splits(collection, splits)
        assert {i: (ledger[i], splits[i]) for i in ledger.keys() & splits.keys() if ledger[i] != splits[i]} == {}
        assert splits.keys() | set(result.left_out["track_id"]) == collection.keys()
        assert result.left_out["reason"].str.startswith("its artists are in ").all()
        again = split(collection, ledger | result.dealt)
        assert split_of(again) == splits
        ledger |= result.dealt


@few
@given(collections, st.randoms(use_true_random=False))
def test_order_of_tracks_does_not_matter(collection: dict[int, Track], random: object) -> None:
    shuffled = list(collection.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split_of(split(dict(shuffled))) == split_of(split(collection))


group_counts = st.dictionaries(st.sampled_from(GENRES[:2]), st.integers(1, 9), min_size=1, max_size=2)


@few
@given(st.lists(group_counts, min_size=3, max_size=6), st.integers(0, 5))
def test_shares_are_within_one_group_of_the_best_possible(counts: list[dict[str, int]], seed: int) -> None:
    groups = [Group(str(number), count, number) for number, count in enumerate(counts)]
    totals = {genre: sum(group.counts.get(genre, 0) for group in groups) for genre in GENRES}
    fractions = PARAMS.fractions

    def largest_error(chosen: dict[str, str]) -> float:
        found = {(genre, name): 0 for genre in GENRES for name in SPLITS}
        for group in groups:
            for genre, count in group.counts.items():
                found[genre, chosen[group.name]] += count
        return max(abs(count - fractions[name] * totals[genre]) for (genre, name), count in found.items())

    dealt = largest_error(deal_groups(groups, {}, totals, fractions, seed))
    every = (dict(zip((g.name for g in groups), names, strict=True)) for names in product(SPLITS, repeat=len(groups)))
    best = min(map(largest_error, every))
    assert dealt <= best + max(max(group.counts.values()) for group in groups)
