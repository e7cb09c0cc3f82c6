"""Batches of clips for Keras, read from disk as they are needed."""

from __future__ import annotations

import numpy as np
from keras.utils import PyDataset

from music_genre.features.store import ClipDataset
from music_genre.training.recipes import Recipe


class MelBatches(PyDataset):  # type: ignore[misc]  # Keras has no types
    """Clips in batches; with a seed, shuffled anew each epoch and augmented as the recipe does.

    Args:
        clips: of one split.
        recipe: its ``batch`` makes of clips and labels what the network sees.
        n_classes: genres.
        seed: of the order and the augmentation; None: in order and not augmented.
        initial_epoch: number of finished epochs.
    """

    def __init__(
        self, clips: ClipDataset, recipe: Recipe, n_classes: int, seed: int | None = None, initial_epoch: int = 0
    ) -> None:
        super().__init__()
        self.clips, self.recipe, self.n_classes, self.seed = clips, recipe, n_classes, seed
        self.batch_size = recipe.params.batch_size
        self.order = np.arange(len(clips))
        self.epoch = initial_epoch
        self._shuffle()

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.clips) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips (n, frames, n_mels) float32 dB and what the loss compares predictions with."""
        positions = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        # A generator a batch, so that a batch is the same whichever was read before it.
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, number))
        return self.recipe.batch(self.clips.read(positions), self.clips.label[positions], self.n_classes, rng)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        if self.seed is not None:
            self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.clips))
