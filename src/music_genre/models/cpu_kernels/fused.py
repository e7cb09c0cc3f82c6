"""The published networks arranged for a processor: the same weights, the same answers and gradients within float
tolerance, in less time. For training on a CPU; what is stored is the plain network.

- A convolution over frames runs fastest where frames lie beside each other, so bands come before frames here.
- ReLU and bias commute with the maximum: after pooling they touch a part of the cells.
- The first block of the parallel network, one channel wide, is bound by memory: compiled as one loop, its convolution
  is never written down, and its gradient picks from the clip what the maximum had picked.
- Recurrent loops are compiled (see ``recurrent``) instead of a dozen operations a step.
- Batch norm is one kernel each way in training, where the bias before it, which it takes away, is left out; in answers
  it is a part of the convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import Model, layers, ops

from music_genre.models.cpu_kernels.rnn import both_ways, compiled, last_state


class CpuFusedNetwork(Model):  # type: ignore[misc]  # Keras has no types
    """A compiled published network; shares its layers and its optimizer.

    Args:
        network: of ``crnn.published`` or ``parallel.published``.
    """

    def __init__(self, network: Model) -> None:
        super().__init__(network.inputs, network.outputs, name=network.name)
        self.compile(network.optimizer, network.loss, metrics=["accuracy"])
        self.recurrent = {
            layer.name: last_state(layer) if isinstance(layer, layers.LSTM) else both_ways(layer)
            for layer in self.layers
            if isinstance(layer, layers.LSTM | layers.Bidirectional)
        }

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        clip = ops.reshape(inputs, (-1, *self.input_shape[1:]))
        return FORWARD[self.name](self, clip, bool(training))


def _crnn(model: CpuFusedNetwork, clip: tf.Tensor, training: bool) -> tf.Tensor:
    layer, x = model.get_layer, clip
    scale = layer("ln_power").scale  # of the clip, or of the first kernel, which is smaller
    for block in range(1, 4):
        conv, norm = layer(f"conv{block}"), layer(f"norm{block}")
        if training:
            x = _normalised(norm, tf.nn.conv1d(x, conv.kernel * scale, 1, "VALID"), conv.bias.value)
        else:
            stretch = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
            x = tf.nn.conv1d(x, conv.kernel * scale * stretch, 1, "VALID")
            x = tf.nn.bias_add(x, (conv.bias - norm.moving_mean) * stretch + norm.beta)
        x = layer(f"relu{block}")(layer(f"pool{block}")(x))
        x, scale = layer(f"dropout{block}")(x, training=training), 1.0
    x = model.recurrent["lstm"](tf.transpose(x, (1, 0, 2)))
    x = layer("embedding")(layer("dropout_lstm")(x, training=training))
    return layer("genre")(layer("dropout_embedding")(x, training=training))


def _normalised(layer: layers.BatchNormalization, x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Batch norm of (n, frames, filters) plus a bias, as one kernel each way. The mean takes the bias away again: only
    the kept mean has it, and its gradient is 0. The kernel's variance is that of a sample; Keras keeps that of the
    batch itself.
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.expand_dims(x, 1),
        scale=layer.gamma,
        offset=layer.beta + 0 * bias,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
    )
    cells = tf.cast(tf.shape(x)[0] * tf.shape(x)[1], tf.float32)
    for kept, found in ((layer.moving_mean, mean + bias), (layer.moving_variance, variance * (1 - 1 / cells))):
        kept.assign(kept * layer.momentum + tf.stop_gradient(found) * (1 - layer.momentum))
    return tf.squeeze(y, 1)


def _parallel(model: CpuFusedNetwork, clip: tf.Tensor, training: bool) -> tf.Tensor:
    layer = model.get_layer
    scaled = layer("ln_power")(clip)
    bands_first = x = ops.transpose(scaled, (0, 2, 1))
    for block in range(1, 6):
        conv, pool = layer(f"conv{block}"), layer(f"pool{block}").pool_size
        if block == 1:
            x = _first_block(pool)(x, ops.squeeze(conv.kernel.value, (1, 2)), conv.bias.value)
        else:
            x = tf.nn.conv2d(x, ops.transpose(conv.kernel, (1, 0, 2, 3)), 1, "VALID")
            x = tf.nn.max_pool2d(x, pool[::-1], pool[::-1], "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
    convolutional = layer("convolutional")(ops.transpose(x, (0, 2, 1, 3)))
    sequence = ops.transpose(_pooled(layer("recurrent_pool").pool_size)(bands_first), (2, 0, 1))
    recurrent = model.recurrent["recurrent"](sequence)
    return layer("genre")(layer("embedding")([convolutional, recurrent]))


def _pooled(pool: tuple[int, int]) -> Any:
    """Max-pooling of (frames, bands) of a clip (n, bands, frames): (n, bands / pool, frames / pool)."""

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(clip: tf.Tensor) -> tf.Tensor:
        frames, bands = clip.shape[2] // pool[0], clip.shape[1] // pool[1]
        return _maximum(
            [
                clip[:, band :: pool[1], frame :: pool[0]][:, :bands, :frames]
                for frame in range(pool[0])
                for band in range(pool[1])
            ]
        )

    return forward


def _first_block(pool: tuple[int, int]) -> Any:
    """Convolution over frames of a clip (n, bands, frames), kernel (taps, filters), max-pooling of (frames, bands),
    bias, ReLU: (n, bands / pool, frames / pool, filters). A clip gets no gradient.
    """

    def cells(clip: tf.Tensor, kernel: tf.Tensor) -> tuple[list[list[tf.Tensor]], list[tf.Tensor]]:
        """What each tap sees, and what comes of it, at each place of a pool."""
        taps = kernel.shape[0]
        frames, bands = (clip.shape[2] - taps + 1) // pool[0], clip.shape[1] // pool[1]
        seen = [
            [clip[:, band :: pool[1], frame + tap :: pool[0], None][:, :bands, :frames] for tap in range(taps)]
            for frame in range(pool[0])
            for band in range(pool[1])
        ]
        return seen, [tf.add_n([x * kernel[tap] for tap, x in enumerate(place)]) for place in seen]

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(clip: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        _, found = cells(clip, kernel)
        return tf.nn.relu(_maximum(found) + bias)

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def shares(clip: tf.Tensor, kernel: tf.Tensor, answer: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        """Every cell's part in the gradients of the taps and of the bias."""
        seen, found = cells(clip, kernel)
        largest, upstream = _maximum(found), tf.where(answer > 0, upstream, 0.0)
        picked = seen[-1]
        for place, value in zip(seen[-2::-1], found[-2::-1], strict=True):
            picked = [tf.where(value == largest, x, other) for x, other in zip(place, picked, strict=True)]
        return [*(x * upstream for x in picked), upstream]

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def block(clip: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
        answer = forward(clip, kernel, bias)

        def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor, tf.Tensor]:
            filters = kernel.shape[1]
            parts = [tf.reshape(part, (-1, filters)) for part in shares(clip, kernel, answer, upstream)]
            ones = tf.ones((1, tf.shape(parts[0])[0]))  # a product sums faster than a sum does
            *taps, offset = [tf.matmul(ones, part) for part in parts]
            return None, tf.concat(taps, 0), offset[0]

        return answer, gradient

    return block


def _maximum(tensors: list[tf.Tensor]) -> tf.Tensor:
    largest = tensors[0]
    for tensor in tensors[1:]:
        largest = tf.maximum(largest, tensor)
    return largest


FORWARD = {"crnn": _crnn, "parallel": _parallel}
"""By a published network's name, its forward pass."""
