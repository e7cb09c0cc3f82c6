"""Train one model: a Keras network by its recipe, or a classifier in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.datasets.names import artist_groups
from music_genre.errors import MusicGenreError
from music_genre.features.store import ClipDataset, EmbeddingStore
from music_genre.models.linear_head import LinearHead
from music_genre.models.params import ModelParams, NetworkParams
from music_genre.models.registry import Classifier, EmbeddingClassifier, Network, get_model
from music_genre.training.recipes import Recipe, make_recipe

if TYPE_CHECKING:
    import keras
    from sklearn.pipeline import Pipeline

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")

HistoryRow = dict[str, float]  # an epoch's ``HISTORY_COLUMNS``; epochs count from 1

EXTRACT_BATCH_SIZE = 64  # clips whose features are extracted at a time


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on.

    Args:
        training: clips to learn from.
        validation: clips that are evaluated after each epoch, and by which the published recipe selects one.
        n_classes: genres.
    """

    training: ClipDataset
    validation: ClipDataset
    n_classes: int


@dataclass(frozen=True)
class TrainJob:
    """A training that continues after an interruption.

    Args:
        data: clips.
        seed: of the weights, the order of the clips and the augmentation.
        on_epoch: called after each epoch; after an interruption, with the finished epochs first.
        checkpoint_dir: what an interrupted training continues from; its name must stand for everything that can change
            the outcome.
    """

    data: TrainingData
    seed: int
    on_epoch: Callable[[HistoryRow], None]
    checkpoint_dir: Path

    def nth(self, number: int, epoch_offset: int) -> TrainJob:
        """The job of the ``number``-th of several seeds, from 0, whose epochs count on from ``epoch_offset``."""
        return replace(
            self,
            seed=self.seed + number,
            on_epoch=lambda row: self.on_epoch({**row, "epoch": row["epoch"] + epoch_offset}),
            checkpoint_dir=self.checkpoint_dir / f"seed{number + 1}",
        )


def train_network(name: str, params: NetworkParams, job: TrainJob) -> tuple[keras.Model, pd.DataFrame]:
    """Build and train the network of ``models/<name>.py`` by its active recipe, once for each of the recipe's seeds.

    Args:
        name: of the network.
        params: its section of ``params.yaml``.
        job: clips, seed and checkpoints.

    Returns:
        A model for whole clips in dB, and its history (``HISTORY_COLUMNS``), in which the epochs of a further seed
        count on.

    Raises:
        MusicGenreError: the recipe cannot build a network for clips of this shape, or cut them into its segments.
    """
    recipe, input_shape = make_recipe(params.recipe, params.active_recipe), job.data.training.shape
    if recipe.n_segments > input_shape[0]:
        raise MusicGenreError(
            f"models.{name}.{params.recipe}.n_segments: found {recipe.n_segments}; a clip has {input_shape[0]} frames"
        )
    build = partial(build_network, name, params, input_shape, job.data.n_classes)
    networks: list[keras.Model] = []
    histories: list[pd.DataFrame] = []
    for number in range(recipe.n_seeds):
        epoch_offset = number * recipe.params.epochs
        seed_job = job.nth(number, epoch_offset)
        seed_everything(seed_job.seed)
        model = with_dtype_policy(params.precision, build)
        history = fit(model, recipe, seed_job)
        networks.append(to_float32(model, build))
        histories.append(history.assign(epoch=history["epoch"] + epoch_offset))
    return recipe.combine(networks, input_shape), pd.concat(histories, ignore_index=True)


def build_network(name: str, params: NetworkParams, input_shape: tuple[int, int], n_classes: int) -> keras.Model:
    """The untrained network of the active recipe, not compiled, for clips of (frames, n_mels).

    Raises:
        MusicGenreError: the recipe cannot build a network for clips of this shape.
        ValueError: the model is no network.
    """
    network = get_model(name)
    if not isinstance(network, Network):
        raise ValueError(f"{name} is no network")
    try:
        return network.builders[params.recipe](input_shape, n_classes, params.active_recipe)
    except ValueError as error:
        n_frames, n_mels = input_shape
        raise MusicGenreError(
            f"models.{name}.{params.recipe}: there is no such network for clips of {n_frames} frames and {n_mels}"
            f" bands; choose smaller pools ({' '.join(str(error).split())[:200]})"
        ) from error


