"""What the published networks see: the natural logarithm of power, not standardised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def decibels_to_ln_power() -> keras.layers.Layer:
    """A layer from dB in [-80, 0] to ln(power) in [-18.42, 0]. Part of the model, so that every model takes dB."""
    from keras import layers

    return layers.Rescaling(math.log(10) / 10, name="ln_power")
