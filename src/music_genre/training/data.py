"""Batches of clips for Keras, read from disk as they are needed."""

from __future__ import annotations

import numpy as np
from keras.utils import PyDataset

from music_genre.features.store import MelDataset
from music_genre.training.recipes import Recipe


class MelBatches(PyDataset):  # type: ignore[misc]  # Keras has no types
    """Clips in batches; with a seed, shuffled anew each epoch and augmented as the recipe does.

    Args:
        clips: of one split.
        recipe: makes a batch what the network sees.
        n_classes: genres.
        seed: of the order and the augmentation; None: in order, as they are.
        epoch: the first, counted from 0.
    """

    def __init__(
        self, clips: MelDataset, recipe: Recipe, n_classes: int, seed: int | None = None, epoch: int = 0
    ) -> None:
        super().__init__()
        self.clips, self.recipe, self.n_classes, self.seed = clips, recipe, n_classes, seed
        self.batch_size = int(recipe.params.batch_size)
        self.order = np.arange(len(clips))
        self.epoch = epoch - 1
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self.clips) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        # A generator a batch, so that a batch is the same whichever was read before it.
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, number))
        return self.recipe.batch(self.clips.read(rows), self.clips.label[rows], self.n_classes, rng)

    def on_epoch_end(self) -> None:
        self.epoch += 1
        if self.seed is not None:
            self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.clips))
