"""What the filters of a convolution respond to: spectrograms that maximize a filter's activation, and how the
activations of real clips differ between genres.

Activation maximization follows Erhan et al. (Visualizing higher-layer features of a deep network, 2009). As in Olah et
al. (Feature visualization, Distill 2017), the ascent changes Fourier coefficients instead of cells, and low frequencies
more than high ones: the spectrograms become smooth enough to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.features.params import FLOOR_DB
from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.interpretation.activations import WINDOW_FRAMES, LayerRef, feature_map_model, get_conv_layer
from music_genre.interpretation.sampling import N_FILTER_CLIPS, sample_clips
from music_genre.models.predictors import PREDICT_BATCH_SIZE

if TYPE_CHECKING:
    import keras

N_STEPS, LEARNING_RATE = 80, 0.05
FREQUENCY_PENALTY = 1.5  # power of the frequency by which a coefficient changes less; 0 gives noise
TOTAL_VARIATION_WEIGHT = 10.0  # a mean difference of 80 dB between neighbours costs so many deviations of activation
DUPLICATE_CORRELATION = 0.9  # filters whose activations correlate more respond to the same
DUPLICATE_DISTANCE_DB = 5.0  # spectrograms that differ less on average show the same, mostly silence
NOISE_STD = 0.15  # of the noise that the ascent starts with, in logits


@dataclass(frozen=True)
class FilterVisualizations:
    """Filters of a convolution, the most selective first.

    Args:
        layer: name of the convolution.
        n_filters: of the convolution, of which some are shown.
        table: a row for each shown filter: the columns of ``genre_selectivity``, ``layer``, and ``optimized``, its
            activation by its own spectrogram.
        spectrograms: (k, frames, n_mels) float32 dB in [-80, 0], one for each row.
    """

    layer: str
    n_filters: int
    table: pd.DataFrame
    spectrograms: np.ndarray


def visualize_layer(
    network: keras.Model, layer: str, data: SpectrogramStore, count: int, seed: int
) -> FilterVisualizations:
    """``visualize_filters`` of a convolution by its name.

    Args:
        network: a trained one.
        layer: name of the convolution, as ``get_conv_layer`` takes it.
        data: what the network was trained on.
        count: filters shown, at most.
        seed: of ``activation_maximization``.

    Raises:
        MusicGenreError: the network has no such convolution; the message lists those that there are.
    """
    ref = get_conv_layer(network, layer)
    return visualize_filters(ref, sample_clips(data.split("training"), N_FILTER_CLIPS), data.genres, count, seed)


def visualize_filters(
    ref: LayerRef, clips: ClipDataset, genres: Sequence[str], count: int, seed: int
) -> FilterVisualizations:
    """Visualize the filters of a convolution that differ most between genres, without near-duplicates.

    Args:
        ref: the convolution.
        clips: real ones, to compare with.
        genres: (classes,) in label order.
        count: filters shown, at most.
        seed: of ``activation_maximization``.
    """
    model = activation_model(ref, clips.shape)
    leaky_model = activation_model(ref, clips.shape, leaky=True)
    activations = dataset_activations(model, clips)
    table = genre_selectivity(activations, clips.label, genres)
    ranking = table.sort_values(["eta_squared", "filter"], ascending=[False, True])["filter"].to_numpy()
    candidates = deduplicate(ranking, correlated_filters(activations.mean(axis=1)))[: 2 * count]
    table = table.loc[candidates].reset_index(drop=True)
    filters, scale = table["filter"].to_numpy(), table["real_std"].to_numpy()
    n_frames = model.input_shape[1]
    mean_spectrum = np.mean([mel.mean(axis=(0, 1)) for mel in clips.batches(1)], axis=0)
    init = np.tile(mean_spectrum, (len(filters), n_frames, 1))
    spectrograms = activation_maximization(model, leaky_model, filters, scale, init, seed)
    optimized = _own_activation(model, spectrograms, filters)
    # Some filters are not activated by noise and have no gradient there: those start again from a real clip.
    not_activated = np.flatnonzero(optimized <= table["real_max"])
    if not_activated.size:
        windows = np.stack(
            [_top_activating_window(activations[:, :, f], clips, n_frames) for f in filters[not_activated]]
        )
        spectrograms[not_activated] = activation_maximization(
            model, leaky_model, filters[not_activated], scale[not_activated], windows, seed
        )
        # Those that hardly anything activates may lose even that: they keep the clip.
        lost = (
            _own_activation(model, spectrograms, filters)[not_activated] < table["real_max"].to_numpy()[not_activated]
        )
        spectrograms[not_activated[lost]] = windows[lost]
        optimized = _own_activation(model, spectrograms, filters)
    table.insert(0, "layer", ref.name)
    shown = deduplicate(np.arange(len(filters)), similar_images(spectrograms))[:count]
    table = table.assign(optimized=optimized).loc[shown].reset_index(drop=True)
    return FilterVisualizations(ref.name, activations.shape[2], table, spectrograms[shown])


def activation_model(ref: LayerRef, shape: tuple[int, int], leaky: bool = False) -> keras.Model:
    """``feature_map_model`` over ``WINDOW_FRAMES``, or over a whole clip where that is too short for the layer.

    Args:
        ref: a convolution.
        shape: (n_frames, n_mels) of a clip.
        leaky: as for ``feature_map_model``.
    """
    n_frames, n_mels = shape
    try:
        return feature_map_model(ref, min(n_frames, WINDOW_FRAMES), n_mels, leaky)
    except ValueError:
        return feature_map_model(ref, n_frames, n_mels, leaky)


def mean_activations(model: keras.Model, mel: np.ndarray) -> np.ndarray:
    """The mean of each filter's feature map, for each window of the clips.

    Args:
        model: from ``activation_model``, for windows of w frames.
        mel: (n, n_frames, n_mels) float32 dB with n_frames at least w; frames after the last whole window are not used.

    Returns:
        (n, n_frames // w, filters) float32.
    """
    width = model.input_shape[1]
    n_windows = mel.shape[1] // width
    windows = mel[:, : n_windows * width].reshape(-1, width, mel.shape[2])
    starts = range(0, len(windows), PREDICT_BATCH_SIZE)
    maps = [model(windows[start : start + PREDICT_BATCH_SIZE]).numpy() for start in starts]
    means = np.concatenate([batch.mean(axis=tuple(range(1, batch.ndim - 1))) for batch in maps])
    return means.reshape(len(mel), n_windows, -1)


def dataset_activations(model: keras.Model, clips: ClipDataset) -> np.ndarray:
    """``mean_activations`` of all clips, in order: (n, windows, filters) float32."""
    return np.concatenate([mean_activations(model, mel) for mel in clips.batches(PREDICT_BATCH_SIZE)])


def genre_selectivity(activations: np.ndarray, label: np.ndarray, genres: Sequence[str]) -> pd.DataFrame:
    """How much the activation of each filter differs between genres: a row for each filter.

    Args:
        activations: (n, windows, filters) of real clips.
        label: (n,) positions of their genres.
        genres: (classes,) in label order.

    Returns:
        Columns filter; real_mean, real_std over clips, real_max over windows; eta_squared, the fraction of the variance
        over clips that lies between genres; genre, the one with the largest mean, empty where no clip differs.
    """
    by_clip = activations.mean(axis=1)
    present = np.unique(label)
    means = np.stack([by_clip[label == code].mean(axis=0) for code in present])
    fraction = np.bincount(label)[present, None] / len(label)
    variance = by_clip.var(axis=0)
    between = (fraction * (means - by_clip.mean(axis=0)) ** 2).sum(axis=0)
    return pd.DataFrame(
        {
            "filter": np.arange(by_clip.shape[1]),
            "real_mean": by_clip.mean(axis=0),
            "real_std": by_clip.std(axis=0),
            "real_max": activations.max(axis=(0, 1)),
            "eta_squared": np.divide(between, variance, out=np.zeros_like(between), where=variance > 0),
            "genre": np.where(variance > 0, np.asarray(genres)[present[means.argmax(axis=0)]], ""),
        }
    )


def deduplicate(ranking: np.ndarray, similar: np.ndarray) -> np.ndarray:
    """The ranking, with items that are similar to a higher-ranked one moved to the end.

    Args:
        ranking: (k,) positions in ``similar``.
        similar: (m, m) bool, symmetric.
    """
    distinct: list[int] = []
    for item in ranking:
        if not similar[item, distinct].any():
            distinct.append(item)
    return np.array([*distinct, *(item for item in ranking if item not in distinct)])


def correlated_filters(activations: np.ndarray) -> np.ndarray:
    """Which filters respond to the same, from their activations by real clips.

    Args:
        activations: (n, filters).

    Returns:
        (filters, filters) bool. A filter whose activation is constant counts as similar to every other.
    """
    std = activations.std(axis=0)
    standardized = (activations - activations.mean(axis=0)) / np.where(std > 0, std, 1)
    similar = np.abs(standardized.T @ standardized) / len(activations) > DUPLICATE_CORRELATION
    return np.asarray(similar | (std == 0) | (std == 0)[:, None])


def similar_images(spectrograms: np.ndarray) -> np.ndarray:
    """Which of (k, frames, n_mels) spectrograms in dB look the same: (k, k) bool."""
    return np.stack([np.abs(spectrograms - one).mean(axis=(1, 2)) < DUPLICATE_DISTANCE_DB for one in spectrograms])


def activation_maximization(
    model: keras.Model, leaky_model: keras.Model, filters: np.ndarray, scale: np.ndarray, init: np.ndarray, seed: int
) -> np.ndarray:
    """Spectrograms that maximize the activation of one filter each, by gradient ascent.

    Args:
        model: from ``activation_model``.
        leaky_model: the same with leaky ReLUs, used in the first half of the ascent.
        filters: (k,) which of the filters.
        scale: (k,) unit of each filter's activation: its standard deviation over real clips.
        init: (k, frames, n_mels) dB that the ascent starts from, with noise added.
        seed: of the noise.

    Returns:
        (k, frames, n_mels) float32 dB in [-80, 0].
    """
    import keras
    import tensorflow as tf

    shape = model.input_shape[1:]
    level = np.clip(1 - init / FLOOR_DB, 0.03, 0.97)
    init_logits = tf.constant(np.log(level / (1 - level)), tf.float32)
    prior = tf.constant(_frequency_prior(shape))
    noise = np.random.default_rng(seed).normal(0, NOISE_STD, (len(filters), *shape)).astype(np.float32)
    start = tf.signal.rfft2d(noise)
    spectrum = keras.Variable(np.stack([tf.math.real(start), tf.math.imag(start)]))
    optimizer = keras.optimizers.Adam(LEARNING_RATE * float(np.sqrt(np.prod(shape))))
    one_hot = tf.one_hot(filters, model.output_shape[-1])
    inverse_scale = tf.constant(1 / np.maximum(scale, 1e-6), tf.float32)

    def image() -> tf.Tensor:
        """(k, frames, n_mels) in [0, 1], of which 1 is 0 dB."""
        coefficients = prior * tf.complex(spectrum.value[0], spectrum.value[1])
        return tf.sigmoid(init_logits + tf.signal.irfft2d(coefficients, shape))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types here
    def ascent_step(model: keras.Model) -> None:
        with tf.GradientTape() as tape:
            x = image()
            maps = model((1 - x) * FLOOR_DB)
            means = tf.reduce_mean(maps, axis=list(range(1, len(maps.shape) - 1)))
            activation = tf.reduce_sum(means * one_hot, axis=1) * inverse_scale
            differences = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
            variation = tf.add_n([tf.reduce_mean(tf.abs(difference)) for difference in differences])
            loss = TOTAL_VARIATION_WEIGHT * len(filters) * variation - tf.reduce_sum(activation)
        optimizer.apply([tape.gradient(loss, spectrum.value)], [spectrum])

    for step in range(N_STEPS):
        ascent_step(leaky_model if step < N_STEPS // 2 else model)
    return np.asarray((1 - image().numpy()) * FLOOR_DB)


def _own_activation(model: keras.Model, spectrograms: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """(k,) activation of each filter by its own spectrogram."""
    return np.asarray(mean_activations(model, spectrograms)[np.arange(len(filters)), 0, filters])


def _top_activating_window(activations: np.ndarray, clips: ClipDataset, width: int) -> np.ndarray:
    """The window of the clips, (width, n_mels) dB, with the largest of a filter's activations (n, windows)."""
    clip, window = np.unravel_index(activations.argmax(), activations.shape)
    return clips.read(np.array([clip]))[0, window * width : (window + 1) * width]


def _frequency_prior(shape: tuple[int, int]) -> np.ndarray:
    """(frames, n_mels // 2 + 1) complex64 factors of the Fourier coefficients, smaller for higher frequencies, with a
    mean square of 1.
    """
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    weight = np.maximum(frequency, 1 / max(shape)) ** -FREQUENCY_PENALTY
    return np.asarray(weight / np.sqrt(np.mean(weight**2)), dtype=np.complex64)
