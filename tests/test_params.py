"""``params.yaml``: DVC and we read the same values from it, or it is refused in one line that says what to change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from pydantic import ValidationError
from ruamel.yaml import YAML

from music_genre.errors import MusicGenreError
from music_genre.params import Params, load_params

COMMITTED = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    """A copy of the committed file."""
    return Path(shutil.copy(COMMITTED, tmp_path))


def write(folder: Path, values: object) -> Path:
    path = folder / "params.yaml"
    YAML(typ="safe").dump(values, path)
    return path


def change(key: str, value: object) -> dict[str, Any]:
    """The committed values with one of them set; ``key`` is dotted."""
    values: dict[str, Any] = load_yaml(COMMITTED)
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    section[name] = value
    return values


def remove(key: str) -> dict[str, Any]:
    """The committed values without one of them."""
    values: dict[str, Any] = load_yaml(COMMITTED)
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    del section[name]
    return values


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with a value of its own, and that value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_override(value: object) -> str:
    """A value as ``-S key=value`` takes it."""
    if isinstance(value, list):
        return f"[{','.join(map(as_override, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plain(value: object) -> object:
    """A value of ``Params`` as the file has it."""
    if isinstance(value, tuple):
        return [plain(item) for item in value] or None  # the file names no path by an empty value
    return str(value) if isinstance(value, Path) else value


def refusal(path: Path) -> str:
    """Why a file is refused, in one line that names it."""
    with pytest.raises(MusicGenreError) as caught:
        load_params(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


LEAVES = dict(leaves(load_yaml(COMMITTED)))


def test_set_param_changes_one_line(params_file: Path) -> None:
    apply_overrides(params_file, ["seed=8"])
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (COMMITTED, params_file))
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [("seed: 7", "seed: 8")]


@pytest.mark.parametrize("key", LEAVES)
def test_set_param_to_its_own_value_changes_nothing(params_file: Path, key: str) -> None:
    apply_overrides(params_file, [f"{key}={as_override(LEAVES[key])}"])
    assert params_file.read_bytes() == COMMITTED.read_bytes()


def test_every_value_is_the_one_that_dvc_reads() -> None:
    read = {key: plain(value) for key, value in leaves(load_params(COMMITTED).model_dump())}
    assert read == LEAVES
    numbers = [key for key, value in LEAVES.items() if isinstance(value, (int, float))]
    assert all(isinstance(read[key], bool) == isinstance(LEAVES[key], bool) for key in numbers)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("seed: 7", "seed: 010"),
        ("seed: 7", "seed: 0o10"),
        ("seed: 7", "seed: 0x1F"),
        ("seed: 7", "seed: 1_000"),
        ("seed: 7", "seed: 7.0"),
        ("seed: 7", "seed: '7'"),
        ("seed: 7", "seed: 10:30"),
        ("seed: 7", "seed: yes"),
        ("seed: 7", "seed: true"),
        ("seed: 7", "seed: 8\nseed: 7"),
        ("      learning_rate: 0.002", "      learning_rate: 1e-5"),
        ("      learning_rate: 0.002", "      learning_rate: 1e-05"),
        ("      learning_rate: 0.002", "      learning_rate: .002"),
        ("      learning_rate: 0.002", "      learning_rate: '0.002'"),
        ("      mean_subtracted_channel: true", "      mean_subtracted_channel: yes"),
        ("      mean_subtracted_channel: true", "      mean_subtracted_channel: on"),
        ("      mean_subtracted_channel: true", "      mean_subtracted_channel: 1"),
        ("      normalize: per_band", "      normalize: !!str per_band"),
        ("  name: music-genre", "  name: 1e3"),
        ("  name: music-genre", "  name: no"),
        ("  name: music-genre", "  name: 12:30:45"),
        ("  name: music-genre", "  name: 2026-11-27"),
        ("  name: music-genre", "  name: !!binary bXVzaWM="),
        ("    mirror: ", "    mirror: ~"),
    ],
)
def test_value_means_the_same_to_dvc_or_is_refused(params_file: Path, line: str, text: str) -> None:
    before = params_file.read_text(encoding="utf-8")
    assert line in before
    params_file.write_text(before.replace(line, text, 1), encoding="utf-8")
    try:
        params = load_params(params_file)
    except MusicGenreError as error:
        assert "\n" not in str(error)
        return
    ours = {key: plain(value) for key, value in leaves(params.model_dump())}
    dvcs = dict(leaves(load_yaml(params_file)))
    assert ours == dvcs
    assert {key: isinstance(value, bool) for key, value in ours.items()} == {
        key: isinstance(value, bool) for key, value in dvcs.items()
    }


@pytest.mark.parametrize(("text", "seed"), [("010", 10), ("0x1F", 31), ("1_000", 1000)])
def test_number_is_read_as_dvc_reads_it(params_file: Path, text: str, seed: int) -> None:
    params_file.write_text(params_file.read_text(encoding="utf-8").replace("seed: 7", f"seed: {text}"), "utf-8")
    assert load_params(params_file).seed == load_yaml(params_file)["seed"] == seed


def test_small_number_that_dvc_writes_is_a_number(params_file: Path) -> None:
    apply_overrides(params_file, ["models.crnn.improved.learning_rate=1e-5"])
    assert "learning_rate: 1e-05" in params_file.read_text(encoding="utf-8")
    assert load_params(params_file).models.crnn.improved.learning_rate == 1e-5


def test_unquoted_date_is_refused(params_file: Path) -> None:
    # DVC refuses the whole file: "Unsupported value of type 'date'".
    before = params_file.read_text(encoding="utf-8")
    params_file.write_text(before.replace("  name: music-genre", "  name: 2026-11-27"), encoding="utf-8")
    message = refusal(params_file)
    assert "registry.name" in message
    assert "quotes" in message


def test_key_that_stands_twice_is_refused_with_its_line(params_file: Path) -> None:
    before = params_file.read_text(encoding="utf-8")
    params_file.write_text(before + "seed: 8\n", encoding="utf-8")
    assert f'line {len(before.splitlines()) + 1}: found duplicate key "seed"' in refusal(params_file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-01-01: 1", "2026-01-01: found datetime.date"),
        ("? [1, 2]\n: 1", "(1, 2): found (1, 2)"),
        ("? {a: 1}\n: 1", "unhashable key"),
        ("x: &x [*x]", "Circular reference"),
        ("x: &x {y: *x}", "Circular reference"),
        (f"x: {'[' * 5000}{']' * 5000}", "nested too deep"),
        (f"x: {'9' * 5000}", "4300 digits"),
    ],
    ids=["date", "list", "mapping", "list of itself", "mapping of itself", "deep", "endless number"],
)
def test_key_or_value_that_cannot_be_read_is_refused(params_file: Path, text: str, reason: str) -> None:
    params_file.write_text(f"{params_file.read_text(encoding='utf-8')}{text}\n", encoding="utf-8")
    assert reason in refusal(params_file)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "params.yaml")
    assert "cannot be read: Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "none"), [("data.fma.path", None), ("data.folder.path", ()), ("data.arrays.path", None)]
)
@pytest.mark.parametrize("empty", ["", None])
def test_empty_path_is_no_path_and_not_the_current_folder(
    tmp_path: Path, key: str, none: object, empty: str | None
) -> None:
    _, section, name = key.split(".")
    assert getattr(load_params(write(tmp_path, change(key, empty))).data[section], name) == none


@pytest.mark.parametrize(
    ("value", "paths"), [("/a", ["/a"]), (["/a", "b c"], ["/a", "b c"]), (["/a", "", None], ["/a"]), ([], [])]
)
def test_folder_may_be_one_or_several(tmp_path: Path, value: object, paths: list[str]) -> None:
    assert load_params(write(tmp_path, change("data.folder.path", value))).data["folder"].path == tuple(
        map(Path, paths)
    )


@pytest.mark.parametrize(
    ("override", "sources"), [("fma", ("fma",)), ("[fma]", ("fma",)), ("[fma,folder]", ("fma", "folder"))]
)
def test_source_may_be_one_or_several(params_file: Path, override: str, sources: tuple[str, ...]) -> None:
    apply_overrides(params_file, [f"data.source={override}"])
    assert load_params(params_file).data.sources == sources


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """The params after ``-S models.crnn.recipe=published -S models.parallel.recipe=published``."""
    path = Path(shutil.copy(COMMITTED, tmp_path_factory.mktemp("study")))
    apply_overrides(path, ["models.crnn.recipe=published", "models.parallel.recipe=published"])
    return load_params(path)


@pytest.mark.parametrize(
    ("name", "n_parameters", "optimizer", "learning_rate", "epochs", "batch_size"),
    [("crnn", 133_520, "Adam", 0.001, 70, 32), ("parallel", 85_160, "RMSprop", 0.0005, 50, 64)],
)
def test_published_recipes_are_the_study(
    study: Params, name: str, n_parameters: int, optimizer: str, learning_rate: float, epochs: int, batch_size: int
) -> None:
    from music_genre.models.registry import Network, get_model
    from music_genre.training.recipes import RECIPES

    section, definition = study.models[name], get_model(name)
    assert isinstance(definition, Network)
    values = section.active_recipe
    network = definition.builders[section.recipe]((study.spectrogram.n_frames, study.spectrogram.n_mels), 8, values)
    assert network.count_params() == n_parameters
    RECIPES[section.recipe](values).compile(network, n_steps=100)
    assert type(network.optimizer).__name__ == optimizer
    assert float(network.optimizer.learning_rate.numpy()) == pytest.approx(learning_rate)
    assert (values.epochs, values.batch_size) == (epochs, batch_size)


def test_active_params_are_those_of_the_chosen_recipe(study: Params) -> None:
    assert study.active("crnn") == {
        "input": "spectrograms",
        "recipe": "published",
        "train_fraction": 1.0,
        "precision": "float32",
        "epochs": 70,
        "batch_size": 32,
        "learning_rate": 0.001,
        "optimizer": "adam",
        "pools": (2, 2, 2),
        "seed": 7,
    }
    assert "mixup" in load_params(COMMITTED).active("crnn")
    assert "optimizer" not in load_params(COMMITTED).active("crnn")
    assert study.active("ensemble") == {"members": ("crnn", "parallel"), "seed": 7}


@pytest.mark.parametrize("recipe", ["secret", "precision", "", None])
def test_unknown_recipe_is_refused(tmp_path: Path, recipe: str | None) -> None:
    message = refusal(write(tmp_path, change("models.parallel.recipe", recipe)))
    assert "models.parallel.recipe" in message
    assert repr(recipe) in message


def test_values_cannot_be_changed_after_loading() -> None:
    params = load_params(COMMITTED)
    with pytest.raises(ValidationError):
        params.seed = 8
    with pytest.raises(ValidationError):
        params.models.crnn.improved.epochs = 1


@pytest.mark.parametrize(
    "key",
    ["sede", "data.sorce", "data.fma.subsett", "spectrogram.hop", "models.crnn.epochs", "models.crnn.improved.pools"],
)
def test_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key} is not a known key" in refusal(write(tmp_path, change(key, 1)))


@pytest.mark.parametrize("key", ["seed", "data.source", "data.fma.mirror", "spectrogram.n_frames", "registry.gate"])
def test_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key} is missing" in refusal(write(tmp_path, remove(key)))


def test_unknown_model_names_the_file_that_is_missing(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, change("models.transformer", {"recipe": "improved"})))
    assert "models.transformer" in message
    assert "src/music_genre/models/transformer.py" in message


@pytest.mark.parametrize("name", ["my-model", "Cnn", "a b"])
def test_name_that_no_model_can_have_is_refused_with_the_rule(tmp_path: Path, name: str) -> None:
    message = refusal(write(tmp_path, change(f"models.{name}", {"recipe": "improved"})))
    assert f"models.{name} is not a known key: such names are lower-case letters, digits and underscores" in message


def test_unknown_data_set_names_the_file_that_is_missing(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, change("data.table", {"path": None})))
    assert "data.table is not a known key: there is no src/music_genre/datasets/table.py with a DATASET" in message


def test_params_without_a_model_are_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, change("models", {})))
    assert "models: none of them can be trained, and the ensemble needs one" in message


def test_baseline_can_be_a_member_of_the_ensemble(tmp_path: Path) -> None:
    params = load_params(write(tmp_path, change("ensemble.members", ["baseline", "crnn"])))
    assert params.members_of("ensemble") == ("baseline", "crnn")


@pytest.mark.parametrize("name", ["registry", "layers", "ensemble", "params", "../crnn", "CRNN", "7"])
def test_module_that_is_no_model_is_no_model(tmp_path: Path, name: str) -> None:
    assert f"models.{name} is not a known key" in refusal(write(tmp_path, change("models", {name: {}})))


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
        ("split.validation_fraction", 0),
        ("split.test_fraction", 1.0),
        ("spectrogram.hop_length", 0),
        ("spectrogram.n_mels", 12.5),
        ("models.baseline.gamma", -1),
        ("models.crnn.precision", "float64"),
        ("models.crnn.improved.epochs", -3),
        ("models.crnn.improved.epochs", "many"),
        ("models.crnn.improved.n_seeds", 0),
        ("models.crnn.improved.crop_fraction", -0.5),
        ("models.crnn.improved.dropout", 1.0),
        ("models.crnn.improved.mixup", -0.1),
        ("models.crnn.published.optimizer", "sgd"),
        ("models.parallel.improved.batch_size", 0),
        ("models.parallel.improved.label_smoothing", 1.5),
        ("models.parallel.improved.n_segments", 0),
        ("models.parallel.published.learning_rate", 0),
        ("evaluation.target_selective_accuracy", 0),
        ("registry.name", ""),
        ("registry.name", "a/b"),
        ("registry.name", "a:b"),
        ("registry.name", "Music Genre"),
        ("registry.name", "a" * 64),
        ("registry.gate.min_macro_f1", 2),
    ],
)
def test_impossible_value_is_named_with_its_key(tmp_path: Path, key: str, value: object) -> None:
    message = refusal(write(tmp_path, change(key, value)))
    assert key in message
    assert repr(value) in message


@pytest.mark.parametrize("pools", [[[2, 2]], [[2, 2]] * 6, [[2, 2]] * 4 + [[2, 0]], [2, 2, 2, 2, 2]])
def test_pools_that_do_not_fit_the_convolutions_are_refused(tmp_path: Path, pools: list[object]) -> None:
    key = "models.parallel.published.pools"
    assert key in refusal(write(tmp_path, change(key, pools)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "key", ["models.crnn.improved.learning_rate", "models.baseline.C", "data.min_duration_s", "registry.gate.max_ece"]
)
def test_number_that_is_not_finite_is_refused(tmp_path: Path, key: str, value: float) -> None:
    assert key in refusal(write(tmp_path, change(key, value)))


@pytest.mark.parametrize("member", ["svm", "ensemble"])
def test_ensemble_takes_models_of_the_file_only(tmp_path: Path, member: str) -> None:
    message = refusal(write(tmp_path, change("ensemble.members", ["crnn", member])))
    assert f"ensemble.members: {member}" in message
    assert "baseline, crnn, parallel, transfer" in message


def test_ensemble_without_members_is_refused(tmp_path: Path) -> None:
    assert "ensemble.members" in refusal(write(tmp_path, change("ensemble.members", [])))


def test_member_named_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, change("ensemble.members", ["crnn", "crnn"])))
    assert "ensemble.members: one is named twice" in message


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.7, 0.6)])
def test_fractions_that_leave_nothing_to_train_on_are_refused(tmp_path: Path, validation: float, test: float) -> None:
    split = {"method": "official", "validation_fraction": validation, "test_fraction": test}
    message = refusal(write(tmp_path, change("split", split)))
    assert f"split.validation_fraction {validation} and test_fraction {test} together must be below 1" in message


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_artist_pattern_without_an_artist_is_refused(tmp_path: Path, pattern: str) -> None:
    message = refusal(write(tmp_path, change("data.folder.artist_pattern", pattern)))
    assert "data.folder.artist_pattern" in message
    assert repr(pattern) in message


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        (["fma", "bogus"], "found 'bogus', choose from: arrays, fma, folder, sample"),
        ([], "found []: name one source, or several in a list, each once"),
        (["fma", "fma"], "found ['fma', 'fma']: name one source, or several in a list, each once"),
        (["fma", "arrays"], "ready spectrograms cannot be combined with another source"),
    ],
    ids=str,
)
def test_sources_that_cannot_be_used_are_refused(tmp_path: Path, sources: list[str], reason: str) -> None:
    message = refusal(write(tmp_path, change("data.source", sources)))
    assert "data.source: " in message
    assert reason in message


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    values = change("models.crnn.improved.epochs", -3)
    values["data"]["source"] = "bogus"
    del values["seed"]
    message = refusal(write(tmp_path, values))
    problems = ("models.crnn.improved.epochs", "-3", "data.source", "'bogus'", "seed is missing")
    assert [problem for problem in problems if problem not in message] == []


@pytest.mark.parametrize("content", [b"seed: [7", b"seed: 7\n\tdata: 1\n", b"seed: 7: 8", b"\xff\xfe\x00seed"])
def test_file_that_is_not_yaml_is_refused(params_file: Path, content: bytes) -> None:
    params_file.write_bytes(content)
    assert "not YAML" in refusal(params_file)


@pytest.mark.parametrize("values", [None, 7, ["seed"], "seed"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path, values: object) -> None:
    assert repr(values) in refusal(write(tmp_path, values))
