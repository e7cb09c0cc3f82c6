"""Data sets are found by their name, and describe all that stages ask of them."""

from __future__ import annotations

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
