"""Ready spectrograms, as this project's format has them and as ``numpy.savez`` names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from music_genre.datasets.arrays import ArraysParams, fetch, read_arrays, spread, to_db, tracks
from music_genre.errors import MusicGenreError
from music_genre.pipeline.spectrograms import from_arrays

SPLITS = ("training", "validation", "test")
GENRES = ["Rock", "Blues", "Jazz"]
MEL = np.random.default_rng(1).uniform(-80, 0, (3, 8, 4)).astype(np.float32)


def write(folder: Path, genres: object = GENRES, **named: npt.ArrayLike) -> Path:
    """The same three clips in each split, under the names given; ids go on from split to split."""
    for number, split in enumerate(SPLITS):
        own = {"track_id": np.asarray(named["track_id"]) + 10 * number} if "track_id" in named else {}
        np.savez(folder / f"{split}.npz", **{name: np.asarray(array) for name, array in (named | own).items()})
    (folder / "genres.json").write_text(json.dumps(genres), encoding="utf-8")
    return folder


def write_unnamed(folder: Path, mel: np.ndarray, labels: npt.ArrayLike) -> Path:
    """What the study's code saves."""
    for split in SPLITS:
        np.savez(folder / f"{split}.npz", mel, np.asarray(labels))
    (folder / "genres.json").write_text(json.dumps(GENRES), encoding="utf-8")
    return folder


def genres_of(folder: Path, split: str = "training") -> list[str]:
    table = tracks(folder)
    return table.loc[table["split"] == split, "genre"].tolist()


def params(path: Path | None) -> ArraysParams:
    return ArraysParams(path=path, scale="db")


def test_tracks_come_in_the_archives_order_with_their_genres(tmp_path: Path) -> None:
    table = tracks(write(tmp_path, mel=MEL, label=[2, 0, 1], track_id=[7, 5, 6]))
    assert set(table.columns) == {"track_id", "path", "genre", "artist_id", "title", "license", "split"}
    assert table["track_id"].tolist() == [7, 5, 6, 17, 15, 16, 27, 25, 26]
    assert table["split"].tolist() == [split for split in SPLITS for _ in range(3)]
    assert table["path"].tolist() == [f"{split}.npz" for split in SPLITS for _ in range(3)]
    assert table["genre"].tolist() == ["Jazz", "Rock", "Blues"] * 3
    assert table[["artist_id", "title", "license"]].isna().all(axis=None)


def test_clips_that_no_one_numbered_are_numbered_from_1(tmp_path: Path) -> None:
    assert tracks(write(tmp_path, mel=MEL, label=[0, 1, 2]))["track_id"].tolist() == list(range(1, 10))


@pytest.mark.parametrize(
    "labels",
    [
        [2, 0, 1],
        [3, 1, 2],
        [2.0, 0.0, 1.0],
        np.eye(3)[[2, 0, 1]],
        np.eye(3, dtype=np.uint8)[[2, 0, 1]],
        [[2], [0], [1]],
        [[3], [1], [2]],
    ],
    ids=["from 0", "from 1", "floats", "one-hot", "one-hot bytes", "a column", "a column from 1"],
)
def test_unnamed_arrays_hold_labels_of_every_kind(tmp_path: Path, labels: npt.ArrayLike) -> None:
    write_unnamed(tmp_path, MEL, labels)
    assert genres_of(tmp_path) == ["Jazz", "Rock", "Blues"]
    np.testing.assert_array_equal(read_arrays(tmp_path / "test.npz").mel, MEL)


def test_where_labels_start_shows_over_all_splits(tmp_path: Path) -> None:
    for split, labels in {"training": [1, 2, 3], "validation": [1, 1, 2], "test": [2, 2, 2]}.items():
        np.savez(tmp_path / f"{split}.npz", MEL, np.array(labels))
    (tmp_path / "genres.json").write_text(json.dumps(GENRES), encoding="utf-8")
    assert genres_of(tmp_path, "validation") == ["Rock", "Rock", "Blues"]
    assert genres_of(tmp_path, "test") == ["Blues"] * 3


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1], [1, 2, 4], [0, 2, 3]])
def test_a_label_that_no_genre_has_is_refused(tmp_path: Path, labels: list[int]) -> None:
    with pytest.raises(MusicGenreError, match=rf"from {min(labels)} to {max(labels)}.*3 genres"):
        tracks(write(tmp_path, mel=MEL, label=labels))


def test_archives_without_labels_are_named(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    np.savez(tmp_path / "test.npz", mel=MEL)
    with pytest.raises(MusicGenreError, match=r"no labels in test"):
        tracks(tmp_path)
    assert read_arrays(tmp_path / "test.npz").label is None


def test_a_track_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2], track_id=[1, 2, 3])
    np.savez(tmp_path / "test.npz", mel=MEL, label=[0, 1, 2], track_id=[50, 12, 51])
    with pytest.raises(MusicGenreError, match="12"):
        tracks(tmp_path)


