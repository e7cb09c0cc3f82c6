"""What a convolution's filters answer to: spectrograms made to wake one filter, and the maps of real clips.

Activation maximisation after Erhan et al. (Visualizing higher-layer features of a deep network, 2009), made legible as
by Olah et al. (Feature visualization, Distill 2017): the ascent moves waves instead of cells, slow ones further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.explain.layers import WINDOW_FRAMES, Part, maps
from music_genre.shards import SplitArrays
from music_genre.transform import FLOOR_DB

if TYPE_CHECKING:
    import keras

BATCH = 64
STEPS, RATE = 80, 0.05
ROUGHNESS = 0.3
"""What a mean difference of 1 (80 dB) between neighbouring cells costs, in deviations of the filter's activation."""

START = 0.15
"""Deviation of the noise that the ascent starts from, on the logistic scale; the training mean is its middle."""


def listener(part: Part, shape: tuple[int, int]) -> keras.Model:
    """``layers.maps`` of a part over ``WINDOW_FRAMES``, or over a whole clip where that is too short for it.

    Args:
        part: a convolution.
        shape: (frames, n_mels) of a clip.
    """
    frames, n_mels = shape
    try:
        return maps(part, min(frames, WINDOW_FRAMES), n_mels)
    except ValueError:
        return maps(part, frames, n_mels)


def activations(heard: keras.Model, mel: np.ndarray) -> np.ndarray:
    """Mean of each filter's map.

    Args:
        heard: from ``listener``, over w frames.
        mel: (n, w or more frames, n_mels) dB; longer clips are heard in stretches of w frames.

    Returns:
        (n, stretches, filters) float32.
    """
    width = heard.input_shape[1]
    stretches = mel.shape[1] // width
    cut = mel[:, : stretches * width].reshape(-1, width, mel.shape[2])
    parts = [heard(cut[start : start + BATCH]).numpy() for start in range(0, len(cut), BATCH)]
    means = np.concatenate([part.mean(axis=tuple(range(1, part.ndim - 1))) for part in parts])
    return means.reshape(len(mel), stretches, -1)


def answers(heard: keras.Model, clips: SplitArrays) -> np.ndarray:
    """``activations`` of every clip of a split, in order."""
    return np.concatenate([activations(heard, mel) for mel in clips.batches(BATCH)])


def tell_apart(answered: np.ndarray, label: np.ndarray, genres: Sequence[str]) -> pd.DataFrame:
    """Which filters hear genres: a row a filter.

    Args:
        answered: (n, stretches, filters) of real clips.
        label: (n,) positions of their genres.
        genres: in label order.

    Returns:
        filter; real_mean, real_deviation over clips, real_maximum over stretches; between, the share of the variance
        over clips that lies between genres; genre, the one that wakes it most.
    """
    clips = answered.mean(axis=1)
    present = np.unique(label)
    means = np.stack([clips[label == code].mean(axis=0) for code in present])
    share = np.bincount(label)[present, None] / len(label)
    variance = clips.var(axis=0)
    between = (share * (means - clips.mean(axis=0)) ** 2).sum(axis=0)
    return pd.DataFrame(
        {
            "filter": np.arange(clips.shape[1]),
            "real_mean": clips.mean(axis=0),
            "real_deviation": clips.std(axis=0),
            "real_maximum": answered.max(axis=(0, 1)),
            "between": np.divide(between, variance, out=np.zeros_like(between), where=variance > 0),
            "genre": np.asarray(genres)[present[means.argmax(axis=0)]],
        }
    )


def maximise(heard: keras.Model, chosen: np.ndarray, unit: np.ndarray, mean: np.ndarray, seed: int) -> np.ndarray:
    """Spectrograms that wake one filter each.

    Args:
        heard: from ``listener``.
        chosen: (k,) filters.
        unit: (k,) what counts as one of each filter's activation: its deviation over real clips.
        mean: (n_mels,) dB, mean of the training clips in each band.
        seed: of the noise at the start.

    Returns:
        (k, frames, n_mels) float32 in [-80, 0] dB.
    """
    import keras
    import tensorflow as tf

    shape = heard.input_shape[1:]
    level = np.clip(1 - mean / FLOOR_DB, 0.02, 0.98)
    middle = tf.constant(np.log(level / (1 - level)), tf.float32)
    slow = tf.constant(_slowness(shape))
    noise = np.random.default_rng(seed).normal(size=(len(chosen), *shape)).astype(np.float32)
    start = tf.signal.rfft2d(noise) * tf.cast(START, tf.complex64)
    waves = keras.Variable(np.stack([tf.math.real(start), tf.math.imag(start)]))
    optimizer = keras.optimizers.Adam(RATE * float(np.sqrt(np.prod(shape))))
    one, scale = tf.one_hot(chosen, heard.output_shape[-1]), tf.constant(1 / np.maximum(unit, 1e-6), tf.float32)

    def picture() -> tf.Tensor:
        """(k, frames, n_mels) in [0, 1]."""
        waved = tf.signal.irfft2d(slow * tf.complex(waves.value[0], waves.value[1]), shape)
        return tf.sigmoid(middle + waved)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types here
    def ascend() -> None:
        with tf.GradientTape() as tape:
            seen = picture()
            answer = heard((1 - seen) * FLOOR_DB)
            means = tf.reduce_mean(answer, axis=list(range(1, len(answer.shape) - 1)))
            woken = tf.reduce_sum(means * one, axis=1) * scale
            rough = tf.add_n([tf.reduce_mean(tf.abs(d)) for d in _differences(seen)])
            loss = ROUGHNESS * len(chosen) * rough - tf.reduce_sum(woken)
        optimizer.apply([tape.gradient(loss, waves.value)], [waves])

    for _ in range(STEPS):
        ascend()
    return np.asarray((1 - picture().numpy()) * FLOOR_DB)


def _slowness(shape: tuple[int, int]) -> np.ndarray:
    """(frames, n_mels // 2 + 1) complex64: how far a wave moves, 1 over its frequency; 1 on average in power."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    weight = 1 / np.maximum(frequency, 1 / max(shape))
    return (weight / np.sqrt(np.mean(weight**2))).astype(np.complex64)


def _differences(picture: object) -> tuple[object, object]:
    return picture[:, 1:] - picture[:, :-1], picture[:, :, 1:] - picture[:, :, :-1]  # type: ignore[index]
