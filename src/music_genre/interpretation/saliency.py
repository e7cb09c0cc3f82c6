"""Which parts of a clip a prediction depends on: integrated gradients, occlusion, and how faithful both are.

What is removed from a clip is replaced by the clip's mean level, which has no structure in time or band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.features.store import ClipDataset

if TYPE_CHECKING:
    import keras

Predict = Callable[[np.ndarray], np.ndarray]  # (n, frames, n_mels) float32 dB to (n, classes) probabilities
GradientFn = Callable[[np.ndarray, int], np.ndarray]  # the same and a label to the gradient of its probability

N_STEPS = 32  # of integrated gradients, between the baseline and the clip
N_TIME_BLOCKS, N_BAND_BLOCKS = 16, 8  # of a clip, for occlusion
DELETED_FRACTION = 0.10  # of the blocks, the most salient ones, deleted to see whether they mattered
N_RANDOM = 8  # random choices of as many blocks, to compare with


@dataclass(frozen=True)
class SaliencyExample:
    """A clip with the saliency of its prediction.

    Args:
        label: position of the clip's genre; None where it is not known.
        predicted: position of the predicted genre, which the saliency is about.
        probability: of the predicted genre.
        mel: (frames, n_mels) float32 dB.
        gradients: (frames, n_mels) integrated gradients; None where the model takes audio.
        occlusion: (time blocks, band blocks) drop of the probability.
    """

    label: int | None
    predicted: int
    probability: float
    mel: np.ndarray
    gradients: np.ndarray | None
    occlusion: np.ndarray


def explain_predictions(predict: Predict, gradient_fn: GradientFn, clips: ClipDataset) -> Iterator[SaliencyExample]:
    """The saliency of each clip's prediction, in order."""
    for mel, label in zip(clips.read(np.arange(len(clips))), clips.label, strict=True):
        probabilities = predict(mel[None])[0]
        predicted = int(probabilities.argmax())
        yield SaliencyExample(
            int(label),
            predicted,
            float(probabilities[predicted]),
            mel,
            integrated_gradients(gradient_fn, mel, predicted),
            occlusion(predict, mel, predicted),
        )


def faithfulness(predict: Predict, examples: Sequence[SaliencyExample], seed: int) -> pd.DataFrame:
    """Whether what the saliency marks matters to the prediction, by ``deletion``.

    Args:
        predict: the model.
        examples: from ``explain_predictions``.
        seed: of the random choices.

    Returns:
        A row for each method: method, clips, drop_top and drop_random (means over clips), win_rate (fraction of the
        clips whose drop_top is larger than their drop_random).
    """
    rows = []
    for example in examples:
        methods = {"occlusion": example.occlusion}
        if example.gradients is not None:
            methods["integrated gradients"] = sum_blocks(example.gradients)
        for method, blocks in methods.items():
            top, random = deletion(predict, example.mel, example.predicted, blocks, seed)
            row = {
                "method": method,
                "clips": 1,
                "drop_top": top,
                "drop_random": random,
                "win_rate": float(top > random),
            }
            rows.append(row)
    aggregations = {"clips": "sum", "drop_top": "mean", "drop_random": "mean", "win_rate": "mean"}
    return pd.DataFrame(rows).groupby("method").agg(aggregations).reset_index()


def mean_baseline(mel: np.ndarray) -> np.ndarray:
    """(frames, n_mels) dB to the same shape with the clip's mean level in every cell."""
    return np.full_like(mel, mel.mean())


def make_gradient_fn(networks: Sequence[tuple[keras.Model, float]]) -> GradientFn:
    """A function that gives the gradient of a genre's probability, averaged over networks, with respect to clips.

    Args:
        networks: with their weights, which sum to 1.
    """
    import tensorflow as tf

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types here
    def gradient(mel: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(mel)
            probabilities = tf.add_n([weight * network(mel) for network, weight in networks])
            score = tf.reduce_sum(tf.gather(probabilities, label, axis=1))
        return tape.gradient(score, mel)

    return lambda mel, label: np.asarray(gradient(tf.constant(mel), tf.constant(label)))


def integrated_gradients(gradient_fn: GradientFn, mel: np.ndarray, label: int) -> np.ndarray:
    """What each cell contributes to a genre's probability (Sundararajan et al., ICML 2017).

    Args:
        gradient_fn: from ``make_gradient_fn``.
        mel: (frames, n_mels) float32 dB.
        label: position of the genre.

    Returns:
        (frames, n_mels) float32, whose sum is, up to the error of finitely many steps, the probability for the clip
        minus that for ``mean_baseline``.
    """
    baseline = mean_baseline(mel)
    fractions = (np.arange(N_STEPS, dtype=np.float32)[:, None, None] + 0.5) / N_STEPS
    path = (baseline + fractions * (mel - baseline)).astype(np.float32)
    return np.asarray(gradient_fn(path, label).mean(axis=0) * (mel - baseline))


def occlusion(predict: Predict, mel: np.ndarray, label: int) -> np.ndarray:
    """How much a genre's probability drops where a block of the clip is replaced by the mean level.

    Args:
        predict: the model.
        mel: (frames, n_mels) float32 dB.
        label: position of the genre.

    Returns:
        (N_TIME_BLOCKS, N_BAND_BLOCKS) float32; fewer blocks where the clip has fewer frames or bands.
    """
    index = block_index(mel.shape)
    occluded = np.stack([np.where(index == block, mel.mean(), mel) for block in range(int(index.max()) + 1)])
    drops = predict(mel[None])[0, label] - predict(occluded.astype(np.float32))[:, label]
    return np.asarray(drops.reshape(min(N_TIME_BLOCKS, mel.shape[0]), -1))


def block_index(shape: tuple[int, ...], n_times: int = N_TIME_BLOCKS, n_bands: int = N_BAND_BLOCKS) -> np.ndarray:
    """The block that each cell of a clip is in: (frames, n_mels) int64, counted along bands, then along time."""
    n_frames, n_mels = shape
    n_times, n_bands = min(n_times, n_frames), min(n_bands, n_mels)
    time, band = np.arange(n_frames) * n_times // n_frames, np.arange(n_mels) * n_bands // n_mels
    return np.asarray(time[:, None] * n_bands + band)


def sum_blocks(values: np.ndarray) -> np.ndarray:
    """Sums of (frames, n_mels) over each block: (N_TIME_BLOCKS, N_BAND_BLOCKS)."""
    sums = np.bincount(block_index(values.shape).ravel(), values.ravel())
    return sums.reshape(min(N_TIME_BLOCKS, values.shape[0]), -1)


def deletion(predict: Predict, mel: np.ndarray, label: int, blocks: np.ndarray, seed: int) -> tuple[float, float]:
    """How much a genre's probability drops where the most salient blocks are deleted, and where random ones are.

    Args:
        predict: the model.
        mel: (frames, n_mels) float32 dB.
        label: position of the genre.
        blocks: (N_TIME_BLOCKS, N_BAND_BLOCKS) saliency.
        seed: of the random choices, whose mean drop is the second value.
    """
    count = max(1, round(DELETED_FRACTION * blocks.size))
    rng = np.random.default_rng(seed)
    choices = [np.argsort(-blocks.ravel(), kind="stable")[:count]]
    choices += [rng.choice(blocks.size, count, replace=False) for _ in range(N_RANDOM)]
    index = block_index(mel.shape)
    deleted = np.stack([np.where(np.isin(index, choice), mel.mean(), mel) for choice in choices])
    drops = predict(mel[None])[0, label] - predict(deleted.astype(np.float32))[:, label]
    return float(drops[0]), float(drops[1:].mean())
