"""What networks are made of. Tensors are (n, frames, ...); the number of frames may be open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from music_genre.models.params import ImprovedParams

if TYPE_CHECKING:
    import keras

FILTERS = (32, 48, 64, 80)  # of the four convolutions of ``conv_stack``
BN_MOMENTUM = 0.95  # of running statistics; lower than usual, because small collections have few steps


def decibels_to_ln_power() -> keras.layers.Layer:
    """A layer from dB in [-80, 0] to the study's input, ln(power) in [-18.42, 0]. It is part of the network, so that
    every network takes dB.
    """
    from keras import layers

    return layers.Rescaling(math.log(10) / 10, name="ln_power")


def input_normalization(mel: keras.KerasTensor, params: ImprovedParams) -> keras.KerasTensor:
    """(n, frames, n_mels) dB to the same shape, normalized as ``params.normalize`` says."""
    from keras import layers

    if params.normalize == "ln_power":
        return decibels_to_ln_power()(mel)
    return layers.BatchNormalization(momentum=BN_MOMENTUM, center=False, scale=False, name="normalize")(mel)


def to_image(mel: keras.KerasTensor, params: ImprovedParams) -> keras.KerasTensor:
    """(n, frames, n_mels) to (n, frames, n_mels, channels): the clip and, with ``mean_subtracted_channel``, the clip
    without its own mean spectrum, which does not depend on the recording's equalization.
    """
    from keras import layers, ops

    channel = layers.Reshape((-1, mel.shape[-1], 1), name="image")(mel)
    if not params.mean_subtracted_channel:
        return channel
    return layers.Concatenate(name="channels")([channel, channel - ops.mean(channel, axis=1, keepdims=True)])


def conv_stack(image: keras.KerasTensor) -> keras.KerasTensor:
    """(n, frames, bands, channels) to (n, frames / 16, features): for each 16th frame, every filter at every 16th band.

    A convolution of 5 x 5 with stride 2, then three of [max-pool 2, convolution of 3 x 3]; batch norm and ReLU after
    each.
    """
    from keras import layers

    x = image
    for block, filters in enumerate(FILTERS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{block}")(x)
        kernel, stride = (3, 1) if block > 1 else (5, 2)
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
    return layers.Reshape((-1, x.shape[2] * x.shape[3]), name="features")(x)


def global_mean_max_pool(sequences: Sequence[keras.KerasTensor], name: str) -> keras.KerasTensor:
    """Sequences (n, frames, features) to (n, 2 * all features): each feature's mean and maximum over time."""
    from keras import layers

    pools = (layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)
    return layers.Concatenate(name=name)([pool()(x) for x in sequences for pool in pools])


def genre_probabilities(x: keras.KerasTensor, n_classes: int) -> keras.KerasTensor:
    """(n, features) to (n, n_classes) probabilities, in float32 whatever the rest computes in."""
    from keras import layers

    return layers.Dense(n_classes, activation="softmax", dtype="float32", name="genre")(x)


def average_over_segments(
    networks: Sequence[keras.Model], input_shape: tuple[int, int], n_segments: int
) -> keras.Model:
    """One network for whole clips that averages the predictions of several networks for all segments of a clip.

    Args:
        networks: each from (n, any number of frames, n_mels) dB to (n, classes) probabilities.
        input_shape: (frames, n_mels) of a whole clip.
        n_segments: equal segments that a clip is cut into; frames that remain at the end are not used.
    """
    from keras import Input, Model, layers

    n_frames = input_shape[0]
    length = n_frames // n_segments
    clip = Input(input_shape, name="mel_db")
    segments = [clip]
    if n_segments > 1:
        crops = [(segment * length, n_frames - (segment + 1) * length) for segment in range(n_segments)]
        segments = [layers.Cropping1D(crop, name=f"segment{number}")(clip) for number, crop in enumerate(crops, 1)]
    predictions = []
    for number, network in enumerate(networks, start=1):
        # A copy without an optimizer, which would be stored with the model and is twice the size of its weights.
        copy = Model.from_config(network.get_config())
        copy.set_weights(network.get_weights())
        copy.name = f"seed{number}"
        predictions += [copy(segment) for segment in segments]
    average = layers.Average(name="genre")(predictions) if len(predictions) > 1 else predictions[0]
    return Model(clip, average, name="whole_clip")
