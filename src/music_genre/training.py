"""Train a network on shards, by the study's rules."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from music_genre.errors import MusicGenreError
from music_genre.params import NetworkParams
from music_genre.shards import SplitArrays

if TYPE_CHECKING:
    import keras

Row = dict[str, float]
"""An epoch's ``HISTORY_COLUMNS``; epochs count from 1."""

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def build_network(name: str, input_shape: tuple[int, int], classes: int, settings: NetworkParams) -> keras.Model:
    """The untrained network of ``networks/<name>.py``.

    Raises:
        MusicGenreError: its pools leave nothing of clips of this shape.
    """
    network = import_module(f"music_genre.networks.{name}")
    try:
        return network.build(input_shape, classes, settings)
    except ValueError as error:
        frames, n_mels = input_shape
        raise MusicGenreError(
            f"models.{name}.pools leave nothing of clips of {frames} frames and {n_mels} bands; choose smaller ones"
        ) from error


def make_deterministic(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow; on a GPU also ask TensorFlow for kernels that add in one order.

    On a CPU the usual kernels give the same bytes from run to run, and the others take longer.
    """
    import keras
    import tensorflow as tf

    keras.utils.clear_session()  # layers without a name are counted from the start
    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def fit(
    model: keras.Model,
    training: SplitArrays,
    validation: SplitArrays,
    settings: NetworkParams,
    seed: int,
    on_epoch: Callable[[Row], None],
) -> pd.DataFrame:
    """Train ``model`` in place; it ends with the weights of its best epoch by validation accuracy.

    The learning rate is halved when validation accuracy has not risen by 0.01 for 10 epochs.

    Args:
        model: compiled.
        training: clips to learn from, in a new order each epoch.
        validation: clips to choose the epoch by.
        settings: epochs and batch size.
        seed: of the order.
        on_epoch: called after each epoch.

    Returns:
        ``HISTORY_COLUMNS``, a row an epoch.
    """
    from keras import callbacks

    rows: list[Row] = []

    def record(epoch: int, logs: Row) -> None:
        figures = {**logs, "epoch": epoch + 1, "learning_rate": float(model.optimizer.learning_rate)}
        rows.append({name: figures[name] for name in HISTORY_COLUMNS})
        on_epoch(rows[-1])

    model.fit(
        _batches(training, settings.batch_size, seed),
        validation_data=_batches(validation, settings.batch_size, None),
        epochs=settings.epochs,
        verbose=2,
        callbacks=[
            callbacks.LambdaCallback(on_epoch_end=record),
            callbacks.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=10, min_delta=0.01, mode="max"),
            # Never stops: it is Keras' way to keep the best epoch's weights in memory.
            callbacks.EarlyStopping(
                "val_accuracy", patience=settings.epochs + 1, mode="max", restore_best_weights=True
            ),
        ],
    )
    return pd.DataFrame(rows)


def one_epoch(training: np.ndarray, label: np.ndarray, validation: np.ndarray, validation_label: np.ndarray) -> Row:
    """The history of a model that learns in one go, from its probabilities (n, classes) and the right classes (n,)."""
    from music_genre.evaluation import summary

    learnt, held_out = summary(label, training), summary(validation_label, validation)
    return {
        "epoch": 1,
        "loss": learnt["log_loss"],
        "accuracy": learnt["accuracy"],
        "val_loss": held_out["log_loss"],
        "val_accuracy": held_out["accuracy"],
        "learning_rate": float("nan"),
    }


def _batches(clips: SplitArrays, size: int, shuffle_seed: int | None) -> Any:
    """A Keras data set that reads each batch from disk; shuffled anew each epoch where there is a seed."""
    from keras.utils import PyDataset

    class Batches(PyDataset):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.random = np.random.default_rng(shuffle_seed)
            self.order = np.arange(len(clips))
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(clips) // size)

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            positions = self.order[number * size : (number + 1) * size]
            return clips.read(positions), clips.label[positions]

        def on_epoch_end(self) -> None:
            if shuffle_seed is not None:
                self.order = self.random.permutation(len(clips))

    return Batches()
