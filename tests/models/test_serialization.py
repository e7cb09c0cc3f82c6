"""Stored models: the same bytes for the same model, whoever saves it and whenever, and no code in them."""

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
from music_genre.models.predictors import load_predictor
from music_genre.models.registry import get_model
from music_genre.models.serialization import load_classifier, save_classifier, save_network
from music_genre.params import load_params
from music_genre.training.recipes import make_recipe
from music_genre.training.trainer import seed_everything

SHAPE, N_CLASSES = (64, 32), 3
MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models
SMALL_POOLS = {"pools": ((2, 2), (2, 2), (2, 2), (1, 2), (1, 2))}
NETWORKS = {
    "crnn": MODELS["crnn"].published,
    "parallel": MODELS["parallel"].published.model_copy(update=SMALL_POOLS),
}
BASELINE = MODELS["baseline"]


def clips(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """(n, *SHAPE) float32 dB and (n,) labels."""
    rng = np.random.default_rng(3)
    return rng.uniform(-80, 0, (n, *SHAPE)).astype(np.float32), np.arange(n) % N_CLASSES


def network(name: str, seed: int = 1) -> Any:
    """A compiled published network whose weights depend on the seed."""
    seed_everything(seed)
    model = get_model(name).builders["published"](SHAPE, N_CLASSES, NETWORKS[name])
    make_recipe("published", NETWORKS[name]).compile(model, 1)
    return model


def trained_baseline(params: baseline.BaselineParams = BASELINE) -> Pipeline:
    mel, labels = clips()
    return baseline.fit(baseline.extract(mel, params), labels, params)


def save_all(folder: Path) -> None:
    for name in NETWORKS:
        save_network(network(name), folder / f"{name}.keras")
    save_classifier(trained_baseline(), BASELINE, folder / "baseline.skops")


def entries(archive: Path) -> dict[str, bytes]:
    with ZipFile(archive) as content:
        return {name: content.read(name) for name in content.namelist()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    save_all(folder)
    return folder


@pytest.mark.slow
def test_another_process_saves_the_same_model_as_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from test_serialization import save_all; save_all(Path(sys.argv[1]))"
    )
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
def test_network_saved_twice_is_the_same_bytes(name: str, stored: Path, tmp_path: Path) -> None:
    model = network(name)
    for copy_name in ("first.keras", "second.keras"):
        save_network(model, tmp_path / copy_name)
        assert (tmp_path / copy_name).read_bytes() == (stored / f"{name}.keras").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_network_with_one_other_weight_is_other_bytes(name: str, stored: Path, tmp_path: Path) -> None:
    model = network(name)
    weights = model.get_weights()
    weights[-1][0] += 1e-3
    model.set_weights(weights)
    save_network(model, tmp_path / "other.keras")
    assert (tmp_path / "other.keras").read_bytes() != (stored / f"{name}.keras").read_bytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_network_has_no_optimizer_state(name: str, stored: Path, tmp_path: Path) -> None:
    trained = network(name)
    trained.optimizer.build(trained.trainable_variables)
    trained.optimizer.iterations.assign(5)
    save_network(trained, tmp_path / "trained.keras")
    assert entries(tmp_path / "trained.keras") == entries(stored / f"{name}.keras")
    with h5py.File(BytesIO(entries(tmp_path / "trained.keras")["model.weights.h5"])) as weights:
        assert "optimizer" not in weights


def test_classifier_at_other_memory_addresses_is_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    classifier = trained_baseline()
    copies = [classifier, copy.deepcopy(classifier), copy.deepcopy(classifier)]  # all alive: addresses differ
    for number, same in enumerate(copies):
        save_classifier(same, BASELINE, tmp_path / f"{number}.skops")
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
def test_loaded_network_predicts_as_the_saved_one(name: str, stored: Path) -> None:
    mel, _ = clips()
    predictor, model = load_predictor(stored / f"{name}.keras", name), network(name)
    np.testing.assert_allclose(predictor.predict(mel), np.asarray(model(mel, training=False)), atol=1e-6)
    assert predictor.n_parameters == model.count_params()


@pytest.mark.parametrize("features", ["mel_statistics", "mfcc_statistics"])
def test_loaded_classifier_extracts_features_and_predicts_as_the_saved_one(features: str, tmp_path: Path) -> None:
    mel, _ = clips()
    params = BASELINE.model_copy(update={"features": features})
    classifier = trained_baseline(params)
    save_classifier(classifier, params, tmp_path / "model.skops")
    expected = classifier.predict_proba(baseline.extract(mel, params))
    predictor = load_predictor(tmp_path / "model.skops", "baseline")
    np.testing.assert_allclose(predictor.predict(mel), expected, atol=1e-6)
    assert load_classifier(tmp_path / "model.skops", baseline.MODEL)[1] == params


def test_folder_of_a_new_model_is_made(tmp_path: Path) -> None:
    save_classifier(trained_baseline(), BASELINE, tmp_path / "models/baseline/model.skops")
    assert (tmp_path / "models/baseline/model.skops").is_file()


def test_classifier_file_of_a_network_is_refused(stored: Path) -> None:
    with pytest.raises(ValueError, match="crnn is no classifier"):
        load_predictor(stored / "baseline.skops", "crnn")


def test_file_without_params_is_refused(tmp_path: Path) -> None:
    from skops.io import dump

    dump(trained_baseline(), tmp_path / "model.skops")
    with pytest.raises(ValueError, match="holds no classifier with its params"):
        load_classifier(tmp_path / "model.skops", baseline.MODEL)


def run_anything(features: np.ndarray) -> np.ndarray:
    raise AssertionError("foreign code was run")


def test_classifier_that_names_foreign_code_is_refused(tmp_path: Path) -> None:
    from skops.io.exceptions import UntrustedTypesFoundException

    hostile = make_pipeline(FunctionTransformer(run_anything, check_inverse=False, validate=False), trained_baseline())
    save_classifier(hostile, BASELINE, tmp_path / "model.skops")
    with pytest.raises(UntrustedTypesFoundException, match="run_anything"):
        load_predictor(tmp_path / "model.skops", "baseline")
