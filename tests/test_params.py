"""``params.yaml``: read whole or refused in one line that says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from music_genre.errors import MusicGenreError
from music_genre.params import load_params

COMMITTED = Path(__file__).parents[1] / "params.yaml"


def written(folder: Path, values: object) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def changed(key: str, value: object) -> dict[str, Any]:
    """The committed values with one of them set; ``key`` is dotted."""
    values: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    section[name] = value
    return values


def without(key: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    del section[name]
    return values


def refusal(path: Path) -> str:
    with pytest.raises(MusicGenreError) as caught:
        load_params(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_the_committed_file_loads_with_its_values_in_place() -> None:
    params = load_params(COMMITTED)
    assert params.data.source == "sample"
    assert (params.spectrogram.sample_rate_hz, params.spectrogram.hop_length, params.spectrogram.n_frames) == (
        22_050,
        1024,
        640,
    )
    assert params.models.crnn.recipe == "improved"
    assert params.models.parallel.pools[3] == (4, 4)
    assert params.ensemble.members == ("crnn", "parallel")
    assert params.data.fma.path is None


def test_the_committed_file_has_every_key_that_the_contract_names() -> None:
    values = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    assert set(values) == {"seed", "data", "split", "spectrogram", "models", "ensemble", "registry", "serving", "drift"}
    assert values["data"].keys() >= {
        "source",
        "min_duration_s",
        "max_skipped_fraction",
        "sample",
        "fma",
        "folder",
        "arrays",
    }
    assert (values["data"]["min_duration_s"], values["data"]["max_skipped_fraction"]) == (10, 0.10)
    assert values["split"] == {"method": "official", "validation": 0.1, "test": 0.1}
    assert values["models"].keys() == {"baseline", "crnn", "parallel"}


def test_values_cannot_be_changed_after_loading() -> None:
    params = load_params(COMMITTED)
    with pytest.raises(ValidationError):
        params.seed = 8
    with pytest.raises(ValidationError):
        params.models.crnn.epochs = 1


def test_a_models_params_are_its_own_section_and_the_seed() -> None:
    params = load_params(COMMITTED)
    baseline = {"features": "bands", "train_fraction": 1.0, "c": 10.0, "gamma": "scale"}
    assert params.of_model("baseline") == baseline | {"seed": 7}
    assert params.of_model("ensemble") == {"members": ("crnn", "parallel"), "seed": 7}
    assert params.of_model("parallel")["pools"] == params.models.parallel.pools


@pytest.mark.parametrize("key", ["sede", "data.sorce", "data.fma.subsett", "spectrogram.hop", "models.crnn.drop_out"])
def test_an_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key} is not a known key" in refusal(written(tmp_path, changed(key, 1)))


@pytest.mark.parametrize("key", ["seed", "data.folder", "data.fma.mirror", "spectrogram.n_frames", "registry.gate"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key} is missing" in refusal(written(tmp_path, without(key)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("data.source", "bogus"),
        ("data.min_duration_s", 0),
        ("data.max_skipped_fraction", 1.5),
        ("data.sample.tracks_per_genre", 2),
        ("data.fma.subset", "tiny"),
        ("data.arrays.scale", "amplitude"),
        ("split.method", "genre"),
        ("split.method", None),
        ("split.validation", 0),
        ("split.test", 1.0),
        ("spectrogram.hop_length", 0),
        ("spectrogram.n_mels", 12.5),
        ("models.baseline.gamma", -1),
        ("models.crnn.epochs", -3),
        ("models.crnn.epochs", "many"),
        ("models.crnn.recipe", "secret"),
        ("models.crnn.copies", 0),
        ("models.crnn.crop", -0.5),
        ("models.crnn.dropout", 1.0),
        ("models.crnn.mixup", -0.1),
        ("models.parallel.batch_size", 0),
        ("models.parallel.label_smoothing", 1.5),
        ("models.parallel.parts", 0),
        ("models.parallel.learning_rate", 0),
        ("registry.name", ""),
        ("registry.gate.macro_f1", 2),
    ],
)
def test_an_impossible_value_is_named_with_its_key(tmp_path: Path, key: str, value: object) -> None:
    message = refusal(written(tmp_path, changed(key, value)))
    assert key in message
    assert repr(value).strip("[]") in message


@pytest.mark.parametrize("pools", [[[2, 2]], [[2, 2]] * 6, [[2, 2]] * 4 + [[2, 0]], [2, 2, 2, 2, 2]])
def test_pools_that_do_not_fit_the_convolutions_are_refused(tmp_path: Path, pools: list[object]) -> None:
    assert "models.parallel.pools" in refusal(written(tmp_path, changed("models.parallel.pools", pools)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["models.crnn.learning_rate", "models.baseline.c", "data.min_duration_s"])
def test_a_number_that_is_not_finite_is_impossible(tmp_path: Path, key: str, value: float) -> None:
    message = refusal(written(tmp_path, changed(key, value)))
    assert key in message
    assert repr(value) in message


@pytest.mark.parametrize("members", [["baseline"], ["crnn", "svm"], []])
def test_an_ensemble_takes_networks_only(tmp_path: Path, members: list[str]) -> None:
    message = refusal(written(tmp_path, changed("ensemble.members", members)))
    assert "ensemble.members" in message
    assert repr(members[-1]) in message if members else "[]" in message


def test_a_member_named_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, changed("ensemble.members", ["crnn", "crnn"])))
    assert "ensemble" in message
    assert "'crnn', 'crnn'" in message
    assert "twice" in message


@pytest.mark.parametrize("method", ["official", "artist", "random"])
def test_a_split_is_by_one_of_three_methods(tmp_path: Path, method: str) -> None:
    assert load_params(written(tmp_path, changed("split.method", method))).split.method == method


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.7, 0.6)])
def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path, validation: float, test: float) -> None:
    message = refusal(
        written(tmp_path, changed("split", {"method": "official", "validation": validation, "test": test}))
    )
    assert "split" in message
    assert str(validation) in message
    assert str(test) in message
    assert "below 1" in message


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_an_artist_pattern_that_cannot_name_an_artist_is_refused(tmp_path: Path, pattern: str) -> None:
    message = refusal(written(tmp_path, changed("data.folder.artist_pattern", pattern)))
    assert "data.folder.artist_pattern" in message
    assert repr(pattern) in message


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    values = changed("models.crnn.epochs", -3)
    values["data"]["source"] = "bogus"
    del values["seed"]
    message = refusal(written(tmp_path, values))
    assert all(part in message for part in ("models.crnn.epochs", "-3", "data.source", "'bogus'", "seed is missing"))


@pytest.mark.parametrize("content", [b"seed: [7", b"seed: 7\n\tdata: 1\n", b"seed: 7: 8", b"\xff\xfe\x00seed"])
def test_what_is_not_yaml_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert "not YAML" in refusal(path)


@pytest.mark.parametrize("values", [None, 7, ["seed"], "seed"])
def test_yaml_that_is_no_table_is_refused(tmp_path: Path, values: object) -> None:
    assert repr(values) in refusal(written(tmp_path, values))
