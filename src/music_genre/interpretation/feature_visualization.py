"""What a convolution's filters answer to: spectrograms made to wake one filter, and the maps of real clips.

Activation maximisation after Erhan et al. (Visualizing higher-layer features of a deep network, 2009), made legible as
by Olah et al. (Feature visualization, Distill 2017): the ascent moves waves instead of cells, slow ones further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.features.mel import FLOOR_DB
from music_genre.features.store import MelDataset
from music_genre.interpretation.activations import WINDOW_FRAMES, Part, maps

if TYPE_CHECKING:
    import keras

BATCH = 64
STEPS, RATE = 80, 0.05
SLOWNESS = 1.5
"""Power of the frequency by which a wave moves less: 0 treats all alike and gives noise."""

ROUGHNESS = 10.0
"""What a mean difference of 1 (80 dB) between neighbouring cells costs, in deviations of the filter's activation."""

ALIKE, ALIKE_DB = 0.9, 5.0
"""Filters whose answers to real clips correlate more than this say the same, and pictures whose cells differ less than
this on average show the same, silence above all: others are shown before them."""

NOISE = 0.15
"""Deviation of the noise at the start, on the logistic scale."""


def listener(part: Part, shape: tuple[int, int], soft: bool = False) -> keras.Model:
    """``layers.maps`` of a part over ``WINDOW_FRAMES``, or over a whole clip where that is too short for it.

    Args:
        part: a convolution.
        shape: (frames, n_mels) of a clip.
        soft: as for ``layers.maps``.
    """
    frames, n_mels = shape
    try:
        return maps(part, min(frames, WINDOW_FRAMES), n_mels, soft)
    except ValueError:
        return maps(part, frames, n_mels, soft)


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


def answers(heard: keras.Model, clips: MelDataset) -> np.ndarray:
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
        over clips that lies between genres; genre, the one that wakes it most, empty where no clip does.
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
            "genre": np.where(variance > 0, np.asarray(genres)[present[means.argmax(axis=0)]], ""),
        }
    )


