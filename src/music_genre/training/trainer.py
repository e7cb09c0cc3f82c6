"""Train a network on shards: by the study's rules, or by better ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from music_genre.errors import MusicGenreError
from music_genre.features.store import MelDataset
from music_genre.models.assembly import assemble
from music_genre.params import NetworkParams
from music_genre.training.augmentation import augment

if TYPE_CHECKING:
    import keras

Row = dict[str, float]
"""An epoch's ``HISTORY_COLUMNS``; epochs count from 1."""

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def train(
    name: str,
    training: MelDataset,
    validation: MelDataset,
    classes: int,
    settings: NetworkParams,
    seed: int,
    on_epoch: Callable[[Row], None],
    kept: Path,
) -> tuple[keras.Model, pd.DataFrame]:
    """Build and train the network of ``networks/<name>.py``; the improved recipe as often as ``settings.copies`` says.

    Args:
        name: crnn or parallel.
        training: clips to learn from.
        validation: clips that the published rules choose an epoch by, and every history is about.
        classes: genres.
        settings: the recipe.
        seed: of the first copy; the next has the next.
        on_epoch: called after each epoch.
        kept: folder for what an interrupted training goes on from; its name must stand for everything that can
            change the outcome.

    Returns:
        A model for whole clips in dB, and its history, where the epochs of a further copy count on.
    """
    if settings.recipe == "published":
        make_deterministic(seed)
        build = partial(build_published, name, training.shape, classes, settings)
        model = computing_in(settings.precision, build)
        history = fit(arranged(model), training, validation, settings, seed, on_epoch, kept)
        return in_float32(model, build), history

    copies: list[keras.Model] = []
    histories: list[pd.DataFrame] = []
    for number in range(settings.copies):
        before = number * settings.epochs

        def count_on(row: Row, before: int = before) -> None:
            on_epoch({**row, "epoch": row["epoch"] + before})

        make_deterministic(seed + number)
        build = partial(import_module(f"music_genre.models.{name}").improved, training.shape[1], classes, settings)
        model = computing_in(settings.precision, build)
        history = fit(model, training, validation, settings, seed + number, count_on, kept / f"copy{number + 1}")
        copies.append(in_float32(model, build))
        histories.append(history.assign(epoch=history["epoch"] + before))
    input_shape = (*training.shape, 1) if name == "parallel" else training.shape
    return assemble(copies, input_shape, settings.parts), pd.concat(histories, ignore_index=True)


def build_published(name: str, shape: tuple[int, int], classes: int, settings: NetworkParams) -> keras.Model:
    """The untrained published network of ``networks/<name>.py``, compiled, for clips of (frames, n_mels).

    Raises:
        MusicGenreError: its pools leave nothing of clips of this shape.
    """
    network = import_module(f"music_genre.models.{name}")
    try:
        return network.published(shape, classes, settings)
    except ValueError as error:
        raise MusicGenreError(
            f"models.{name}.pools leave nothing of clips of {shape[0]} frames and {shape[1]} bands; choose smaller ones"
        ) from error


def computing_in(precision: str, build: Callable[[], keras.Model]) -> keras.Model:
    """What ``build`` makes, computing in a precision (Keras' dtype policy of that name) with weights in float32."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(trained: keras.Model, build: Callable[[], keras.Model]) -> keras.Model:
    """A trained model, or one that ``build`` makes with its weights, that computes in float32, as all who answer do."""
    if trained.compute_dtype == "float32":
        return trained
    model = build()
    model.set_weights(trained.get_weights())
    return model


def arranged(model: keras.Model) -> keras.Model:
    """A published network as this machine trains it fastest, with the very weights: a GPU takes it as it is, and so
    does a processor what is not in float32.
    """
    import tensorflow as tf

    from music_genre.models.cpu_kernels.fused import Swift

    plain = tf.config.list_physical_devices("GPU") or model.compute_dtype != "float32"
    return model if plain else Swift(model)


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
    training: MelDataset,
    validation: MelDataset,
    settings: NetworkParams,
    seed: int,
    on_epoch: Callable[[Row], None],
    kept: Path,
) -> pd.DataFrame:
    """Train ``model`` in place, by the rules of its recipe; an interrupted training goes on after its last epoch and
    ends with the same weights.

    Published: it ends with the weights of its best epoch by validation accuracy, and the learning rate is halved when
    that has not risen by 0.01 for 10 epochs. Improved: see ``compile_improved``; nothing is chosen by validation.

    Args:
        model: compiled, where the recipe is the published one.
        training: clips to learn from, in a new order each epoch.
        validation: clips to look at after each epoch.
        settings: the recipe.
        seed: of the order, and of what is done to a clip.
        on_epoch: called after each epoch; after an interruption, with the epochs that are done first.
        kept: folder for what an interrupted training goes on from.

    Returns:
        ``HISTORY_COLUMNS``, a row an epoch.
    """
    from keras import callbacks

    from music_genre.training.checkpoint import Checkpoint

    rows: list[Row] = []

    def record(epoch: int, logs: Row) -> None:
        figures = {**logs, "epoch": epoch + 1, "learning_rate": float(model.optimizer.learning_rate)}
        rows.append({name: figures[name] for name in HISTORY_COLUMNS})
        on_epoch(rows[-1])

    classes = model.output_shape[-1]
    if settings.recipe == "improved":
        compile_improved(model, settings, settings.epochs * -(-len(training) // settings.batch_size))
    rules = _rules(settings)
    checkpoint = Checkpoint(kept, rules, rows)
    done = checkpoint.restore(model)
    for row in rows:
        on_epoch(row)
    held_out = _batches(validation, settings, classes, None)
    _make_variables(model, *held_out[0])
    model.fit(
        _batches(training, settings, classes, seed, done),
        validation_data=held_out,
        initial_epoch=done,
        epochs=settings.epochs,
        shuffle=False,  # of batches, by a state that no interruption survives; clips are shuffled anyway
        verbose=2,
        callbacks=[callbacks.LambdaCallback(on_epoch_end=record), *rules, checkpoint],
    )
    return pd.DataFrame(rows)


def _make_variables(model: keras.Model, mel: np.ndarray, target: np.ndarray) -> None:
    """Make those of the optimizer and of the metrics, or Keras makes them in the first step and traces it twice: it
    takes as long as some epochs of a small collection.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(mel, target, np.zeros((len(target), model.output_shape[-1]), np.float32))
    model.reset_metrics()


