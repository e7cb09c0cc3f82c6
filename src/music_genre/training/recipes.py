"""Recipes: how a network is trained. ``RECIPES`` has them by their names in ``params.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from music_genre.models.layers import average_over_segments
from music_genre.models.params import ImprovedParams, PublishedParams, RecipeParams
from music_genre.training.augmentation import augment

if TYPE_CHECKING:
    import keras


class Recipe(Protocol):
    """What differs from recipe to recipe.

    Attributes:
        n_seeds: trainings from seed, seed + 1, ...
        n_segments: of a clip, that ``combine`` averages over.
        has_fused_networks: whether networks of this recipe have an equivalent in ``models.cpu_kernels``.
    """

    n_seeds: int
    n_segments: int
    has_fused_networks: bool

    @property
    def params(self) -> RecipeParams:
        """The recipe's section of ``params.yaml``."""

    def compile(self, model: keras.Model, n_steps: int) -> None:
        """Give a model its loss and optimizer, for a training of ``n_steps`` steps."""

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What happens between epochs."""

    def batch(
        self, mel: np.ndarray, labels: np.ndarray, n_classes: int, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the network sees of a batch, and the targets of the loss.

        Args:
            mel: (n, frames, n_mels) float32 dB.
            labels: (n,) int64.
            n_classes: genres.
            rng: of the augmentation; None for validation, which is not augmented.
        """

    def combine(self, networks: Sequence[keras.Model], input_shape: tuple[int, int]) -> keras.Model:
        """One model for whole clips of (frames, n_mels), from the ``n_seeds`` trained networks."""


class PublishedRecipe:
    """The study's recipe: cross-entropy; the learning rate is halved where validation accuracy has not risen by 0.01
    for 10 epochs; the weights of the epoch with the best validation accuracy are kept.
    """

    n_seeds = 1
    n_segments = 1
    has_fused_networks = True

    def __init__(self, params: PublishedParams) -> None:
        self.params = params

    def compile(self, model: keras.Model, n_steps: int) -> None:
        """See ``Recipe``; the number of steps does not matter."""
        from keras import optimizers

        optimizer = optimizers.get({"class_name": self.params.optimizer, "config": {}})
        optimizer.learning_rate = self.params.learning_rate
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Reduction of the learning rate, and the best epoch's weights."""
        from keras import callbacks

        return [
            callbacks.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=10, min_delta=0.01, mode="max"),
            # Never stops: it is Keras' way to keep the best epoch's weights in memory.
            callbacks.EarlyStopping(
                "val_accuracy", patience=self.params.epochs + 1, mode="max", restore_best_weights=True
            ),
        ]

    def batch(
        self, mel: np.ndarray, labels: np.ndarray, n_classes: int, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Clips and labels as they are."""
        return mel, labels

    def combine(self, networks: Sequence[keras.Model], input_shape: tuple[int, int]) -> keras.Model:
        """The one network."""
        return networks[0]


class ImprovedRecipe:
    """The improved recipe: augmentation and smoothed labels; AdamW with linear warm-up and cosine decay; the final
    weights are an exponential moving average. Nothing is selected by validation.
    """

    has_fused_networks = False

    def __init__(self, params: ImprovedParams) -> None:
        self.params = params
        self.n_seeds = params.n_seeds
        self.n_segments = params.n_segments

    def compile(self, model: keras.Model, n_steps: int) -> None:
        """See ``Recipe``; warm-up, decay and moving average are fractions of ``n_steps``."""
        from keras import losses, optimizers

        params = self.params
        warmup_steps = int(params.warmup_fraction * n_steps)
        schedule = optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else params.learning_rate,
            max(1, n_steps - warmup_steps),
            warmup_target=params.learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
        optimizer = optimizers.AdamW(
            schedule,
            weight_decay=params.weight_decay,
            use_ema=params.ema_fraction > 0,
            ema_momentum=1 - 1 / max(1.0, params.ema_fraction * n_steps),
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        loss = losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing)
        model.compile(optimizer, loss, metrics=["accuracy"])

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Validation with the averaged weights."""
        from keras import callbacks

        return [callbacks.SwapEMAWeights()] if self.params.ema_fraction else []

    def batch(
        self, mel: np.ndarray, labels: np.ndarray, n_classes: int, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Clips, augmented in training, and one-hot targets (n, classes) float32."""
        target = np.eye(n_classes, dtype=np.float32)[labels]
        return (mel, target) if rng is None else augment(mel, target, self.params, rng)

    def combine(self, networks: Sequence[keras.Model], input_shape: tuple[int, int]) -> keras.Model:
        """The average over all networks and the ``n_segments`` of a clip."""
        return average_over_segments(networks, input_shape, self.n_segments)


RECIPES: Mapping[str, Any] = {"published": PublishedRecipe, "improved": ImprovedRecipe}


def make_recipe(name: str, params: RecipeParams) -> Recipe:
    """The recipe of a name, with its section of ``params.yaml``."""
    recipe: Recipe = RECIPES[name](params)
    return recipe
