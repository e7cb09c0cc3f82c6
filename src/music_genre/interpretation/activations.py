"""Find layers of a network by what they are, and build models that output their activations.

A network may contain others, such as averaged copies. A layer is looked at within the model that contains it, which
takes spectrograms in dB as the whole network does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.errors import MusicGenreError

if TYPE_CHECKING:
    import keras

WINDOW_FRAMES = 128  # of a clip, over which a filter is looked at: the receptive field of most is smaller
LEAKY_SLOPE = 0.2  # of a leaky ReLU below 0


@dataclass(frozen=True)
class LayerRef:
    """A layer of a network.

    Args:
        name: ``conv1``, or ``seed1/conv1`` where it is in a model within the network.
        parent: the model that contains it: (n, frames, n_mels) dB to (n, classes) probabilities.
        layer: the Keras layer.
    """

    name: str
    parent: keras.Model
    layer: keras.Layer


def load_network(path: Path) -> keras.Model:
    """The network of a ``.keras`` file, not compiled."""
    import keras

    return keras.models.load_model(path, compile=False)


def submodels(network: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Model]]:
    """The network and every model within it, each with the prefix of its layers' names."""
    import keras

    yield prefix, network
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from submodels(layer, f"{prefix}{layer.name}/")


def conv_layers(network: keras.Model) -> list[LayerRef]:
    """Every convolution from input to output; those of models within the network, one model after the other."""
    from keras import layers

    kinds = (layers.Conv1D, layers.Conv2D, layers.SeparableConv1D, layers.SeparableConv2D, layers.DepthwiseConv2D)
    return [
        LayerRef(prefix + layer.name, parent, layer)
        for prefix, parent in submodels(network)
        for layer in parent.layers
        if isinstance(layer, kinds)
    ]


def get_conv_layer(network: keras.Model, name: str) -> LayerRef:
    """The convolution of this name; where the name has no prefix, the first model's that has one.

    Raises:
        MusicGenreError: there is none; the message lists those that there are.
    """
    convolutions = conv_layers(network)
    for ref in convolutions:
        if name in (ref.name, ref.layer.name):
            return ref
    names = ", ".join(ref.name for ref in convolutions)
    raise MusicGenreError(f"no convolution {name!r}; there are {names or 'none'}")


def first_and_last(network: keras.Model) -> tuple[LayerRef, LayerRef]:
    """The first and the last convolution of one model: the network, or the first within it that has any.

    Raises:
        MusicGenreError: there is no convolution.
    """
    convolutions = conv_layers(network)
    if not convolutions:
        raise MusicGenreError("the network has no convolution to visualize")
    return convolutions[0], [ref for ref in convolutions if ref.parent is convolutions[0].parent][-1]


def feature_map_model(ref: LayerRef, n_frames: int, n_mels: int, leaky: bool = False) -> keras.Model:
    """A model of a convolution's feature maps, after the batch norm and activation that follow it.

    Args:
        ref: the convolution.
        n_frames: of the clips; other lengths than the network's are possible.
        n_mels: of the clips.
        leaky: every ReLU up to there becomes a leaky one, which has a gradient where a filter is not activated.

    Returns:
        (n, n_frames, n_mels) float32 dB to (n, time, filters) or (n, time, bands, filters) float32.

    Raises:
        ValueError: so few frames leave no feature map.
    """
    from keras import Input, Model, models

    clip = Input((n_frames, n_mels), name="mel_db")
    model = Model(ref.parent.input, _post_activation(ref))
    if leaky or model.input_shape[1] not in (None, n_frames):
        # Layers that are not replaced are shared, not copied: they keep their weights for clips of another length.
        clone = _with_leaky_relu if leaky else lambda layer: layer
        model = models.clone_model(model, input_tensors=Input((n_frames, n_mels)), clone_function=clone)
    return Model(clip, model(clip))


def classifier(network: keras.Model) -> keras.Model:
    """The model whose last dense layer gives the genre: the network itself, or the first of the copies it averages.

    Raises:
        MusicGenreError: neither the network nor a model within it has a dense layer.
    """
    from keras import layers

    for _, model in submodels(network):
        if any(isinstance(layer, layers.Dense) for layer in model.layers):
            return model
    raise MusicGenreError("the network has no dense layer")


def embedding_model(network: keras.Model, n_frames: int, n_mels: int) -> keras.Model:
    """A model of the input of the last dense layer of ``classifier``.

    Returns:
        (n, n_frames, n_mels) float32 dB to (n, features) float32.
    """
    from keras import Input, Model, layers

    model = classifier(network)
    last_dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)][-1]
    clip = Input((n_frames, n_mels), name="mel_db")
    return Model(clip, Model(model.input, last_dense.input)(clip))


def _with_leaky_relu(layer: keras.Layer) -> keras.Layer:
    """The layer itself, or, where it is or has a ReLU, a copy with a leaky one."""
    from keras import activations, layers

    if isinstance(layer, layers.ReLU):
        return layers.LeakyReLU(LEAKY_SLOPE)
    if getattr(layer, "activation", None) is not activations.relu:
        return layer
    copy = type(layer).from_config(layer.get_config() | {"activation": _leaky_relu})
    copy.build(layer.input.shape)
    copy.set_weights(layer.get_weights())
    return copy


def _leaky_relu(x: keras.KerasTensor) -> keras.KerasTensor:
    from keras import activations

    return activations.leaky_relu(x, LEAKY_SLOPE)


def _post_activation(ref: LayerRef) -> keras.KerasTensor:
    """The output of a convolution, or of the last batch norm or activation that follows it directly."""
    from keras import layers

    kinds = (layers.BatchNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
    candidates = [layer for layer in ref.parent.layers if isinstance(layer, kinds)]
    tensor = ref.layer.output
    while True:
        next_layer = next((layer for layer in candidates if layer.input is tensor), None)
        if next_layer is None:
            return tensor
        tensor = next_layer.output
