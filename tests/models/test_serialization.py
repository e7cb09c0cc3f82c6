"""A stored model: the same bytes for the same model, whoever saves it and whenever, and no code in it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from music_genre.models import baseline
from music_genre.models.bundle import load_predictor
from music_genre.models.serialization import save_baseline, save_network
from music_genre.params import load_params
from music_genre.training.trainer import build_published, make_deterministic

SHAPE, CLASSES = (64, 32), 3
COMMITTED = load_params(Path(__file__).parents[2] / "params.yaml").models
SETTINGS = {
    "crnn": COMMITTED.crnn,
    "parallel": COMMITTED.parallel.model_copy(update={"pools": ((2, 2), (2, 2), (2, 2), (1, 2), (1, 2))}),
}
NETWORKS = tuple(SETTINGS)


def clips(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """(n, *SHAPE) float32 dB and (n,) labels."""
    random = np.random.default_rng(3)
    return random.uniform(-80, 0, (n, *SHAPE)).astype(np.float32), np.arange(n) % CLASSES


def network(name: str, seed: int = 1) -> Any:
    """A network whose seed decides its weights."""
    make_deterministic(seed)
    return build_published(name, SHAPE, CLASSES, SETTINGS[name])


def trained_baseline() -> Pipeline:
    mel, label = clips()
    return baseline.fit(baseline.band_statistics(mel), label, COMMITTED.baseline)


def save_all(folder: Path) -> None:
    for name in NETWORKS:
        save_network(network(name), folder / f"{name}.keras")
    save_baseline(trained_baseline(), folder / "baseline.skops")


def entries(archive: Path) -> dict[str, bytes]:
    with ZipFile(archive) as content:
        return {name: content.read(name) for name in content.namelist()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    save_all(folder)
    return folder


@pytest.mark.slow
def test_another_process_that_makes_the_same_model_saves_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from test_storage import save_all; save_all(Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONHASHSEED": "5"},
        check=True,
    )
    assert {path.name for path in stored.iterdir()} == {"crnn.keras", "parallel.keras", "baseline.skops"}
    for path in stored.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_saved_twice_is_the_same_bytes(name: str, stored: Path, tmp_path: Path) -> None:
    model = network(name)
    for again in ("first.keras", "second.keras"):
        save_network(model, tmp_path / again)
        assert (tmp_path / again).read_bytes() == (stored / f"{name}.keras").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_one_other_weight_is_another_file(name: str, stored: Path, tmp_path: Path) -> None:
    model = network(name)
    weights = model.get_weights()
    weights[-1][0] += 1e-3
    model.set_weights(weights)
    save_network(model, tmp_path / "other.keras")
    assert (tmp_path / "other.keras").read_bytes() != (stored / f"{name}.keras").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_only_training_needs_is_left_out(name: str, stored: Path, tmp_path: Path) -> None:
    trained = network(name)
    trained.optimizer.build(trained.trainable_variables)
    trained.optimizer.iterations.assign(5)
    save_network(trained, tmp_path / "trained.keras")
    assert entries(tmp_path / "trained.keras") == entries(stored / f"{name}.keras")
    with h5py.File(BytesIO(entries(tmp_path / "trained.keras")["model.weights.h5"])) as weights:
        assert "optimizer" not in weights


def test_a_baseline_that_lies_elsewhere_in_memory_is_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    machine = trained_baseline()
    kept = [machine, copy.deepcopy(machine), copy.deepcopy(machine)]
    for number, same in enumerate(kept):
        save_baseline(same, tmp_path / f"{number}.skops")
        assert (tmp_path / f"{number}.skops").read_bytes() == (stored / "baseline.skops").read_bytes()


def test_archives_hold_no_date_and_no_host(stored: Path) -> None:
    for path in stored.iterdir():
        with ZipFile(path) as content:
            assert {entry.date_time for entry in content.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    for name in NETWORKS:
        assert set(json.loads(entries(stored / f"{name}.keras")["metadata.json"])) == {"keras_version"}


def test_archives_hold_nothing_pickled(stored: Path) -> None:
    for path in stored.iterdir():
        for name, content in entries(path).items():
            assert not name.endswith((".pkl", ".pickle", ".joblib")), name
            assert content[:1] != b"\x80", f"{name} begins like a pickle"
            assert not (name.endswith(".npy") and b"'descr': '|O'" in content[:128]), f"{name} holds objects"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_is_loaded_again_answers_as_before(name: str, stored: Path) -> None:
    mel, _ = clips()
    loaded, model = load_predictor(stored / f"{name}.keras"), network(name)
    np.testing.assert_allclose(loaded.predict(mel), np.asarray(model(mel, training=False)), atol=1e-6)
    assert loaded.parameters == model.count_params()


def test_a_baseline_that_is_loaded_again_answers_as_before(stored: Path) -> None:
    mel, _ = clips()
    machine = trained_baseline()
    expected = machine.predict_proba(baseline.band_statistics(mel))
    np.testing.assert_allclose(load_predictor(stored / "baseline.skops").predict(mel), expected, atol=1e-6)


def test_a_baseline_of_cepstra_takes_mel_bands_as_any_other(tmp_path: Path) -> None:
    mel, label = clips()
    statistics = baseline.statistics(mel, "mfcc")
    machine = baseline.fit(statistics, label, COMMITTED.baseline.model_copy(update={"features": "mfcc"}))
    save_baseline(machine, tmp_path / "model.skops")
    answers = load_predictor(tmp_path / "model.skops").predict(mel)
    np.testing.assert_allclose(answers, machine.predict_proba(statistics), atol=1e-6)


def test_the_folder_of_a_new_model_is_made(tmp_path: Path) -> None:
    save_baseline(trained_baseline(), tmp_path / "models/baseline/model.skops")
    assert (tmp_path / "models/baseline/model.skops").is_file()


def run_anything(statistics: np.ndarray) -> np.ndarray:
    raise AssertionError("loading or asking a baseline ran foreign code")


def test_a_baseline_that_names_foreign_code_is_refused(tmp_path: Path) -> None:
    from skops.io.exceptions import UntrustedTypesFoundException

    statistics = baseline.band_statistics(clips()[0])
    hostile = make_pipeline(FunctionTransformer(run_anything, check_inverse=False, validate=False), trained_baseline())
    save_baseline(hostile, tmp_path / "model.skops")
    with pytest.raises(UntrustedTypesFoundException, match="run_anything"):
        baseline.load(tmp_path / "model.skops").predict_proba(statistics)
