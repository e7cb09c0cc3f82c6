"""Parallel CNN-RNN: a convolutional and a recurrent branch over the same clip, concatenated.

The published network is that of the study's code for FMA-small: 85,160 parameters for 640 frames of 128 bands and 8
genres with the study's GRU (``reset_after: false``), 85,544 with the GRU that GPUs run fast. The improved network keeps
the two branches: its convolutions span neighbouring bands, and each branch gives its mean and maximum over the clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from music_genre.models.layers import (
    conv_stack,
    decibels_to_ln_power,
    genre_probabilities,
    global_mean_max_pool,
    input_normalization,
    to_image,
)
from music_genre.models.params import ImprovedParams, NetworkParams, Pool, PublishedParams
from music_genre.models.registry import Network

if TYPE_CHECKING:
    import keras

FILTERS, KERNEL = (16, 32, 64, 64, 64), (3, 1)  # of the published network; the kernel is (frames, bands)
GRU_UNITS = 64  # of both networks, in each direction


class ImprovedParallelParams(ImprovedParams):
    """The section ``models.parallel.improved``.

    Args:
        recurrent_pool: (frames, bands) pooled before the GRU.
    """

    recurrent_pool: Pool


class PublishedParallelParams(PublishedParams):
    """The section ``models.parallel.published``.

    Args:
        pools: (frames, bands) pooled after each of the five convolutions.
        recurrent_pool: (frames, bands) pooled before the recurrent branch.
        reset_after: whether the GRU applies its reset gate after the matrix product; false in the study, true in the
            variant that GPUs run fast.
    """

    pools: tuple[Pool, Pool, Pool, Pool, Pool]
    recurrent_pool: Pool
    reset_after: bool


class ParallelParams(NetworkParams):
    """The section ``models.parallel``."""

    improved: ImprovedParallelParams
    published: PublishedParallelParams


def build_published(input_shape: tuple[int, int], n_classes: int, params: PublishedParallelParams) -> keras.Model:
    """Five convolutions beside a bidirectional GRU, concatenated.

    Args:
        input_shape: (frames, n_mels) of a clip in dB.
        n_classes: genres.
        params: section of the recipe.

    Returns:
        (n, frames, n_mels) float32 dB to (n, n_classes) probabilities.

    Raises:
        ValueError: the pools leave no frame or no band.
    """
    from keras import Input, Model, layers

    clip = Input(input_shape, name="mel_db")
    image = layers.Reshape((-1, input_shape[1], 1), name="image")(decibels_to_ln_power()(clip))
    x = image
    for block, (filters, pool) in enumerate(zip(FILTERS, params.pools, strict=True), start=1):
        x = layers.Conv2D(filters, KERNEL, activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(pool, name=f"pool{block}")(x)
    convolutional = layers.Flatten(name="convolutional")(x)
    x = layers.MaxPooling2D(params.recurrent_pool, name="recurrent_pool")(image)
    x = layers.Reshape(x.shape[1:3], name="sequence")(x)
    recurrent = layers.Bidirectional(layers.GRU(GRU_UNITS, reset_after=params.reset_after), name="recurrent")(x)
    both = layers.Concatenate(name="embedding")([convolutional, recurrent])
    return Model(clip, genre_probabilities(both, n_classes), name="parallel")


def build_improved(input_shape: tuple[int, int], n_classes: int, params: ImprovedParallelParams) -> keras.Model:
    """Four convolutions beside a bidirectional GRU; each branch's mean and maximum over time, concatenated.

    Args:
        input_shape: (frames, n_mels) of a clip in dB; only n_mels is used.
        n_classes: genres.
        params: section of the recipe.

    Returns:
        (n, frames, n_mels) float32 dB of any length to (n, n_classes) probabilities.
    """
    from keras import Input, Model, layers

    n_mels = input_shape[1]
    clip = Input((None, n_mels), name="mel_db")
    mel = input_normalization(clip, params)
    pooled = layers.MaxPooling2D(params.recurrent_pool, padding="same", name="recurrent_pool")(
        layers.Reshape((-1, n_mels, 1), name="plane")(mel)
    )
    sequence = layers.Reshape((-1, pooled.shape[2]), name="sequence")(pooled)
    states = layers.Bidirectional(layers.GRU(GRU_UNITS, return_sequences=True), name="recurrent")(
        layers.Dropout(params.dropout, name="dropout_sequence")(sequence)
    )
    x = global_mean_max_pool([conv_stack(to_image(mel, params)), states], "embedding")
    return Model(
        clip, genre_probabilities(layers.Dropout(params.dropout, name="dropout")(x), n_classes), name="parallel"
    )


MODEL = Network(ParallelParams, {"published": build_published, "improved": build_improved})
