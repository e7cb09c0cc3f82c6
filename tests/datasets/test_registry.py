"""Data sets are found by their name, and describe all that stages ask of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from music_genre.datasets.registry import get_dataset
from music_genre.params import load_params

ROOT = Path(__file__).parents[2]
DATA = load_params(ROOT / "params.yaml").data
NAMES = ("sample", "fma", "folder", "arrays")


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_has_its_section(name: str) -> None:
    assert isinstance(DATA[name], get_dataset(name).params)


@pytest.mark.parametrize("name", ["nowhere", "download", "splits", "../fma", "Fma", ""])
def test_name_without_a_data_set_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no data set"):
        get_dataset(name)


def test_only_arrays_have_no_audio() -> None:
    assert [name for name in NAMES if not get_dataset(name).has_audio] == ["arrays"]


@pytest.mark.parametrize(("name", "known"), [("sample", False), ("fma", True), ("folder", False), ("arrays", False)])
def test_split_sizes_are_those_of_the_selected_data_set(name: str, known: bool) -> None:
    data = DATA.model_copy(update={"source": name})
    assert (data.split_sizes is not None) == known


@pytest.mark.slow
def test_several_sources_are_one_collection(tmp_path: Path) -> None:
    section = DATA["folder"].model_copy(update={"path": (tmp_path / "music",)})
    sample = DATA["sample"].model_copy(update={"tracks_per_genre": 3, "duration_s": 0.1})
    data = DATA.model_copy(update={"source": ("sample", "folder"), "sample": sample, "folder": section})
    (tmp_path / "music/ROCK").mkdir(parents=True)
    (tmp_path / "music/ROCK/a.mp3").touch()
    listing = data.list_files()
    assert listing.files == {"folder/music/ROCK/a.mp3": tmp_path / "music/ROCK/a.mp3"}
    assert data.roots == (tmp_path / "music",)
    names = data.download(tmp_path / "audio", tmp_path / "cache", seed=7)
    assert all((tmp_path / "audio" / name).is_file() for name in names)
    shutil.copytree(tmp_path / "music", tmp_path / "audio/folder/music")
    tracks, notes = data.load_tracks(tmp_path / "audio")
    assert (data.source_name, list(data.source_sections())) == ("sample+folder", ["sample", "folder"])
    assert tracks["source"].value_counts().to_dict() == {"sample": 24, "folder": 1}
    assert {*tracks.loc[tracks["source"] == "sample", "path"], "sample/fma_metadata/tracks.csv"} == set(names)
    assert tracks.iloc[-1][["path", "genre"]].tolist() == ["folder/music/ROCK/a.mp3", "Rock"]
    assert notes == ["'ROCK', 'Rock' are one genre: Rock"]


def test_forgotten_tracks_are_neither_brought_nor_listed(tmp_path: Path) -> None:
    sample = DATA["sample"].model_copy(update={"tracks_per_genre": 3, "duration_s": 0.1})
    data = DATA.model_copy(update={"source": "sample", "sample": sample})
    names = data.download(tmp_path / "audio", tmp_path / "cache", seed=7)
    tracks, _ = data.load_tracks(tmp_path / "audio")
    track_id, path = tracks.loc[3, ["track_id", "path"]]
    assert {*data.download(tmp_path / "audio", tmp_path / "cache", 7, [track_id])} == {*names} - {path}
    assert not (tmp_path / "audio" / path).exists()
    listed, _ = data.load_tracks(tmp_path / "audio", [track_id])
    assert listed["track_id"].tolist() == tracks["track_id"].drop(3).tolist()


def test_split_sizes_of_several_sources_are_unknown() -> None:
    assert DATA.model_copy(update={"source": ("fma", "sample")}).split_sizes is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (["fma", "fma"], "each once"),
        ([], "name one source"),
        (["fma", "nowhere"], "found 'nowhere'"),
        (["arrays", "fma"], r"arrays\+fma: ready spectrograms cannot be combined"),
    ],
)
def test_sources_that_cannot_be_combined_are_refused(source: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        type(DATA).model_validate(DATA.model_dump(mode="json") | {"source": source})