def with_dtype_policy(precision: str, build: Callable[[], keras.Model]) -> keras.Model:
    """What ``build`` makes under Keras' dtype policy ``precision``; its weights are in float32."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def to_float32(trained: keras.Model, build: Callable[[], keras.Model]) -> keras.Model:
    """A network with the weights of ``trained`` that computes in float32: ``trained`` itself, or one of ``build``."""
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


def fit(model: keras.Model, recipe: Recipe, job: TrainJob) -> pd.DataFrame:
    """Train ``model``, which is not compiled, in place by a recipe; a training that was interrupted ends with the same
    weights as one that was not.

    Returns:
        ``HISTORY_COLUMNS``, a row an epoch.
    """
    from keras import callbacks

    from music_genre.training.checkpoint import Checkpoint
    from music_genre.training.data import MelBatches

    history: list[HistoryRow] = []
    data, epochs = job.data, recipe.params.epochs
    recipe.compile(model, epochs * -(-len(data.training) // recipe.params.batch_size))
    if recipe.has_fused_networks:
        model = optimize_for_device(model)

    def record(epoch: int, logs: HistoryRow) -> None:
        values = {**logs, "epoch": epoch + 1, "learning_rate": float(model.optimizer.learning_rate)}
        history.append({name: values[name] for name in HISTORY_COLUMNS})
        job.on_epoch(history[-1])

    between_epochs = recipe.callbacks()
    checkpoint = Checkpoint(job.checkpoint_dir, between_epochs, history)
    initial_epoch = checkpoint.restore(model)
    for row in history:
        job.on_epoch(row)
    val_data = MelBatches(data.validation, recipe, data.n_classes)
    _build_optimizer_state(model, *val_data[0])
    model.fit(
        MelBatches(data.training, recipe, data.n_classes, job.seed, initial_epoch),
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
    """Fit a classifier.

    Returns:
        The fitted pipeline, and its history of one row (``HISTORY_COLUMNS``).
    """
    features = _extract(classifier, params, data.training)
    fitted = classifier.fit(features, data.training.label, params)
    row: HistoryRow = {"epoch": 1, "learning_rate": float("nan")}
    for prefix, x, labels in (
        ("", features, data.training.label),
        ("val_", _extract(classifier, params, data.validation), data.validation.label),
    ):
        row |= {f"{prefix}{name}": value for name, value in _scores(fitted.predict_proba(x), labels).items()}
    return fitted, pd.DataFrame([row], columns=list(HISTORY_COLUMNS))


def train_head(
    classifier: EmbeddingClassifier, params: ModelParams, store: EmbeddingStore
) -> tuple[LinearHead, pd.DataFrame]:
    """Fit a classifier on embeddings, no artist of whose clips is in two of the folds that it chooses by.

    Returns:
        The classifier, and its history of one row (``HISTORY_COLUMNS``).
    """
    clips, validation = store.split("training").subsample(params.train_fraction), store.split("validation")
    embeddings = clips.read(np.arange(len(clips)))
    artists = artist_groups(store.index.set_index("track_id")["artist_id"].loc[clips.track_id])
    head = classifier.fit(embeddings, clips.label, artists, len(store.genres), params)
    row: HistoryRow = {"epoch": 1, "learning_rate": float("nan")}
    for prefix, x, labels in (
        ("", embeddings, clips.label),
        ("val_", validation.read(np.arange(len(validation))), validation.label),
    ):
        row |= {f"{prefix}{name}": value for name, value in _scores(head.predict(x), labels).items()}
    return head, pd.DataFrame([row], columns=list(HISTORY_COLUMNS))


def _scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Log loss and accuracy of (n, classes) probabilities."""
    from sklearn.metrics import log_loss

    normalized = probabilities.astype(np.float64)
    normalized /= normalized.sum(axis=1, keepdims=True)
    loss = float(log_loss(labels, normalized, labels=np.arange(normalized.shape[1])))
    return {"loss": loss, "accuracy": float(np.mean(normalized.argmax(axis=1) == labels))}


def _extract(classifier: Classifier, params: ModelParams, clips: ClipDataset) -> np.ndarray:
    """(n, features) of all clips, a batch at a time."""
    return np.concatenate([classifier.extract(mel, params) for mel in clips.batches(EXTRACT_BATCH_SIZE)])
