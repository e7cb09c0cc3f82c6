"""Ready spectrograms, as this project's format has them and as ``numpy.savez`` names them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from music_genre.datasets.arrays import ArraysParams, clips, list_files, load_tracks, read_arrays, value_range
from music_genre.errors import MusicGenreError

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


def params(path: Path | None = None) -> ArraysParams:
    return ArraysParams(path=path, scale="db")


def tracks(folder: Path) -> pd.DataFrame:
    return load_tracks(folder, params())


def test_tracks_are_in_the_order_of_the_archives_with_their_genres(tmp_path: Path) -> None:
    table = tracks(write(tmp_path, mel=MEL, label=[2, 0, 1], track_id=[7, 5, 6]))
    assert set(table.columns) == {"track_id", "path", "genre", "artist_id", "title", "license", "split"}
    assert table["track_id"].tolist() == [7, 5, 6, 17, 15, 16, 27, 25, 26]
    assert table["split"].tolist() == [split for split in SPLITS for _ in range(3)]
    assert table["path"].tolist() == [f"{split}.npz" for split in SPLITS for _ in range(3)]
    assert table["genre"].tolist() == ["Jazz", "Rock", "Blues"] * 3
    assert table[["artist_id", "title", "license"]].isna().all(axis=None)


def test_clips_without_ids_are_numbered_from_1(tmp_path: Path) -> None:
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
def test_labels_of_every_form_are_read(tmp_path: Path, labels: npt.ArrayLike) -> None:
    write_unnamed(tmp_path, MEL, labels)
    assert genres_of(tmp_path) == ["Jazz", "Rock", "Blues"]
    np.testing.assert_array_equal(read_arrays(tmp_path / "test.npz").mel, MEL)


def test_first_label_is_found_over_all_splits(tmp_path: Path) -> None:
    for split, labels in {"training": [1, 2, 3], "validation": [1, 1, 2], "test": [2, 2, 2]}.items():
        np.savez(tmp_path / f"{split}.npz", MEL, np.array(labels))
    (tmp_path / "genres.json").write_text(json.dumps(GENRES), encoding="utf-8")
    assert genres_of(tmp_path, "validation") == ["Rock", "Rock", "Blues"]
    assert genres_of(tmp_path, "test") == ["Blues"] * 3


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1], [1, 2, 4], [0, 2, 3]])
def test_label_without_a_genre_is_refused(tmp_path: Path, labels: list[int]) -> None:
    with pytest.raises(MusicGenreError, match=rf"from {min(labels)} to {max(labels)}.*3 genres"):
        tracks(write(tmp_path, mel=MEL, label=labels))


def test_archive_without_labels_is_named(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    np.savez(tmp_path / "test.npz", mel=MEL)
    with pytest.raises(MusicGenreError, match=r"no labels in test"):
        tracks(tmp_path)
    assert read_arrays(tmp_path / "test.npz").label is None


def test_duplicate_track_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2], track_id=[1, 2, 3])
    np.savez(tmp_path / "test.npz", mel=MEL, label=[0, 1, 2], track_id=[50, 12, 51])
    with pytest.raises(MusicGenreError, match="1 duplicate track ids, 12 first"):
        tracks(tmp_path)


def test_pickled_array_is_refused_and_not_executed(tmp_path: Path) -> None:
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
def test_unreadable_archive_is_named(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    harm(tmp_path / "validation.npz")
    with pytest.raises(MusicGenreError) as caught:
        tracks(tmp_path)
    assert str(tmp_path / "validation.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("named", "shape"),
    [
        ({"mel": MEL[..., np.newaxis], "label": [0, 1, 2]}, "(3, 8, 4, 1)"),
        ({"mel": MEL[:0], "label": []}, "(0, 8, 4)"),
        ({"mel": MEL[:, :0], "label": [0, 1, 2]}, "(3, 0, 4)"),
        ({"mel": MEL, "label": [0, 1]}, "(2,)"),
        ({"mel": MEL, "label": [0, 1, 2], "track_id": [1, 2, 3, 4]}, "(4,)"),
    ],
    ids=["four axes", "no clips", "no frames", "a label short", "an id too many"],
)
def test_arrays_of_wrong_shape_are_reported_with_their_shape(
    tmp_path: Path, named: dict[str, npt.ArrayLike], shape: str
) -> None:
    np.savez(tmp_path / "test.npz", **{name: np.asarray(array) for name, array in named.items()})
    with pytest.raises(MusicGenreError) as caught:
        read_arrays(tmp_path / "test.npz")
    assert "test.npz" in str(caught.value)
    assert shape in str(caught.value)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"mels": MEL}, "no array mel or arr_0; found mels"),
        ({}, "no array mel or arr_0; found none"),
        ({"mel": np.full(MEL.shape, "loud")}, "mel has dtype <U4; expected numbers"),
        ({"mel": MEL, "track_id": ["a", "b", "c"]}, "track_id has dtype <U1; expected numbers"),
        ({"mel": MEL, "label": ["Rock", "Jazz", "Rock"]}, "label has dtype <U4; expected numbers"),
    ],
    ids=["another name", "empty", "text as mel", "text as ids", "text as labels"],
)
def test_arrays_that_are_missing_or_no_numbers_are_named(
    tmp_path: Path, named: dict[str, npt.ArrayLike], reason: str
) -> None:
    np.savez(tmp_path / "test.npz", **{name: np.asarray(array) for name, array in named.items()})
    with pytest.raises(MusicGenreError, match=re.escape(f"test.npz: {reason}")):
        read_arrays(tmp_path / "test.npz")


def test_file_that_is_no_archive_is_not_said_to_be_a_pickle(tmp_path: Path) -> None:
    text(tmp_path / "test.npz")
    with pytest.raises(MusicGenreError, match="not a readable npz archive") as caught:
        read_arrays(tmp_path / "test.npz")
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize("content", ["[not json", '{"Rock": 0}', "3", '["Rock", "Rock", "Jazz"]'])
def test_malformed_genres_are_reported_by_their_file(tmp_path: Path, content: str) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    (tmp_path / "genres.json").write_text(content, encoding="utf-8")
    with pytest.raises(MusicGenreError, match=r"genres\.json"):
        tracks(tmp_path)


def test_value_range_is_zero_or_nan_for_unusable_spectrograms(tmp_path: Path) -> None:
    mel = MEL.copy()
    mel[1], mel[2, 3, 3] = -80, np.nan
    ranges = value_range(write(tmp_path, mel=mel, label=[0, 1, 2]), params())
    assert ranges.shape == (9,)
    assert ranges[0] == pytest.approx(MEL[0].max() - MEL[0].min())
    assert ranges[1] == 0
    assert np.isnan(ranges[2])


def test_spectrograms_are_read_by_track_id(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2], track_id=[7, 5, 6])
    usable = tracks(tmp_path).set_index("track_id").loc[[5, 6, 17, 26, 25]].reset_index()
    source = clips(tmp_path, usable, params())
    np.testing.assert_array_equal(list(source.extract([5, 6, 17, 26, 25])), MEL[[1, 2, 0, 2, 1]])
    assert source.made_by is None


def test_cache_key_of_a_spectrogram_changes_with_its_archive_row_and_scale(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2], track_id=[7, 5, 6])
    listed = tracks(tmp_path)
    before = clips(tmp_path, listed, params()).cache_keys
    assert len(set(before.values())) == len(listed)
    ln_power = clips(tmp_path, listed, ArraysParams(path=None, scale="ln_power")).cache_keys
    assert set(before.values()) & set(ln_power.values()) == set()
    np.savez(tmp_path / "test.npz", mel=MEL + 1, label=[0, 1, 2], track_id=[27, 25, 26])
    after = clips(tmp_path, listed, params()).cache_keys
    assert {track_id for track_id in before if before[track_id] != after[track_id]} == {25, 26, 27}


FILES = ("training.npz", "validation.npz", "test.npz", "genres.json")


def test_only_the_three_archives_and_genres_are_listed(tmp_path: Path) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    (tmp_path / "other.npz").write_bytes(b"")
    listing = list_files(params(tmp_path))
    assert listing.files == {name: tmp_path / name for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, mel=MEL, label=[0, 1, 2])
    (tmp_path / name).unlink()
    with pytest.raises(MusicGenreError) as caught:
        list_files(params(tmp_path))
    assert "data.arrays.path" in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_path_is_reported_by_its_key() -> None:
    with pytest.raises(MusicGenreError, match=r"data\.arrays\.path"):
        list_files(params(None))
