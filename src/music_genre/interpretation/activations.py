"""Find the parts of a network by what they are: convolutions, what answers to them, what the genre follows from.

A network may hold others, such as averaged copies. A part is looked at within the model that holds it, which takes
spectrograms in dB as the whole network does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.errors import MusicGenreError

if TYPE_CHECKING:
    import keras

WINDOW_FRAMES = 128
"""A filter is looked at over this many frames, where a clip has more: most see no further."""

LEAK = 0.2
"""Share of what is negative that a softened rectifier lets through."""


@dataclass(frozen=True)
class Part:
    """A layer of a network.

    Args:
        name: ``conv1``, or ``copy1/conv1`` where it lies in a model within the network.
        holder: the model that it lies in: (n, frames, n_mels) or (n, frames, n_mels, 1) dB to probabilities.
        layer: the Keras layer.
    """

    name: str
    holder: keras.Model
    layer: keras.Layer


def load_network(path: Path) -> keras.Model:
    """A trained ``.keras`` file, for looking at."""
    import keras

    return keras.models.load_model(path, compile=False)


def holders(network: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Model]]:
    """The network and every model within it, each with the prefix of its parts' names."""
    import keras

    yield prefix, network
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from holders(layer, f"{prefix}{layer.name}/")


def convolutions(network: keras.Model) -> list[Part]:
    """Every convolution, from the clip to the answer; of a model of models, one model after the other."""
    from keras import layers

    kinds = (layers.Conv1D, layers.Conv2D, layers.SeparableConv1D, layers.SeparableConv2D, layers.DepthwiseConv2D)
    return [
        Part(prefix + layer.name, holder, layer)
        for prefix, holder in holders(network)
        for layer in holder.layers
        if isinstance(layer, kinds)
    ]


def convolution(network: keras.Model, name: str) -> Part:
    """The convolution of this name; without the name of a model, the first that has it.

    Raises:
        MusicGenreError: there is none; the message names those that there are.
    """
    found = convolutions(network)
    for part in found:
        if name in (part.name, part.layer.name):
            return part
    raise MusicGenreError(f"no convolution {name!r}; there are {', '.join(part.name for part in found) or 'none'}")


def first_and_last(network: keras.Model) -> tuple[Part, Part]:
    """The convolutions nearest to the clip and furthest from it, within one model.

    Raises:
        MusicGenreError: the network has no convolution.
    """
    found = convolutions(network)
    if not found:
        raise MusicGenreError("the network has no convolution to look into")
    return found[0], [part for part in found if part.holder is found[0].holder][-1]


def maps(part: Part, frames: int, n_mels: int, soft: bool = False) -> keras.Model:
    """What a convolution makes of clips of any length, after its batch norm and activation.

    Args:
        part: the convolution.
        frames: of the clips.
        n_mels: of the clips.
        soft: every rectifier up to there lets a fifth of what is negative through: a filter that sleeps still says
            what would wake it.

    Returns:
        (n, frames, n_mels) dB to (n, time, filters) or (n, time, bands, filters).

    Raises:
        ValueError: nothing is left of so few frames.
    """
    from keras import Input, Model, layers, models

    whole = Model(part.holder.input, _activated(part))
    rank = len(whole.input_shape)
    clip = Input((frames, n_mels), name="mel_db")
    image = layers.Reshape((frames, n_mels, 1))(clip) if rank == 4 else clip
    if soft or whole.input_shape[1] not in (None, frames):
        fitting = Input(image.shape[1:])
        # The very same layers, so the same weights, on clips of another length.
        whole = models.clone_model(whole, input_tensors=fitting, clone_function=_softened if soft else lambda own: own)
    return Model(clip, whole(image))


def answering(network: keras.Model) -> keras.Model:
    """The model whose last dense layer names the genre: the network itself, or the first of the copies it averages.

    Raises:
        MusicGenreError: no model within the network has a dense layer.
    """
    from keras import layers

    for _, holder in holders(network):
        if any(isinstance(layer, layers.Dense) for layer in holder.layers):
            return holder
    raise MusicGenreError("the network has no dense layer to answer with")


def penultimate(network: keras.Model, frames: int, n_mels: int) -> keras.Model:
    """What the genre follows from: the input of the last dense layer of ``answering``.

    Returns:
        (n, frames, n_mels) dB to (n, features).
    """
    from keras import Input, Model, layers

    holder = answering(network)
    last = [layer for layer in holder.layers if isinstance(layer, layers.Dense)][-1]
    clip = Input((frames, n_mels), name="mel_db")
    image = layers.Reshape((frames, n_mels, 1))(clip) if len(holder.input_shape) == 4 else clip
    return Model(clip, Model(holder.input, last.input)(image))


def _softened(layer: keras.Layer) -> keras.Layer:
    """A layer itself; in place of one that rectifies, its twin with a leak."""
    from keras import activations, layers

    if isinstance(layer, layers.ReLU):
        return layers.LeakyReLU(LEAK)
    if getattr(layer, "activation", None) is not activations.relu:
        return layer
    twin = type(layer).from_config(layer.get_config() | {"activation": _leaky})
    twin.build(layer.input.shape)
    twin.set_weights(layer.get_weights())
    return twin


def _leaky(x: keras.KerasTensor) -> keras.KerasTensor:
    from keras import activations

    return activations.leaky_relu(x, LEAK)


def _activated(part: Part) -> keras.KerasTensor:
    """A convolution's output after the batch norm and the activation that follow it, where they do."""
    from keras import layers

    kinds = (layers.BatchNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
    followers = [layer for layer in part.holder.layers if isinstance(layer, kinds)]
    tensor = part.layer.output
    while True:
        following = next((layer for layer in followers if layer.input is tensor), None)
        if following is None:
            return tensor
        tensor = following.output
