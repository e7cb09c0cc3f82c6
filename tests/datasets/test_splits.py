"""Splitting tracks into training, validation and test."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from music_genre.datasets.splits import (
    SPLITS,
    SplitMethod,
    SplitParams,
    assign_splits,
    official_tracks,
    split_table,
)
from music_genre.errors import MusicGenreError

GENRES = [f"Genre {letter}" for letter in "ABCDEFGH"]


def collection(tracks: int = 40, artists: int = 10, genres: int = 8) -> pd.DataFrame:
    """A collection without a split: so many tracks and artists a genre."""
    rows = [
        {"genre": genre, "artist_id": f"{genre} {number % artists}", "split": None}
        for genre in GENRES[:genres]
        for number in range(tracks)
    ]
    table = pd.DataFrame(rows).astype("string")
    table["track_id"] = np.arange(1, len(table) + 1) * 3
    table["audio_sha256"] = [f"{number:064x}" for number in range(len(table))]
    return table


def params(validation: float = 0.1, test: float = 0.1, method: SplitMethod = "official") -> SplitParams:
    return SplitParams(method=method, validation_fraction=validation, test_fraction=test)


def split(
    tracks: pd.DataFrame, validation: float = 0.1, test: float = 0.1, seed: int = 7, method: SplitMethod = "official"
) -> pd.DataFrame:
    """Every track's split; none is left out."""
    result = assign_splits(tracks, params(validation, test, method), seed)
    assert result.left_out.empty
    return result.splits


def notes(tracks: pd.DataFrame, method: SplitMethod = "artist") -> list[list[object]]:
    return assign_splits(tracks, params(method=method), 7).notes.to_numpy().tolist()


def fraction_of(splits: pd.DataFrame, name: str) -> float:
    return float((splits["split"] == name).mean())


def groups_in_two_splits(splits: pd.DataFrame, group: pd.Series) -> int:
    return int((splits.groupby(group.to_numpy())["split"].nunique() > 1).sum())


def test_official_split_is_kept() -> None:
    tracks = collection(6, 1, 2)
    tracks["split"] = np.resize(["test", "training", "validation", "training"], len(tracks))
    shuffled = tracks.sample(frac=1, random_state=1)
    splits = split(shuffled)
    assert splits.columns.tolist() == ["track_id", "genre", "artist_id", "split"]
    assert splits["track_id"].tolist() == tracks["track_id"].tolist()
    assert splits["split"].tolist() == tracks["split"].tolist()
    assert splits["genre"].tolist() == tracks["genre"].tolist()


def test_official_split_of_unknown_name_is_refused() -> None:
    tracks = collection(6, 6, 2).assign(split="training")
    tracks.loc[3, "split"] = "holdout"
    with pytest.raises(MusicGenreError, match=r"holdout.*training, validation, test"):
        split(tracks)


@pytest.mark.parametrize("seed", range(6))
def test_no_artist_is_in_two_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracks = collection()
    # Artists of all sizes, some of them in several genres.
    tracks["artist_id"] = [f"artist {number}" for number in rng.zipf(1.3, len(tracks)) % 90]
    splits = split(tracks, seed=seed)
    assert groups_in_two_splits(splits, tracks["artist_id"]) == 0
    assert set(splits["split"]) == set(SPLITS)


@pytest.mark.parametrize("seed", range(6))
def test_copies_of_a_file_are_in_one_split(seed: int) -> None:
    tracks = collection(artists=40)
    tracks.loc[tracks.index[::4], "audio_sha256"] = tracks.loc[tracks.index[1::4], "audio_sha256"].to_numpy()
    splits = split(tracks, seed=seed)
    assert groups_in_two_splits(splits, tracks["audio_sha256"]) == 0


@pytest.mark.parametrize("seed", range(10))
def test_links_by_artist_and_by_file_are_transitive(seed: int) -> None:
    tracks = collection(artists=40)
    first, second, third, fourth = 0, 10, 20, 30
    tracks.loc[second, "artist_id"] = tracks.loc[first, "artist_id"]
    tracks.loc[third, "audio_sha256"] = tracks.loc[second, "audio_sha256"]
    tracks.loc[fourth, "artist_id"] = tracks.loc[third, "artist_id"]
    splits = split(tracks, 0.2, 0.2, seed)
    assert splits.loc[[first, second, third, fourth], "split"].nunique() == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("artists", [10, 13, 40])