def test_a_pickled_array_is_refused_and_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    write(tmp_path, mel=MEL, label=[0, 1, 2])
    np.savez(tmp_path / "training.npz", mel=MEL, label=np.array([Trap(), 1, 2], dtype=object))
    with pytest.raises(MusicGenreError, match=r"training\.npz"):
        tracks(tmp_path)
    assert not (tmp_path / "sprung").exists()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:150])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[250] ^= 0xFF
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not an archive", encoding="utf-8")


def a_bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, MEL)


@pytest.mark.parametrize("harm", [cut_short, flipped, emptied, text, a_bare_array])
def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    harm(tmp_path / "validation.npz")
    with pytest.raises(MusicGenreError) as caught:
        tracks(tmp_path)
    assert str(tmp_path / "validation.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({"mel": MEL[..., np.newaxis], "label": [0, 1, 2]}, "(3, 8, 4, 1)"),
        ({"mel": MEL[:0], "label": []}, "(0, 8, 4)"),
        ({"mels": MEL, "label": [0, 1, 2]}, "None"),
        ({"mel": MEL, "label": [0, 1]}, "(2,)"),
        ({"mel": MEL, "label": [0, 1, 2], "track_id": [1, 2, 3, 4]}, "(4,)"),
    ],
    ids=["four axes", "no clips", "no mel", "a label short", "an id too many"],
)
def test_arrays_that_do_not_fit_together_are_told_with_their_shape(
    tmp_path: Path, named: dict[str, npt.ArrayLike], found: str
) -> None:
    np.savez(tmp_path / "test.npz", **{name: np.asarray(array) for name, array in named.items()})
    with pytest.raises(MusicGenreError) as caught:
        read_arrays(tmp_path / "test.npz")
    assert "test.npz" in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("content", ["[not json", '{"Rock": 0}', "3", '["Rock", "Rock", "Jazz"]'])
def test_genres_that_are_no_list_of_names_are_told_by_their_file(tmp_path: Path, content: str) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    (tmp_path / "genres.json").write_text(content, encoding="utf-8")
    with pytest.raises(MusicGenreError, match=r"genres\.json"):
        tracks(tmp_path)


def test_bytes_span_the_80_decibels() -> None:
    mel = to_db(np.array([0, 51, 204, 255], np.uint8), "db")
    np.testing.assert_allclose(mel, [-80, -64, -16, 0], atol=1e-5)
    assert mel.dtype == np.float32
    assert mel.max() <= 0


def test_bytes_are_decibels_whatever_the_scale_of_floats() -> None:
    mel = np.array([0, 100, 255], np.uint8)
    np.testing.assert_array_equal(to_db(mel, "ln_power"), to_db(mel, "db"))


def test_the_natural_logarithm_of_power_becomes_decibels() -> None:
    power = np.array([1.0, 0.5, 0.1, 1e-8])
    stored = to_db(np.log(power).astype(np.float32), "ln_power")
    np.testing.assert_allclose(stored, 10 * np.log10(power), atol=1e-4)
    assert stored.dtype == np.float32
    assert stored.astype(np.float16).min() == -80


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_decibels_stay_what_they_are(kind: type) -> None:
    mel = MEL.astype(kind)
    np.testing.assert_array_equal(to_db(mel, "db"), mel.astype(np.float32))


def test_the_spread_finds_constant_and_broken_spectrograms(tmp_path: Path) -> None:
    mel = MEL.copy()
    mel[1], mel[2, 3, 3] = -80, np.nan
    found = spread(write(tmp_path, mel=mel, label=[0, 1, 2]))
    assert found.shape == (9,)
    assert found[0] == pytest.approx(MEL[0].max() - MEL[0].min())
    assert found[1] == 0
    assert np.isnan(found[2])


def test_spectrograms_are_found_again_where_faulty_ones_were_dropped(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2], track_id=[7, 5, 6])
    kept = tracks(tmp_path).set_index("track_id").loc[[5, 6, 17, 26, 25]]
    clips = list(from_arrays(tmp_path, kept, "db"))
    np.testing.assert_array_equal(clips, MEL[[1, 2, 0, 2, 1]])


def test_fetching_copies_the_three_archives_and_the_genres(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    write(there, mel=MEL, label=[0, 1, 2])
    (there / "other.npz").write_bytes(b"")
    fetch(tmp_path / "raw", params(there))
    names = {path.name for path in (tmp_path / "raw").iterdir()}
    assert names == {"training.npz", "validation.npz", "test.npz", "genres.json"}
    assert (tmp_path / "raw/test.npz").read_bytes() == (there / "test.npz").read_bytes()


@pytest.mark.parametrize("lacking", ["training.npz", "validation.npz", "test.npz", "genres.json"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, lacking: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    write(there, mel=MEL, label=[0, 1, 2])
    (there / lacking).unlink()
    with pytest.raises(MusicGenreError) as caught:
        fetch(tmp_path / "raw", params(there))
    assert "data.arrays.path" in str(caught.value)
    assert str(there / lacking) in str(caught.value)


def test_no_folder_is_told_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match=r"data\.arrays\.path"):
        fetch(tmp_path / "raw", params(None))
