"""Training by both recipes on a tiny collection, and after interruptions."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pandas as pd
import pytest

from music_genre.errors import MusicGenreError
from music_genre.models.cpu_kernels.fused import CpuFusedNetwork
from music_genre.models.params import NetworkParams
from music_genre.models.predictors import load_predictor
from music_genre.models.registry import get_model
from music_genre.models.serialization import save_network
from music_genre.params import load_params
from music_genre.training.recipes import Recipe, make_recipe
from music_genre.training.trainer import (
    HISTORY_COLUMNS,
    HistoryRow,
    TrainingData,
    TrainJob,
    build_network,
    fit,
    optimize_for_device,
    seed_everything,
    to_float32,
    train_classifier,
    train_network,
    with_dtype_policy,
)

MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models
FAST = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01}

OnEpoch = Callable[[HistoryRow], None]


class InterruptionError(Exception):
    """Stands for whatever ends a process."""


def ignore(row: HistoryRow) -> None:
    """Nothing after an epoch."""


def params_of(name: str, recipe: str, **changes: Any) -> NetworkParams:
    """A network's params, quick to train by a recipe."""
    params: NetworkParams = MODELS[name]
    section = getattr(params, recipe).model_copy(update=FAST | changes)
    return params.model_copy(update={"recipe": recipe, recipe: section})


def published_recipe(**changes: Any) -> Recipe:
    return make_recipe("published", params_of("crnn", "published", **changes).active_recipe)


