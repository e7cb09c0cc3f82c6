"""Convolutional-recurrent network (CRNN): convolutions, then a recurrent layer over their features.

The published network is that of the study's code for FMA-small: 133,520 parameters for 640 frames of 128 bands and 8
genres, 133,184 of them trainable. The improved network convolves over time and bands together and classifies by the
mean and maximum over the clip instead of the last state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from music_genre.config import Count
from music_genre.models.layers import (
    conv_stack,
    decibels_to_ln_power,
    genre_probabilities,
    global_mean_max_pool,
    input_normalization,
    to_image,
)
from music_genre.models.params import ImprovedParams, NetworkParams, PublishedParams
from music_genre.models.registry import Network

if TYPE_CHECKING:
    import keras

# The published network, by the study's code.
FILTERS, KERNEL = 56, 5  # of each convolution over frames
LSTM_UNITS, DENSE_UNITS = 96, 64
L2, DROPOUT = 1e-3, 0.4

# The improved network.
GRU_UNITS = 64  # in each direction


class PublishedCrnnParams(PublishedParams):
    """The section ``models.crnn.published``.

    Args:
        pools: frames pooled after each of the three convolutions.
    """

    pools: tuple[Count, Count, Count]


class CrnnParams(NetworkParams):
    """The section ``models.crnn``."""

    published: PublishedCrnnParams


def build_published(input_shape: tuple[int, int], n_classes: int, params: PublishedCrnnParams) -> keras.Model:
    """Three 1-D convolutions over time, then an LSTM whose last state is classified.

    Args:
        input_shape: (frames, n_mels) of a clip in dB.
        n_classes: genres.
        params: section of the recipe.

    Returns:
        (n, frames, n_mels) float32 dB to (n, n_classes) probabilities.

    Raises:
        ValueError: the pools leave no frame.
    """
    from keras import Input, Model, layers, regularizers

    clip = Input(input_shape, name="mel_db")
    x = decibels_to_ln_power()(clip)
    for block, pool in enumerate(params.pools, start=1):
        x = layers.Conv1D(FILTERS, KERNEL, kernel_regularizer=regularizers.L2(L2), name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling1D(pool, name=f"pool{block}")(x)
        x = layers.Dropout(DROPOUT, name=f"dropout{block}")(x)
    x = layers.LSTM(LSTM_UNITS, name="lstm")(x)
    x = layers.Dropout(DROPOUT, name="dropout_lstm")(x)
    x = layers.Dense(DENSE_UNITS, kernel_regularizer=regularizers.L2(L2), name="embedding")(x)
    x = layers.Dropout(DROPOUT, name="dropout_embedding")(x)
    return Model(clip, genre_probabilities(x, n_classes), name="crnn")


def build_improved(input_shape: tuple[int, int], n_classes: int, params: ImprovedParams) -> keras.Model:
    """Four 2-D convolutions, then a bidirectional GRU over their features; the mean and maximum over time of the
    features and of the GRU's states are classified.

    Args:
        input_shape: (frames, n_mels) of a clip in dB; only n_mels is used.
        n_classes: genres.
        params: section of the recipe.

    Returns:
        (n, frames, n_mels) float32 dB of any length to (n, n_classes) probabilities.
    """
    from keras import Input, Model, layers

    clip = Input((None, input_shape[1]), name="mel_db")
    features = conv_stack(to_image(input_normalization(clip, params), params))
    states = layers.Bidirectional(layers.GRU(GRU_UNITS, return_sequences=True), name="recurrent")(features)
    x = layers.Dropout(params.dropout, name="dropout")(global_mean_max_pool([features, states], "embedding"))
    return Model(clip, genre_probabilities(x, n_classes), name="crnn")


MODEL = Network(CrnnParams, {"published": build_published, "improved": build_improved})