def test_every_split_has_every_genre(seed: int, artists: int) -> None:
    splits = split(collection(40, artists), seed=seed)
    assert set(zip(splits["genre"], splits["split"], strict=True)) == {(g, s) for g in GENRES for s in SPLITS}


@pytest.mark.parametrize("artists", [3, 5, 7])
def test_three_artists_a_genre_are_enough_for_every_split(artists: int) -> None:
    splits = split(collection(40, artists))
    assert set(zip(splits["genre"], splits["split"], strict=True)) == {(g, s) for g in GENRES for s in SPLITS}


@pytest.mark.parametrize(
    ("validation", "test"), [(0.1, 0.1), (0.2, 0.2), (0.1, 0.2), (0.15, 0.25), (0.3, 0.3), (0.4, 0.4), (0.5, 0.3)]
)
def test_split_sizes_are_near_the_fractions(validation: float, test: float) -> None:
    splits = split(collection(artists=20), validation, test, seed=7)
    assert fraction_of(splits, "validation") == pytest.approx(validation, abs=0.06)
    assert fraction_of(splits, "test") == pytest.approx(test, abs=0.06)
    assert fraction_of(splits, "training") == pytest.approx(1 - validation - test, abs=0.1)


@pytest.mark.parametrize(("tracks", "fraction"), [(3, 0.1), (5, 0.1), (9, 0.1), (40, 0.01)])
def test_small_collection_has_every_genre_in_every_split(tracks: int, fraction: float) -> None:
    splits = split(collection(tracks, tracks, 3), fraction, fraction)
    assert set(zip(splits["genre"], splits["split"], strict=True)) == {(g, s) for g in GENRES[:3] for s in SPLITS}


