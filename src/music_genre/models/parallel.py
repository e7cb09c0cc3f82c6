"""Parallel CNN-RNN: convolutions and a bidirectional GRU look at the same clip side by side.

``published`` is that of the study's code for FMA-small: 85,160 parameters for 640 frames of 128 bands and 8 genres with
its own GRU (``reset_after: false``), 85,544 with the GRU that GPUs run fast. ``improved`` keeps the two branches and
mends each: convolutions see bands beside each other, and both branches answer for the whole of a clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from music_genre.models.layers import convolutions, image, mean_and_maximum, scaled
from music_genre.models.scaling import decibels_to_ln_power
from music_genre.params import ParallelParams

if TYPE_CHECKING:
    import keras

FILTERS, KERNEL, GRU_UNITS = (16, 32, 64, 64, 64), (3, 1), 64


def published(input_shape: tuple[int, int], classes: int, settings: ParallelParams) -> keras.Model:
    """Five convolutions beside a bidirectional GRU, concatenated. Compiled.

    Args:
        input_shape: (frames, n_mels) of a clip in dB.
        classes: genres.
        settings: the pools must leave at least one frame and one band.

    Returns:
        (n, frames, n_mels, 1) float32 dB to (n, classes) probabilities.
    """
    from keras import Input, Model, layers, optimizers

    clip = Input((*input_shape, 1), name="mel_db")
    scaled = decibels_to_ln_power()(clip)
    x = scaled
    for block, (filters, pool) in enumerate(zip(FILTERS, settings.pools, strict=True), start=1):
        x = layers.Conv2D(filters, KERNEL, activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(pool, name=f"pool{block}")(x)
    convolutional = layers.Flatten(name="convolutional")(x)
    x = layers.MaxPooling2D(settings.recurrent_pool, name="recurrent_pool")(scaled)
    x = layers.Reshape(x.shape[1:3], name="sequence")(x)
    recurrent = layers.Bidirectional(layers.GRU(GRU_UNITS, reset_after=settings.reset_after), name="recurrent")(x)
    both = layers.Concatenate(name="embedding")([convolutional, recurrent])
    model = Model(
        clip, layers.Dense(classes, activation="softmax", dtype="float32", name="genre")(both), name="parallel"
    )
    model.compile(optimizers.RMSprop(settings.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def improved(n_mels: int, classes: int, settings: ParallelParams) -> keras.Model:
    """Four convolutions beside a bidirectional GRU; each branch's mean and maximum over time, concatenated. Not
    compiled.

    Returns:
        (n, frames, n_mels) float32 dB of any length to (n, classes) probabilities.
    """
    from keras import Input, Model, layers

    clip = Input((None, n_mels), name="mel_db")
    mel = scaled(clip, settings)
    pooled = layers.MaxPooling2D(settings.recurrent_pool, padding="same", name="recurrent_pool")(
        layers.Reshape((-1, n_mels, 1), name="plane")(mel)
    )
    sequence = layers.Reshape((-1, pooled.shape[2]), name="sequence")(pooled)
    states = layers.Bidirectional(layers.GRU(GRU_UNITS, return_sequences=True), name="recurrent")(
        layers.Dropout(settings.dropout, name="dropout_sequence")(sequence)
    )
    x = mean_and_maximum([convolutions(image(mel, settings)), states], "embedding")
    x = layers.Dropout(settings.dropout, name="dropout")(x)
    return Model(clip, layers.Dense(classes, activation="softmax", dtype="float32", name="genre")(x), name="parallel")
