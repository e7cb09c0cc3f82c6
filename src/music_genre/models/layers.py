"""What the improved networks are made of. Tensors are (n, frames, ...); the number of frames may be open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from music_genre.models.scaling import decibels_to_ln_power
from music_genre.params import NetworkParams

if TYPE_CHECKING:
    import keras

FILTERS = (32, 48, 64, 80)
MOMENTUM = 0.95
"""Of running statistics: a small collection has few steps to find them in."""


def scaled(clip: keras.KerasTensor, settings: NetworkParams) -> keras.KerasTensor:
    """(n, frames, n_mels) dB to the same shape: each band with mean 0 and deviation 1 over the training clips, or the
    published logarithm of power.
    """
    from keras import layers

    if not settings.standardise:
        return decibels_to_ln_power()(clip)
    return layers.BatchNormalization(momentum=MOMENTUM, center=False, scale=False, name="standardise")(clip)


def image(x: keras.KerasTensor, settings: NetworkParams) -> keras.KerasTensor:
    """(n, frames, n_mels) to (n, frames, n_mels, 1), or, with ``relative``, 2: the clip, and the clip without its own
    mean spectrum, which a recording's tone does not touch.
    """
    from keras import layers, ops

    bands = x.shape[-1]
    channel = layers.Reshape((-1, bands, 1), name="image")(x)
    if not settings.relative:
        return channel
    return layers.Concatenate(name="channels")([channel, channel - ops.mean(channel, axis=1, keepdims=True)])


def convolutions(x: keras.KerasTensor) -> keras.KerasTensor:
    """(n, frames, bands, channels) to (n, frames / 16, features): every 16th band of every filter.

    A convolution of 5 x 5 in steps of 2, then three of [max-pool 2, convolution of 3 x 3]; batch norm and ReLU after
    each.
    """
    from keras import layers

    for block, filters in enumerate(FILTERS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{block}")(x)
        kernel, step = (3, 1) if block > 1 else (5, 2)
        x = layers.Conv2D(filters, kernel, step, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
    return layers.Reshape((-1, x.shape[2] * x.shape[3]), name="features")(x)


def mean_and_maximum(sequences: Sequence[keras.KerasTensor], name: str) -> keras.KerasTensor:
    """Sequences (n, frames, features) to (n, 2 * all features): each feature's mean and maximum over time."""
    from keras import layers

    pools = (layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)
    return layers.Concatenate(name=name)([pool()(x) for x in sequences for pool in pools])