def test_split_depends_on_the_seed_alone() -> None:
    first, again, other = (split(collection(), seed=seed)["split"].tolist() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_tracks_without_artist_are_not_grouped() -> None:
    tracks = collection().assign(artist_id=pd.array([None] * 320, dtype="string"))
    tracks["audio_sha256"] = pd.array([None] * 320, dtype="string")
    splits = split(tracks)
    assert fraction_of(splits, "test") == pytest.approx(0.1, abs=0.02)
    assert fraction_of(splits, "validation") == pytest.approx(0.1, abs=0.02)
    assert splits["artist_id"].isna().all()


def test_partial_split_is_not_official() -> None:
    tracks = collection()
    tracks.loc[:300, "split"] = "training"
    splits = split(tracks)
    assert fraction_of(splits, "training") == pytest.approx(0.8, abs=0.01)
    assert groups_in_two_splits(splits, tracks["artist_id"]) == 0


def test_genre_of_too_few_artists_lacks_a_split_and_is_noted() -> None:
    tracks = collection()
    tracks.loc[tracks["genre"] == "Genre C", "artist_id"] = ["one"] * 25 + ["two"] * 15
    splits = split(tracks)
    assert set(splits.loc[splits["genre"] == "Genre C", "split"]) == {"training", "validation"}
    assert [row for row in notes(tracks) if row[0] == "Genre C"] == [
        ["Genre C", "training", 32.0, 25, "one alone has 25"],
        ["Genre C", "validation", 4.0, 15, "two alone has 15"],
        ["Genre C", "test", 4.0, 0, "no test clip; the genre has 2 artists"],
    ]


def test_single_artist_of_all_genres_is_trained_on_and_noted() -> None:
    tracks = collection(genres=2).assign(artist_id="the one")
    assert set(split(tracks, method="artist")["split"]) == {"training"}
    assert [row[:4] for row in notes(tracks)] == [
        [genre, name, wanted, found]
        for genre in GENRES[:2]
        for name, wanted, found in (("training", 32.0, 40), ("validation", 4.0, 0), ("test", 4.0, 0))
    ]


def test_few_validation_clips_are_noted_also_of_an_official_split() -> None:
    tracks = collection(12, 12, 2)
    tracks["split"] = ["validation"] * 4 + ["test"] * 4 + ["training"] * 4 + ["validation"] * 5 + ["test"] * 7
    assert notes(tracks, "official") == [
        ["Genre A", "validation", None, 4, "below 5 clips figures mean little"],
        ["Genre B", "training", None, 0, "no training clip; the genre has 12 artists"],
    ]


@pytest.mark.parametrize("seed", range(6))
def test_random_split_ignores_artists(seed: int) -> None:
    tracks = collection()
    splits = split(tracks, seed=seed, method="random")
    # Of 80 artists with four tracks each, assigned one by one, over half are in two splits.
    assert groups_in_two_splits(splits, tracks["artist_id"]) > 20
    assert fraction_of(splits, "validation") == pytest.approx(0.1, abs=0.02)
    assert fraction_of(splits, "test") == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_random_split_keeps_copies_of_a_file_together(seed: int) -> None:
    tracks = collection()
    tracks.loc[tracks.index[::4], "audio_sha256"] = tracks.loc[tracks.index[1::4], "audio_sha256"].to_numpy()
    splits = split(tracks, seed=seed, method="random")
    assert groups_in_two_splits(splits, tracks["audio_sha256"]) == 0


def test_random_split_of_a_single_artist_has_every_genre_in_every_split() -> None:
    splits = split(collection().assign(artist_id="the one"), method="random")
    assert set(zip(splits["genre"], splits["split"], strict=True)) == {(g, s) for g in GENRES for s in SPLITS}


@pytest.mark.parametrize("method", ["artist", "random"])
def test_other_methods_ignore_an_official_split(method: SplitMethod) -> None:
    tracks = collection().assign(split="training")
    tracks.loc[tracks.index[::3], "split"] = "test"
    splits = split(tracks, method=method)
    assert set(splits["split"]) == set(SPLITS)
    assert fraction_of(splits, "test") == pytest.approx(0.1, abs=0.03)
    assert splits.equals(split(tracks.assign(split=None), method=method))


def test_artist_split_groups_artists_of_an_official_split() -> None:
    tracks = collection()
    tracks["split"] = np.resize(SPLITS, len(tracks))
    assert groups_in_two_splits(split(tracks), tracks["artist_id"]) > 0
    assert groups_in_two_splits(split(tracks, method="artist"), tracks["artist_id"]) == 0


def test_official_method_without_official_split_is_by_artist() -> None:
    tracks = collection()
    official, artist, random = (split(tracks, method=method) for method in get_args(SplitMethod))
    assert official.equals(artist)
    assert not official.equals(random)


def test_split_is_official_if_every_track_of_its_source_has_one() -> None:
    tracks = collection().assign(split="training", source="fma")
    assert official_tracks(tracks, "official").all()
    assert not official_tracks(tracks, "artist").any()
    assert not official_tracks(tracks, "random").any()
    tracks.loc[tracks.index[300:], "source"] = "folder"
    tracks.loc[tracks.index[-1], "split"] = None
    assert official_tracks(tracks, "official").tolist() == [True] * 300 + [False] * 20


def test_tracks_without_a_source_are_of_one() -> None:
    tracks = collection().assign(split="training")
    assert official_tracks(tracks, "official").all()
    tracks.loc[tracks.index[-1], "split"] = None
    assert not official_tracks(tracks, "official").any()


def test_source_without_a_split_is_dealt_beside_one_that_keeps_its_own() -> None:
    tracks = collection(40, 40, 2)
    tracks["source"] = np.resize(["fma", "folder"], len(tracks))
    is_fma = (tracks["source"] == "fma").to_numpy()
    tracks.loc[is_fma, "split"] = np.resize(SPLITS, is_fma.sum())
    splits = split(tracks)
    assert splits.loc[is_fma, "split"].tolist() == tracks.loc[is_fma, "split"].tolist()
    assert fraction_of(splits[~is_fma], "training") == pytest.approx(0.8, abs=0.05)


def test_split_table_counts_tracks_and_artists() -> None:
    splits = pd.DataFrame(
        {
            "track_id": [1, 2, 3, 4, 5],
            "genre": ["Rock", "Rock", "Rock", "Pop", "Pop"],
            "artist_id": ["a", "a", "b", "c", None],
            "split": ["training", "training", "test", "validation", "validation"],
        }
    )
    table = split_table(splits)
    assert table.columns.tolist() == ["genre", *(f"{split}_{of}" for split in SPLITS for of in ("tracks", "artists"))]
    assert table.to_numpy().tolist() == [["Pop", 0, 0, 2, 1, 0, 0], ["Rock", 2, 1, 0, 0, 1, 1]]


def test_split_table_has_columns_for_empty_splits() -> None:
    tracks = collection(3, 3, 2).assign(split="training")
    table = split_table(tracks)
    assert table["training_tracks"].tolist() == [3, 3]
    assert table[["validation_tracks", "test_artists"]].eq(0).all(axis=None)
