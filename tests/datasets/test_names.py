"""Names of artists and genres as people write them."""

from __future__ import annotations

import pandas as pd
import pytest

from music_genre.datasets.names import artist_keys, artist_of_folders, unify_genres


@pytest.mark.parametrize(
    "credit",
    ["The Ones", "THE ONES", " the  ones ", "The Ones ", "\uff34he Ones", "Various; The Ones", "The Ones (feat. VA)"],
)
def test_artist_has_one_key_however_the_name_is_written(credit: str) -> None:
    assert artist_keys(credit) == ("the ones",)


@pytest.mark.parametrize(
    "credit",
    [
        "The Ones feat. Two",
        "The Ones Feat Two",
        "The Ones (ft. Two)",
        "The Ones [featuring Two]",
        "The Ones; Two",
        "Two;The Ones",
        "Two / The Ones",
        "The Ones vs. Two",
        "The Ones\0Two",
    ],
)
def test_several_artists_of_a_track_have_a_key_each(credit: str) -> None:
    assert artist_keys(credit) == ("the ones", "two")


@pytest.mark.parametrize(
    "credit", ["AC/DC", "Earth, Wind & Fire", "Simon & Garfunkel", "Daft Punk", "Lofty", "Feathers"]
)
def test_signs_and_letters_within_a_name_do_not_divide_it(credit: str) -> None:
    assert artist_keys(credit) == (credit.casefold(),)


@pytest.mark.parametrize(
    "credit", [None, "", "  ", "Various Artists", "VARIOUS", "V.A.", "va", "A Label Compilation", "<unknown>", "; ;"]
)
def test_compilations_and_empty_names_are_no_artist(credit: str | None) -> None:
    assert artist_keys(credit) == ()


def test_composed_and_decomposed_names_are_one_artist() -> None:
    assert artist_keys("Bj\u00f6rk") == artist_keys("Bjo\u0308rk")


@pytest.mark.parametrize(
    ("parts", "artist"),
    [
        (("The Ones", "First Album", "song.mp3"), "The Ones"),
        (("The Ones", "song.mp3"), "The Ones"),
        (("song.mp3",), None),
        (("CD 1", "song.mp3"), None),
        (("disc2", "song.mp3"), None),
    ],
)
def test_folder_below_the_genre_is_the_artist(parts: tuple[str, ...], artist: str | None) -> None:
    assert artist_of_folders(parts) == artist


def test_genres_that_differ_in_form_only_are_one_with_a_note() -> None:
    written = ["Rock", "rock ", "Rock", "ROCK", "Chanson fran\u00e7aise", "Chanson franc\u0327aise", "Pop"]
    genres, notes = unify_genres(pd.Series(written, dtype="string"))
    assert genres.tolist() == ["Rock"] * 4 + ["Chanson fran\u00e7aise"] * 2 + ["Pop"]
    assert len(notes) == 2
    assert notes[1] == "'ROCK', 'Rock', 'rock ' are one genre: Rock"


@pytest.mark.parametrize("name", ["None", "NA", "nan", "1", "1.0", "true", "R&B", "null"])
def test_genre_names_are_text(name: str) -> None:
    genres, notes = unify_genres(pd.Series([name, None, name], dtype="string"))
    assert genres.isna().tolist() == [False, True, False]
    assert genres.dropna().tolist() == [name, name]
    assert notes == []


def test_tracks_without_any_genre_stay_without() -> None:
    genres, notes = unify_genres(pd.Series([None, None], dtype="string"))
    assert genres.isna().all()
    assert notes == []
