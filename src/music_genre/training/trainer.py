"""Train one model: a Keras network by its recipe, or a classifier in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.errors import MusicGenreError
from music_genre.features.store import MelDataset
from music_genre.models.params import ModelParams, NetworkParams
from music_genre.models.registry import Classifier, Network
from music_genre.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    import keras
    from sklearn.pipeline import Pipeline

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")

HistoryRow = dict[str, float]
"""An epoch's ``HISTORY_COLUMNS``; epochs count from 1."""

OnEpoch = Callable[[HistoryRow], None]

BATCH_SIZE = 64  # clips whose statistics are extracted at a time


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Args:
        training: clips to learn from.
        validation: clips that every history is about, and by which the published recipe chooses an epoch.
        n_classes: genres.
    """

    training: MelDataset
    validation: MelDataset
    n_classes: int


def train_network(
    name: str,
    network: Network,
    params: NetworkParams,
    data: TrainingData,
    seed: int,
    on_epoch: OnEpoch,
    checkpoint_dir: Path,
) -> tuple[keras.Model, pd.DataFrame]:
    """Build and train a network by its active recipe, once for each of the recipe's seeds.

    Args:
        name: of the network, for messages.
        network: what builds it.
        params: its section of ``params.yaml``.
        data: clips.
        seed: of the first training; the next one has the next.
        on_epoch: called after each epoch; after an interruption, with the finished epochs first.
        checkpoint_dir: what an interrupted training continues from; its name must stand for everything that can change
            the outcome.

    Returns:
        A model for whole clips in dB, and its history (``HISTORY_COLUMNS``), in which epochs are counted on from one
        training to the next.

    Raises:
        MusicGenreError: the network's pools leave nothing of clips of this shape.
    """
    recipe = RECIPES[params.recipe](params.hyperparameters)
    build = partial(build_network, name, network, params, data.training.shape, data.n_classes)
    networks: list[keras.Model] = []
    histories: list[pd.DataFrame] = []
    for number in range(recipe.n_seeds):
        epoch_offset = number * recipe.params.epochs

        def log_with_offset(row: HistoryRow, offset: int = epoch_offset) -> None:
            on_epoch({**row, "epoch": row["epoch"] + offset})

        seed_everything(seed + number)
        model = with_dtype_policy(params.precision, build)
        history = fit(model, recipe, data, seed + number, log_with_offset, checkpoint_dir / f"seed{number + 1}")
        networks.append(to_float32(model, build))
        histories.append(history.assign(epoch=history["epoch"] + epoch_offset))
    return recipe.combine(networks, data.training.shape), pd.concat(histories, ignore_index=True)


def build_network(
    name: str, network: Network, params: NetworkParams, input_shape: tuple[int, int], n_classes: int
) -> keras.Model:
    """The untrained network of the active recipe, for clips of (frames, n_mels).

    Raises:
        MusicGenreError: its pools leave nothing of clips of this shape.
    """
    try:
        return network.builders[params.recipe](input_shape, n_classes, params.hyperparameters)
    except ValueError as error:
        raise MusicGenreError(
            f"models.{name}.{params.recipe}: its pools leave nothing of clips of {input_shape[0]} frames and"
            f" {input_shape[1]} bands; choose smaller ones"
        ) from error


def with_dtype_policy(precision: str, build: Callable[[], keras.Model]) -> keras.Model:
    """What ``build`` makes, computing in a precision (Keras' dtype policy of that name) with weights in float32."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def to_float32(trained: keras.Model, build: Callable[[], keras.Model]) -> keras.Model:
    """A trained model as it is, or one that ``build`` makes with the same weights, that computes in float32."""
    if trained.compute_dtype == "float32":
        return trained
    model = build()
    model.set_weights(trained.get_weights())
    return model


def optimize_for_device(model: keras.Model) -> keras.Model:
    """A compiled network as this device trains it fastest, sharing its weights and optimizer: on a CPU and in float32,
    the published networks run on fused kernels.
    """
    import tensorflow as tf

    from music_genre.models.cpu_kernels.fused import FORWARD, CpuFusedNetwork

    on_gpu = tf.config.list_physical_devices("GPU")
    if on_gpu or model.compute_dtype != "float32" or model.name not in FORWARD:
        return model
    return CpuFusedNetwork(model)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow; on a GPU, also select deterministic kernels.

    On a CPU the usual kernels give the same bytes from run to run, and the deterministic ones are slower.
    """
    import keras
    import tensorflow as tf

    keras.utils.clear_session()  # layers without a name are counted from the start
    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def fit(
    model: keras.Model, recipe: Recipe, data: TrainingData, seed: int, on_epoch: OnEpoch, checkpoint_dir: Path
) -> pd.DataFrame:
    """Train ``model`` in place by a recipe; an interrupted training continues after its last finished epoch and ends
    with the same weights.

    Args:
        model: not compiled.
        recipe: how.
        data: clips.
        seed: of the order of the clips, and of the augmentation.
        on_epoch: called after each epoch; after an interruption, with the finished epochs first.
        checkpoint_dir: what an interrupted training continues from.

    Returns:
        ``HISTORY_COLUMNS``, a row an epoch.
    """
    from keras import callbacks

    from music_genre.training.checkpoint import Checkpoint
    from music_genre.training.data import MelBatches

    history: list[HistoryRow] = []
    epochs, batch_size = recipe.params.epochs, recipe.params.batch_size
    recipe.compile(model, epochs * -(-len(data.training) // batch_size))
    if recipe.has_fused_networks:
        model = optimize_for_device(model)

    def record(epoch: int, logs: HistoryRow) -> None:
        values = {**logs, "epoch": epoch + 1, "learning_rate": float(model.optimizer.learning_rate)}
        history.append({name: values[name] for name in HISTORY_COLUMNS})
        on_epoch(history[-1])

    between_epochs = recipe.callbacks()
    checkpoint = Checkpoint(checkpoint_dir, between_epochs, history)
    initial_epoch = checkpoint.restore(model)
    for row in history:
        on_epoch(row)
    val_data = MelBatches(data.validation, recipe, data.n_classes)
    _build_optimizer_state(model, *val_data[0])
    model.fit(
        MelBatches(data.training, recipe, data.n_classes, seed, initial_epoch),
        validation_data=val_data,
        initial_epoch=initial_epoch,
        epochs=epochs,
        # MelBatches shuffles clips; Keras would shuffle batches by a state that is lost with an interruption.
        shuffle=False,
        verbose=2,
        callbacks=[callbacks.LambdaCallback(on_epoch_end=record), *between_epochs, checkpoint],
    )
    return pd.DataFrame(history)


def _build_optimizer_state(model: keras.Model, mel: np.ndarray, target: np.ndarray) -> None:
    """Make the variables of the optimizer and of the metrics: else Keras makes them in the first step and traces it
    twice, which takes as long as some epochs of a small collection.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(mel, target, np.zeros((len(target), model.output_shape[-1]), np.float32))
    model.reset_metrics()


def train_classifier(classifier: Classifier, params: ModelParams, data: TrainingData) -> tuple[Pipeline, pd.DataFrame]:
    """Fit a classifier, and its history of one row (``HISTORY_COLUMNS``)."""
    from sklearn.metrics import log_loss

    features = _extract(classifier, params, data.training)
    fitted = classifier.fit(features, data.training.label, params)
    row: HistoryRow = {"epoch": 1, "learning_rate": float("nan")}
    for prefix, x, labels in (
        ("", features, data.training.label),
        ("val_", _extract(classifier, params, data.validation), data.validation.label),
    ):
        probabilities = fitted.predict_proba(x).astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        row[f"{prefix}loss"] = float(log_loss(labels, probabilities, labels=np.arange(data.n_classes)))
        row[f"{prefix}accuracy"] = float(np.mean(probabilities.argmax(axis=1) == labels))
    return fitted, pd.DataFrame([row], columns=list(HISTORY_COLUMNS))


def _extract(classifier: Classifier, params: ModelParams, clips: MelDataset) -> np.ndarray:
    """(n, features) of all clips, a batch at a time."""
    return np.concatenate([classifier.extract(mel, params) for mel in clips.batches(BATCH_SIZE)])
