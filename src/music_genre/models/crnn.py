"""Convolutional-recurrent network: convolutions, then a recurrent layer over what they found.

``published`` is that of the study's code for FMA-small: 133,520 parameters for 640 frames of 128 bands and 8 genres,
133,184 of them trainable. ``improved`` looks at time and bands together and at the whole of a clip, not its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from music_genre.models.layers import convolutions, image, mean_and_maximum, scaled
from music_genre.models.scaling import decibels_to_ln_power
from music_genre.params import CrnnParams

if TYPE_CHECKING:
    import keras

FILTERS, KERNEL, L2, DROPOUT = 56, 5, 1e-3, 0.4
LSTM_UNITS, DENSE_UNITS = 96, 64
GRU_UNITS = 64


def published(input_shape: tuple[int, int], classes: int, settings: CrnnParams) -> keras.Model:
    """Three 1-D convolutions over time, then an LSTM whose last state decides. Compiled.

    Args:
        input_shape: (frames, n_mels) of a clip in dB.
        classes: genres.
        settings: ``pools`` must leave at least one frame.

    Returns:
        (n, frames, n_mels) float32 dB to (n, classes) probabilities.
    """
    from keras import Input, Model, layers, optimizers, regularizers

    clip = Input(input_shape, name="mel_db")
    x = decibels_to_ln_power()(clip)
    for block, pool in enumerate(settings.pools, start=1):
        x = layers.Conv1D(FILTERS, KERNEL, kernel_regularizer=regularizers.L2(L2), name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling1D(pool, name=f"pool{block}")(x)
        x = layers.Dropout(DROPOUT, name=f"dropout{block}")(x)
    x = layers.LSTM(LSTM_UNITS, name="lstm")(x)
    x = layers.Dropout(DROPOUT, name="dropout_lstm")(x)
    x = layers.Dense(DENSE_UNITS, kernel_regularizer=regularizers.L2(L2), name="embedding")(x)
    x = layers.Dropout(DROPOUT, name="dropout_embedding")(x)
    model = Model(clip, layers.Dense(classes, activation="softmax", dtype="float32", name="genre")(x), name="crnn")
    model.compile(optimizers.Adam(settings.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def improved(n_mels: int, classes: int, settings: CrnnParams) -> keras.Model:
    """Four 2-D convolutions, then a bidirectional GRU over what they found; the mean and maximum over time of its
    states and of what it saw decide. Not compiled.

    Returns:
        (n, frames, n_mels) float32 dB of any length to (n, classes) probabilities.
    """
    from keras import Input, Model, layers

    clip = Input((None, n_mels), name="mel_db")
    features = convolutions(image(scaled(clip, settings), settings))
    states = layers.Bidirectional(layers.GRU(GRU_UNITS, return_sequences=True), name="recurrent")(features)
    x = layers.Dropout(settings.dropout, name="dropout")(mean_and_maximum([features, states], "embedding"))
    return Model(clip, layers.Dense(classes, activation="softmax", dtype="float32", name="genre")(x), name="crnn")