def compile_improved(model: keras.Model, settings: NetworkParams, steps: int) -> None:
    """Cross-entropy with smoothed labels; AdamW whose rate rises, then falls to 0 along a cosine, and whose weights are
    averaged: the model that is judged is the average.

    Args:
        model: not compiled.
        settings: the recipe.
        steps: of the whole training.
    """
    from keras import losses, optimizers

    warm_up = int(settings.warm_up * steps)
    rate = optimizers.schedules.CosineDecay(
        0.0 if warm_up else settings.learning_rate,
        max(1, steps - warm_up),
        warmup_target=settings.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )
    optimizer = optimizers.AdamW(
        rate,
        weight_decay=settings.weight_decay,
        use_ema=settings.weight_average > 0,
        ema_momentum=1 - 1 / max(1.0, settings.weight_average * steps),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer, losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing), metrics=["accuracy"]
    )


def _rules(settings: NetworkParams) -> list[keras.callbacks.Callback]:
    """What a recipe does between epochs."""
    from keras import callbacks

    if settings.recipe == "improved":
        return [callbacks.SwapEMAWeights()] if settings.weight_average else []
    return [
        callbacks.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=10, min_delta=0.01, mode="max"),
        # Never stops: it is Keras' way to keep the best epoch's weights in memory.
        callbacks.EarlyStopping("val_accuracy", patience=settings.epochs + 1, mode="max", restore_best_weights=True),
    ]


def single_epoch_history(
    training: np.ndarray, label: np.ndarray, validation: np.ndarray, validation_label: np.ndarray
) -> Row:
    """The history of a model that learns in one go, from its probabilities (n, classes) and the right classes (n,)."""
    from music_genre.evaluation.metrics import probability_scores

    return {
        "epoch": 1,
        "loss": probability_scores(label, training)["log_loss"],
        "accuracy": float(np.mean(training.argmax(axis=1) == label)),
        "val_loss": probability_scores(validation_label, validation)["log_loss"],
        "val_accuracy": float(np.mean(validation.argmax(axis=1) == validation_label)),
        "learning_rate": float("nan"),
    }


def _batches(clips: MelDataset, settings: NetworkParams, classes: int, seed: int | None, epoch: int = 0) -> Any:
    """A Keras data set that reads each batch from disk; shuffled anew each epoch, and augmented where the recipe is
    the improved one, if there is a seed. It begins with ``epoch``, counted from 0.
    """
    from keras.utils import PyDataset

    size = settings.batch_size

    class Batches(PyDataset):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.order = np.arange(len(clips))
            self.epoch = epoch - 1
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(clips) // size)

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            positions = self.order[number * size : (number + 1) * size]
            mel, label = clips.read(positions), clips.label[positions]
            if settings.recipe == "published":
                return mel, label
            target = np.eye(classes, dtype=np.float32)[label]
            if seed is None:
                return mel, target
            # Of its own, so that a batch is the same whichever was read before it.
            return augment(mel, target, settings, np.random.default_rng((seed, self.epoch, number)))

        def on_epoch_end(self) -> None:
            self.epoch += 1
            if seed is not None:
                self.order = np.random.default_rng((seed, self.epoch)).permutation(len(clips))

    return Batches()