def wake(
    part: Part, clips: MelDataset, genres: Sequence[str], count: int, seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Show what the filters of a convolution that tell genres apart best want to hear, each kind of them once.

    Args:
        part: the convolution.
        clips: real ones, to compare with.
        genres: in label order.
        count: of filters, at most.
        seed: of ``maximise``.

    Returns:
        ``tell_apart`` of the chosen filters, with ``layer`` and ``maximised``, the activation by the filter's own
        spectrogram; and those spectrograms, (k, frames, n_mels) dB.
    """
    heard, soft = listener(part, clips.shape), listener(part, clips.shape, soft=True)
    answered = answers(heard, clips)
    table = tell_apart(answered, clips.label, genres)
    ranked = table.sort_values(["between", "filter"], ascending=[False, True])["filter"].to_numpy()
    tried = distinct(ranked, saying_the_same(answered.mean(axis=1)))[: 2 * count]
    table = table.loc[tried].reset_index(drop=True)
    chosen, unit = table["filter"].to_numpy(), table["real_deviation"].to_numpy()
    mean = np.mean([mel.mean(axis=(0, 1)) for mel in clips.batches(1)], axis=0)
    starts = np.tile(mean, (len(chosen), heard.input_shape[1], 1))
    woken = maximise(heard, soft, chosen, unit, starts, seed)
    reached = _own(heard, woken, chosen)
    # Noise leaves some filters asleep, without a slope to climb: those start from what wakes them most in real clips.
    asleep = np.flatnonzero(reached <= table["real_maximum"])
    if asleep.size:
        real = np.stack([_loudest(answered[:, :, number], clips, heard.input_shape[1]) for number in chosen[asleep]])
        woken[asleep] = maximise(heard, soft, chosen[asleep], unit[asleep], real, seed)
        reached = _own(heard, woken, chosen)
    table.insert(0, "layer", part.name)
    shown = distinct(np.arange(len(chosen)), looking_the_same(woken))[:count]
    return table.assign(maximised=reached).loc[shown].reset_index(drop=True), woken[shown]


def distinct(ranked: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """What is ranked, in order, but that last which is like something before it.

    Args:
        ranked: (k,) rows of ``alike``.
        alike: (m, m) bool, symmetric.
    """
    first: list[int] = []
    for number in ranked:
        if not alike[number, first].any():
            first.append(number)
    return np.array([*first, *(number for number in ranked if number not in first)])


def saying_the_same(answered: np.ndarray) -> np.ndarray:
    """(filters, filters) bool from their activations by real clips, (n, filters). One that never changes says nothing
    that another does not.
    """
    spread = answered.std(axis=0)
    standard = (answered - answered.mean(axis=0)) / np.where(spread > 0, spread, 1)
    alike = np.abs(standard.T @ standard) / len(answered) > ALIKE
    return np.asarray(alike | (spread == 0) | (spread == 0)[:, None])


def looking_the_same(woken: np.ndarray) -> np.ndarray:
    """(k, k) bool from spectrograms (k, frames, n_mels) dB."""
    return np.stack([np.abs(woken - one).mean(axis=(1, 2)) < ALIKE_DB for one in woken])


def _own(heard: keras.Model, woken: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(k,) activation of each filter by its own spectrogram."""
    return np.asarray(activations(heard, woken)[np.arange(len(chosen)), 0, chosen])


def _loudest(answered: np.ndarray, clips: MelDataset, width: int) -> np.ndarray:
    """The stretch, (width, n_mels) dB, that wakes a filter most, whose activations are (n, stretches)."""
    clip, stretch = np.unravel_index(answered.argmax(), answered.shape)
    return clips.read(np.array([clip]))[0, stretch * width : (stretch + 1) * width]


def maximise(
    heard: keras.Model, soft: keras.Model, chosen: np.ndarray, unit: np.ndarray, starts: np.ndarray, seed: int
) -> np.ndarray:
    """Spectrograms that wake one filter each.

    Args:
        heard: from ``listener``.
        soft: the same, softened; it leads the first half of the ascent.
        chosen: (k,) filters.
        unit: (k,) what counts as one of each filter's activation: its deviation over real clips.
        starts: (k, frames, n_mels) dB that the ascent starts from, with some noise.
        seed: of the noise.

    Returns:
        (k, frames, n_mels) float32 in [-80, 0] dB.
    """
    import keras
    import tensorflow as tf

    shape = heard.input_shape[1:]
    level = np.clip(1 - starts / FLOOR_DB, 0.03, 0.97)
    middle = tf.constant(np.log(level / (1 - level)), tf.float32)
    slow = tf.constant(_slowness(shape))
    noise = np.random.default_rng(seed).normal(0, NOISE, (len(chosen), *shape)).astype(np.float32)
    start = tf.signal.rfft2d(noise)
    waves = keras.Variable(np.stack([tf.math.real(start), tf.math.imag(start)]))
    optimizer = keras.optimizers.Adam(RATE * float(np.sqrt(np.prod(shape))))
    one, scale = tf.one_hot(chosen, heard.output_shape[-1]), tf.constant(1 / np.maximum(unit, 1e-6), tf.float32)

    def picture() -> tf.Tensor:
        """(k, frames, n_mels) in [0, 1]."""
        return tf.sigmoid(middle + tf.signal.irfft2d(slow * tf.complex(waves.value[0], waves.value[1]), shape))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types here
    def ascend(listening: keras.Model) -> None:
        with tf.GradientTape() as tape:
            seen = picture()
            answer = listening((1 - seen) * FLOOR_DB)
            means = tf.reduce_mean(answer, axis=list(range(1, len(answer.shape) - 1)))
            woken = tf.reduce_sum(means * one, axis=1) * scale
            steps = seen[:, 1:] - seen[:, :-1], seen[:, :, 1:] - seen[:, :, :-1]
            rough = tf.add_n([tf.reduce_mean(tf.abs(step)) for step in steps])
            loss = ROUGHNESS * len(chosen) * rough - tf.reduce_sum(woken)
        optimizer.apply([tape.gradient(loss, waves.value)], [waves])

    for step in range(STEPS):
        ascend(soft if step < STEPS // 2 else heard)
    return np.asarray((1 - picture().numpy()) * FLOOR_DB)


def _slowness(shape: tuple[int, int]) -> np.ndarray:
    """(frames, n_mels // 2 + 1) complex64: how far a wave moves, the less the quicker it is; 1 on average in power."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    weight = np.maximum(frequency, 1 / max(shape)) ** -SLOWNESS
    return np.asarray(weight / np.sqrt(np.mean(weight**2)), dtype=np.complex64)
