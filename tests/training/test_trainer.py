"""Training by the study's rules, on a network of a few weights, and by better ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import h5py
import numpy as np
import pandas as pd
import pytest

from music_genre.features.cache import publish_shard, write_shard
from music_genre.features.store import SpectrogramStore, write_index
from music_genre.models.bundle import load_predictor
from music_genre.models.cpu_kernels.fused import Swift
from music_genre.models.serialization import save_network
from music_genre.params import load_params
from music_genre.training.trainer import (
    HISTORY_COLUMNS,
    arranged,
    build_published,
    compile_improved,
    computing_in,
    fit,
    in_float32,
    make_deterministic,
    single_epoch_history,
)
from music_genre.training.trainer import train as train_network

COMMITTED = load_params(Path(__file__).parents[2] / "params.yaml").models
FEW = {"epochs": 4, "batch_size": 8, "learning_rate": 0.01}
SETTINGS = COMMITTED.crnn.model_copy(update={"recipe": "published", **FEW})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpectrogramStore:
    """48 clips of 6 frames and 4 bands, of two genres that differ a little in one band each."""
    folder, random = tmp_path_factory.mktemp("spectrograms"), np.random.default_rng(0)
    ids = np.arange(48)
    mel = random.normal(-50, 10, (48, 6, 4))
    mel[ids, :, ids % 2] += 8
    splits = pd.DataFrame(
        {"track_id": ids, "genre": np.where(ids % 2, "Rock", "Folk"), "split": ["training"] * 32 + ["validation"] * 16}
    )
    tables = []
    for name, chosen in splits.groupby("split")["track_id"]:
        write_shard(folder, name, [(int(track_id), mel[track_id]) for track_id in chosen])
        tables.append(publish_shard(folder, name, folder / f"{name}-00000.npy")[0])
    write_index(folder, pd.concat(tables), splits, None, 1)
    return SpectrogramStore.open(folder)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Clips of 6 frames and 4 bands leave nothing for more convolutions, and to trace them takes the time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("music_genre.models.layers.FILTERS", (4, 6))
        yield


class Interrupted(Exception):
    """Stands for whatever ends a process."""


Follow = Callable[[dict[str, float]], None]


def train(
    data: SpectrogramStore, seed: int, kept: Path, learning_rate: float = 0.01, follow: Follow = lambda row: None
) -> tuple[object, pd.DataFrame]:
    from keras import Input, Model, layers, optimizers

    make_deterministic(seed)
    clip = Input(data.shape, name="mel_db")
    x = layers.GRU(4, name="gru")(layers.Rescaling(1 / 20, offset=2, name="scale")(clip))
    model = Model(
        clip, layers.Dense(2, activation="softmax", name="genre")(layers.Dropout(0.2, name="dropout")(x)), name="tiny"
    )
    model.compile(optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    seen: list[dict[str, float]] = []

    def on_epoch(row: dict[str, float]) -> None:
        seen.append(row)
        follow(row)

    history = fit(model, data.split("training"), data.split("validation"), SETTINGS, seed, on_epoch, kept)
    assert seen == history.to_dict("records")
    return model, history


def test_training_learns_and_its_history_has_a_row_an_epoch(data: SpectrogramStore, tmp_path: Path) -> None:
    _, history = train(data, 1, tmp_path)
    assert tuple(history.columns) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_the_same_seed_gives_the_same_bytes_after_a_break_too_and_another_seed_others(
    data: SpectrogramStore, tmp_path: Path
) -> None:
    def break_off(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(data, 1, tmp_path / "resumed", follow=break_off)
    for name, seed in (("undisturbed", 1), ("resumed", 1), ("other", 2)):
        model, history = train(data, seed, tmp_path / name)
        save_network(model, tmp_path / f"{name}.keras")
        history.to_csv(tmp_path / f"{name}.csv", index=False)
    for suffix in ("keras", "csv"):
        undisturbed, resumed, other = (
            (tmp_path / f"{name}.{suffix}").read_bytes() for name in ("undisturbed", "resumed", "other")
        )
        assert undisturbed == resumed
        assert undisturbed != other


def test_the_best_epoch_by_validation_accuracy_is_kept(data: SpectrogramStore, tmp_path: Path) -> None:
    # A wild learning rate makes accuracy jump about, so that the last epoch is not the best.
    validation = data.split("validation")
    for seed in range(6):
        model, history = train(data, seed, tmp_path / str(seed), learning_rate=0.6)
        save_network(model, tmp_path / "model.keras")
        answers = load_predictor(tmp_path / "model.keras").predict(validation.read(np.arange(len(validation))))
        found = (answers.argmax(axis=1) == validation.label).mean()
        assert found == pytest.approx(history["val_accuracy"].max())
        if history["val_accuracy"].iloc[-1] < history["val_accuracy"].max():
            return
    pytest.fail("no seed ended below its best epoch: the test shows nothing")


def test_the_learning_rate_halves_when_validation_accuracy_stops_rising(
    data: SpectrogramStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SETTINGS", SETTINGS.model_copy(update={"epochs": 30}))
    rates = train(data, 1, tmp_path)[1]["learning_rate"].to_numpy()
    steps = set(np.round(rates[1:] / rates[:-1], 6))
    assert steps == {0.5, 1.0}


def test_a_model_that_learns_in_one_go_has_a_history_of_one_row() -> None:
    right = np.array([[0.9, 0.1], [0.2, 0.8]])
    row = single_epoch_history(right, np.array([0, 1]), right, np.array([1, 1]))
    assert tuple(row) == HISTORY_COLUMNS
    assert (row["accuracy"], row["val_accuracy"]) == (1.0, 0.5)
    assert np.isnan(row["learning_rate"])


def test_the_improved_recipe_gives_the_same_bytes_again_and_the_last_epochs_figures_are_those_of_what_is_stored(
    data: SpectrogramStore, tmp_path: Path
) -> None:
    settings = COMMITTED.crnn.model_copy(update=FEW | {"recipe": "improved", "mixup": 0.2, "weight_average": 0.9})
    training, validation = data.split("training"), data.split("validation")
    for file in ("first", "again"):
        seen: list[dict[str, float]] = []
        model, history = train_network("crnn", training, validation, 2, settings, 3, seen.append, tmp_path / file)
        save_network(model, tmp_path / f"{file}.keras")
        assert seen == history.to_dict("records")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "again.keras").read_bytes()
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    answers = load_predictor(tmp_path / "first.keras").predict(validation.read(np.arange(len(validation))))
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert (answers.argmax(axis=1) == validation.label).mean() == pytest.approx(history["val_accuracy"].iloc[-1])
    stored = h5py.File(io.BytesIO(ZipFile(tmp_path / "first.keras").read("model.weights.h5")))
    names: list[str] = []
    stored.visit(names.append)
    assert names
    assert not [name for name in names if "optimizer" in name]


def test_what_is_trained_in_mixed_precision_answers_in_float32(data: SpectrogramStore, tmp_path: Path) -> None:
    settings = COMMITTED.crnn.model_copy(update=FEW | {"recipe": "improved", "precision": "mixed_float16"})
    training, validation = data.split("training"), data.split("validation")
    computed = set()

    def watch(row: dict[str, float]) -> None:
        assert np.isfinite(row["loss"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "music_genre.training.trainer.in_float32",
            lambda trained, build: computed.add(trained.compute_dtype) or in_float32(trained, build),
        )
        model, history = train_network("crnn", training, validation, 2, settings, 3, watch, tmp_path / "kept")
    assert computed == {"float16"}
    save_network(model, tmp_path / "model.keras")
    assert "mixed" not in ZipFile(tmp_path / "model.keras").read("config.json").decode()
    answers = load_predictor(tmp_path / "model.keras").predict(validation.read(np.arange(len(validation))))
    right = (answers.argmax(axis=1) == validation.label).mean()
    assert right == pytest.approx(history["val_accuracy"].iloc[-1], abs=2 / len(validation))


def test_only_a_network_in_float32_is_arranged_for_a_processor() -> None:
    import tensorflow as tf

    build = partial(build_published, "crnn", (64, 32), 2, COMMITTED.crnn)
    assert isinstance(arranged(build()), Swift) != bool(tf.config.list_physical_devices("GPU"))
    mixed = computing_in("mixed_bfloat16", build)
    assert arranged(mixed) is mixed
    assert mixed.get_layer("genre").compute_dtype == "float32"
    plain = in_float32(mixed, build)
    assert plain.compute_dtype == "float32"
    for one, other in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_rate_rises_then_falls_to_nothing_and_the_weights_are_an_average() -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    settings = SETTINGS.model_copy(update={"warm_up": 0.1, "weight_average": 0.2})
    compile_improved(model, settings, 100)
    rate = [float(model.optimizer._learning_rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rate, [0, 0.005, 0.01, 0.005, 0], atol=1e-9)
    assert model.optimizer.ema_momentum == pytest.approx(0.95)
    assert [model.optimizer._use_weight_decay(weight) for weight in model.trainable_variables] == [True, False]


Run = Callable[[str, Path, Follow], tuple[bytes, pd.DataFrame]]


@pytest.fixture(scope="module")
def run(data: SpectrogramStore) -> Run:
    """Trains a network by its name and gives its bytes and history: the published CRNN, at a wild rate, so that its
    best epoch is not the last; or two copies of the improved network, of clips in three parts under random tone curves.
    """
    settings = {
        "crnn": COMMITTED.crnn.model_copy(
            update={"recipe": "published", "epochs": 6, "batch_size": 8, "learning_rate": 0.3, "pools": (1, 1, 1)}
        ),
        "parallel": COMMITTED.parallel.model_copy(
            update={"epochs": 3, "batch_size": 8, "copies": 2, "parts": 3, "crop": 0, "equaliser": 3.0}
        ),
    }

    def train_and_save(name: str, folder: Path, follow: Follow) -> tuple[bytes, pd.DataFrame]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("music_genre.models.crnn.KERNEL", 1)
            model, history = train_network(
                name, data.split("training"), data.split("validation"), 2, settings[name], 3, follow, folder / "kept"
            )
        save_network(model, folder / "model.keras")
        return (folder / "model.keras").read_bytes(), history

    return train_and_save


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at"), [("crnn", [2, 4, 6]), ("parallel", [1, 3, 5])])
def test_an_interrupted_training_goes_on_to_the_same_weights_and_history(
    run: Run, tmp_path: Path, name: str, at: list[int]
) -> None:
    (tmp_path / "undisturbed").mkdir()
    expected, expected_history = run(name, tmp_path / "undisturbed", lambda row: None)
    moments, seen = iter(at), list[dict[str, float]]()
    interruption = next(moments)

    def on_epoch(row: dict[str, float]) -> None:
        seen.append(row)
        if row["epoch"] == interruption:
            raise Interrupted

    for _ in at:
        with pytest.raises(Interrupted):
            run(name, tmp_path, on_epoch)
        interruption = next(moments, 0)
    seen.clear()
    found, history = run(name, tmp_path, on_epoch)
    assert expected_history["epoch"].tolist() == list(range(1, 7))
    assert found == expected
    pd.testing.assert_frame_equal(history, expected_history)
    assert seen == history.to_dict("records")
