"""Which parts of a clip an answer rests on: integrated gradients, occlusion, and whether they can be believed.

What is taken out of a clip becomes grey: the clip's own mean level, without any structure in time or band.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

Predict = Callable[[np.ndarray], np.ndarray]
"""(n, frames, n_mels) dB to (n, classes) probabilities."""

Gradient = Callable[[np.ndarray, int], np.ndarray]
"""(n, frames, n_mels) dB and a label to the gradient of the label's probability, of the same shape."""

STEPS = 32
"""Between grey and the clip, for integrated gradients."""

TIMES, BANDS = 16, 8
"""Blocks that a clip is cut into, for occlusion."""

TOP_SHARE, DRAWS = 0.10, 8
"""Share of the blocks that is deleted to see whether they mattered, and random choices to compare with."""


def grey(mel: np.ndarray) -> np.ndarray:
    """The clip's mean level in every cell: (frames, n_mels) dB to the same."""
    return np.full_like(mel, mel.mean())


def gradients(networks: Sequence[tuple[keras.Model, float]]) -> Gradient:
    """The gradient of a genre's probability in the weighted average of networks; the weights sum to 1."""
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types here
    def slopes(mel: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(mel)
            answers = [weight * net(tf.reshape(mel, (-1, *net.input_shape[1:]))) for net, weight in networks]
            score = tf.reduce_sum(tf.gather(tf.add_n(answers), label, axis=1))
        return tape.gradient(score, mel)

    return lambda mel, label: np.asarray(slopes(tf.constant(mel), tf.constant(label)))


def integrated_gradients(gradient: Gradient, mel: np.ndarray, label: int) -> np.ndarray:
    """What each cell adds to a genre's probability on the way from grey to the clip (Sundararajan et al., ICML 2017).

    Args:
        gradient: from ``gradients``.
        mel: (frames, n_mels) dB.
        label: position of the genre.

    Returns:
        (frames, n_mels) float32, whose sum is, but for the finite steps, how much likelier the clip is than grey.
    """
    start = grey(mel)
    shares = (np.arange(STEPS, dtype=np.float32)[:, None, None] + 0.5) / STEPS
    path = (start + shares * (mel - start)).astype(np.float32)
    return np.asarray(gradient(path, label).mean(axis=0) * (mel - start))


def occlusion(predict: Predict, mel: np.ndarray, label: int) -> np.ndarray:
    """How much less likely the genre is where a block of the clip is grey.

    Args:
        predict: the model.
        mel: (frames, n_mels) dB.
        label: position of the genre.

    Returns:
        (TIMES, BANDS) float32; fewer where a clip has fewer frames or bands.
    """
    blocks = block_numbers(mel.shape)
    count = int(blocks.max()) + 1
    hidden = np.stack([np.where(blocks == number, mel.mean(), mel) for number in range(count)]).astype(np.float32)
    drop = predict(mel[None])[0, label] - predict(hidden)[:, label]
    return np.asarray(drop.reshape(min(TIMES, mel.shape[0]), -1))


def block_numbers(shape: tuple[int, ...]) -> np.ndarray:
    """(frames, n_mels) numbers of the blocks that cells lie in, counted band by band within a stretch of time."""
    frames, n_mels = shape
    times, bands = min(TIMES, frames), min(BANDS, n_mels)
    return np.asarray((np.arange(frames) * times // frames)[:, None] * bands + np.arange(n_mels) * bands // n_mels)


def in_blocks(saliency: np.ndarray) -> np.ndarray:
    """Sums of (frames, n_mels) over the blocks: (TIMES, BANDS)."""
    sums = np.bincount(block_numbers(saliency.shape).ravel(), saliency.ravel())
    return sums.reshape(min(TIMES, saliency.shape[0]), -1)


def deletion(predict: Predict, mel: np.ndarray, label: int, blocks: np.ndarray, seed: int) -> tuple[float, float]:
    """How much the genre's probability falls where the most salient blocks are deleted, and where random ones are.

    Args:
        predict: the model.
        mel: (frames, n_mels) dB.
        label: position of the genre.
        blocks: (TIMES, BANDS) saliency.
        seed: of the random choices, whose mean fall is returned.
    """
    count = max(1, round(TOP_SHARE * blocks.size))
    random = np.random.default_rng(seed)
    choices = [np.argsort(-blocks.ravel(), kind="stable")[:count]]
    choices += [random.choice(blocks.size, count, replace=False) for _ in range(DRAWS)]
    numbers = block_numbers(mel.shape)
    deleted = np.stack([np.where(np.isin(numbers, choice), mel.mean(), mel) for choice in choices])
    falls = predict(mel[None])[0, label] - predict(deleted.astype(np.float32))[:, label]
    return float(falls[0]), float(falls[1:].mean())