@pytest.fixture(scope="module", autouse=True)
def small_networks() -> Iterator[None]:
    """Clips of 6 frames and 4 bands leave nothing for more convolutions, and tracing takes most of the time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("music_genre.models.layers.FILTERS", (4, 6))
        yield


def train_tiny(
    data: TrainingData, seed: int, checkpoint_dir: Path, recipe: Recipe | None = None, on_epoch: OnEpoch = ignore
) -> tuple[Any, pd.DataFrame]:
    """Train a network of a few weights by the published recipe."""
    from keras import Input, Model, layers

    seed_everything(seed)
    clip = Input(data.training.shape, name="mel_db")
    x = layers.GRU(4, name="gru")(layers.Rescaling(1 / 20, offset=2, name="scale")(clip))
    x = layers.Dropout(0.2, name="dropout")(x)
    model = Model(clip, layers.Dense(2, activation="softmax", name="genre")(x), name="tiny")
    rows: list[HistoryRow] = []

    def record(row: HistoryRow) -> None:
        rows.append(row)
        on_epoch(row)

    history = fit(model, recipe or published_recipe(), TrainJob(data, seed, record, checkpoint_dir))
    assert rows == history.to_dict("records")
    return model, history


def accuracy(path: Path, name: str, data: TrainingData) -> float:
    """Validation accuracy of a stored network."""
    probabilities = load_predictor(path, name).predict(data.validation.read(np.arange(len(data.validation))))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    return float((probabilities.argmax(axis=1) == data.validation.label).mean())


def test_training_lowers_the_loss_and_its_history_has_a_row_an_epoch(data: TrainingData, tmp_path: Path) -> None:
    _, history = train_tiny(data, 1, tmp_path)
    assert tuple(history.columns) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_more_segments_than_frames_are_refused_before_training(data: TrainingData, tmp_path: Path) -> None:
    n_frames = data.training.shape[0]
    job = TrainJob(data, 1, ignore, tmp_path)
    with pytest.raises(MusicGenreError, match=rf"models\.crnn\.improved\.n_segments: found {n_frames + 1};"):
        train_network("crnn", params_of("crnn", "improved", n_segments=n_frames + 1), job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_also_after_an_interruption(data: TrainingData, tmp_path: Path) -> None:
    def interrupt(row: HistoryRow) -> None:
        if row["epoch"] == 3:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train_tiny(data, 1, tmp_path / "resumed", on_epoch=interrupt)
    assert (tmp_path / "resumed/state.json").is_file()
    for name, seed in (("undisturbed", 1), ("resumed", 1), ("other", 2)):
        model, history = train_tiny(data, seed, tmp_path / name)
        save_network(model, tmp_path / f"{name}.keras")
        history.to_csv(tmp_path / f"{name}.csv", index=False)
    for suffix in ("keras", "csv"):
        undisturbed, resumed, other = (
            (tmp_path / f"{name}.{suffix}").read_bytes() for name in ("undisturbed", "resumed", "other")
        )
        assert undisturbed == resumed
        assert undisturbed != other


@pytest.mark.slow
def test_published_recipe_ends_with_the_best_epoch_by_validation_accuracy(data: TrainingData, tmp_path: Path) -> None:
    recipe = published_recipe(learning_rate=0.6)  # so high that accuracy jumps, and the last epoch is not the best
    for seed in range(6):
        model, history = train_tiny(data, seed, tmp_path / str(seed), recipe)
        save_network(model, tmp_path / "model.keras")
        assert accuracy(tmp_path / "model.keras", "tiny", data) == pytest.approx(history["val_accuracy"].max())
        if history["val_accuracy"].iloc[-1] < history["val_accuracy"].max():
            return
    pytest.fail("no seed ended below its best epoch: the test shows nothing")


@pytest.mark.slow
def test_published_learning_rate_halves_when_validation_accuracy_stops_rising(
    data: TrainingData, tmp_path: Path
) -> None:
    _, history = train_tiny(data, 1, tmp_path, published_recipe(epochs=30))
    rates = history["learning_rate"].to_numpy()
    assert set(np.round(rates[1:] / rates[:-1], 6)) == {0.5, 1.0}


def test_classifier_has_a_history_of_one_row(data: TrainingData) -> None:
    classifier, history = train_classifier(get_model("baseline"), MODELS["baseline"], data)
    assert tuple(history.columns) == HISTORY_COLUMNS
    (row,) = history.to_dict("records")
    features = get_model("baseline").extract(data.validation.read(np.arange(16)), MODELS["baseline"])
    probabilities = classifier.predict_proba(features)
    assert row["val_accuracy"] == (probabilities.argmax(axis=1) == data.validation.label).mean()
    of_true_genre = probabilities[np.arange(16), data.validation.label]
    assert row["val_loss"] == pytest.approx(-np.log(of_true_genre).mean(), rel=1e-6)
    assert row["epoch"] == 1
    assert np.isnan(row["learning_rate"])


@pytest.mark.slow
def test_improved_recipe_gives_the_same_bytes_again_and_stores_what_it_validated(
    data: TrainingData, tmp_path: Path
) -> None:
    params = params_of("crnn", "improved", mixup=0.2, ema_fraction=0.9)
    for name in ("first", "again"):
        rows: list[HistoryRow] = []
        model, history = train_network("crnn", params, TrainJob(data, 3, rows.append, tmp_path / name))
        save_network(model, tmp_path / f"{name}.keras")
        assert rows == history.to_dict("records")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "again.keras").read_bytes()
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert accuracy(tmp_path / "first.keras", "crnn", data) == pytest.approx(history["val_accuracy"].iloc[-1])
    stored = h5py.File(io.BytesIO(ZipFile(tmp_path / "first.keras").read("model.weights.h5")))
    names: list[str] = []
    stored.visit(names.append)
    assert names
    assert not [name for name in names if "optimizer" in name]


@pytest.mark.slow
def test_network_trained_in_mixed_precision_is_stored_in_float32(data: TrainingData, tmp_path: Path) -> None:
    params = params_of("crnn", "improved").model_copy(update={"precision": "mixed_float16"})
    compute_dtypes = set()

    def spy(trained: Any, build: Callable[[], Any]) -> Any:
        compute_dtypes.add(trained.compute_dtype)
        return to_float32(trained, build)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("music_genre.training.trainer.to_float32", spy)
        model, history = train_network("crnn", params, TrainJob(data, 3, ignore, tmp_path / "checkpoints"))
    assert compute_dtypes == {"float16"}
    assert np.isfinite(history["loss"]).all()
    save_network(model, tmp_path / "model.keras")
    assert "mixed" not in ZipFile(tmp_path / "model.keras").read("config.json").decode()
    expected = history["val_accuracy"].iloc[-1]
    assert accuracy(tmp_path / "model.keras", "crnn", data) == pytest.approx(expected, abs=2 / len(data.validation))


def test_only_published_networks_in_float32_are_fused_for_a_cpu() -> None:
    import tensorflow as tf

    on_cpu = not tf.config.list_physical_devices("GPU")
    build = partial(build_network, "crnn", params_of("crnn", "published"), (64, 32), 2)
    plain, mixed = build(), with_dtype_policy("mixed_bfloat16", build)
    for model in (plain, mixed):
        published_recipe().compile(model, 1)
    assert isinstance(optimize_for_device(plain), CpuFusedNetwork) == on_cpu
    assert optimize_for_device(mixed) is mixed


def test_mixed_precision_networks_weights_are_kept_in_float32() -> None:
    build = partial(build_network, "crnn", params_of("crnn", "published"), (64, 32), 2)
    mixed = with_dtype_policy("mixed_bfloat16", build)
    assert mixed.compute_dtype == "bfloat16"
    assert mixed.get_layer("genre").compute_dtype == "float32"
    plain = to_float32(mixed, build)
    assert plain.compute_dtype == "float32"
    for weight, mixed_weight in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, mixed_weight)


Train = Callable[[str, Path, OnEpoch], tuple[bytes, pd.DataFrame]]


@pytest.fixture(scope="module")
def train(data: TrainingData) -> Train:
    """Trains a network by its name and gives its bytes and history: the published CRNN, at a rate so high that its best
    epoch is not the last; or two seeds of the improved parallel network, on segments with random equalizer curves.
    """
    params = {
        "crnn": params_of("crnn", "published", epochs=6, learning_rate=0.3, pools=(1, 1, 1)),
        "parallel": params_of(
            "parallel",
            "improved",
            epochs=3,
            learning_rate=0.002,
            n_seeds=2,
            n_segments=3,
            crop_fraction=0.0,
            random_eq_db=3.0,
        ),
    }

    def train_and_save(name: str, folder: Path, on_epoch: OnEpoch) -> tuple[bytes, pd.DataFrame]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("music_genre.models.crnn.KERNEL", 1)
            job = TrainJob(data, 3, on_epoch, folder / "checkpoints")
            model, history = train_network(name, params[name], job)
        save_network(model, folder / "model.keras")
        return (folder / "model.keras").read_bytes(), history

    return train_and_save


@pytest.mark.slow
@pytest.mark.parametrize(("name", "interruptions"), [("crnn", [2, 4, 6]), ("parallel", [1, 3, 5])])
def test_interrupted_training_ends_with_the_same_weights_and_history(
    train: Train, tmp_path: Path, name: str, interruptions: list[int]
) -> None:
    (tmp_path / "undisturbed").mkdir()
    expected, expected_history = train(name, tmp_path / "undisturbed", ignore)
    rows = list[HistoryRow]()

    def interrupt_at(epoch: int, row: HistoryRow) -> None:
        rows.append(row)
        if row["epoch"] == epoch:
            raise InterruptionError

    for epoch in interruptions:
        with pytest.raises(InterruptionError):
            train(name, tmp_path, partial(interrupt_at, epoch))
    rows.clear()
    resumed, history = train(name, tmp_path, rows.append)
    assert expected_history["epoch"].tolist() == list(range(1, 7))
    assert resumed == expected
    pd.testing.assert_frame_equal(history, expected_history)
    assert rows == history.to_dict("records")
