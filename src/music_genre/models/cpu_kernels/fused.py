"""The published networks for training on a CPU: the same weights, and within float tolerance the same predictions and
gradients, in less time. The plain network is what is stored.

- Convolutions over frames run fastest with frames in the innermost dimension, so bands come before frames here.
- ReLU and adding a bias commute with the maximum: after max-pooling they touch fewer values.
- The first block of the parallel network has one input channel and is bound by memory: compiled as one loop, the
  convolution's output is never stored, and the gradient reads from the clip the values that the maximum selected.
- Recurrent layers are XLA-compiled loops (see ``rnn``) instead of a dozen kernels a step.
- Batch norm is one kernel in each direction in training, where the bias before it is left out because batch norm
  subtracts it again; in inference it is folded into the convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import Model, layers, ops

from music_genre.models.cpu_kernels.rnn import bidirectional_gru, lstm_last_state, xla_jit


class CpuFusedNetwork(Model):  # type: ignore[misc]  # Keras has no types
    """A published network, compiled, whose layers and optimizer it shares.

    Args:
        network: of ``crnn.build_published`` or ``parallel.build_published``, compiled.
    """

    def __init__(self, network: Model) -> None:
        super().__init__(network.inputs, network.outputs, name=network.name)
        self.compile(network.optimizer, network.loss, metrics=["accuracy"])
        self.recurrent = {
            layer.name: lstm_last_state(layer) if isinstance(layer, layers.LSTM) else bidirectional_gru(layer)
            for layer in self.layers
            if isinstance(layer, layers.LSTM | layers.Bidirectional)
        }

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """(n, frames, n_mels) dB to (n, classes) probabilities, as the plain network gives."""
        clip = ops.reshape(inputs, (-1, *self.input_shape[1:]))  # a static shape, which XLA needs
        return FORWARD[self.name](self, clip, bool(training))


def _crnn(model: CpuFusedNetwork, clip: tf.Tensor, training: bool) -> tf.Tensor:
    """The published CRNN: (n, frames, n_mels) dB to (n, classes) probabilities."""
    layer, x = model.get_layer, clip
    scale = layer("ln_power").scale  # applied to the first kernel, which has fewer values than the clip
    for block in range(1, 4):
        conv, norm = layer(f"conv{block}"), layer(f"norm{block}")
        if training:
            x = _fused_batch_norm(norm, tf.nn.conv1d(x, conv.kernel * scale, 1, "VALID"), conv.bias.value)
        else:
            gain = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
            x = tf.nn.conv1d(x, conv.kernel * scale * gain, 1, "VALID")
            x = tf.nn.bias_add(x, (conv.bias - norm.moving_mean) * gain + norm.beta)
        x = layer(f"relu{block}")(layer(f"pool{block}")(x))
        x, scale = layer(f"dropout{block}")(x, training=training), 1.0
    x = model.recurrent["lstm"](tf.transpose(x, (1, 0, 2)))
    x = layer("embedding")(layer("dropout_lstm")(x, training=training))
    return layer("genre")(layer("dropout_embedding")(x, training=training))


def _fused_batch_norm(layer: layers.BatchNormalization, x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Batch norm of (n, frames, filters) plus a bias, as one kernel in each direction; updates the running statistics.

    Subtracting the mean cancels the bias: it matters for the running mean alone, and its gradient is 0.
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.expand_dims(x, 1),
        scale=layer.gamma,
        offset=layer.beta + 0 * bias,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
    )
    n_values = tf.cast(tf.shape(x)[0] * tf.shape(x)[1], tf.float32)
    # The kernel returns the unbiased variance, Keras averages the biased one.
    biased_variance = variance * (1 - 1 / n_values)
    for moving, batch in ((layer.moving_mean, mean + bias), (layer.moving_variance, biased_variance)):
        moving.assign(moving * layer.momentum + tf.stop_gradient(batch) * (1 - layer.momentum))
    return tf.squeeze(y, 1)


def _parallel(model: CpuFusedNetwork, clip: tf.Tensor, training: bool) -> tf.Tensor:
    """The published parallel network: (n, frames, n_mels) dB to (n, classes) probabilities; alike in training."""
    layer = model.get_layer
    bands_first = x = ops.transpose(layer("ln_power")(clip), (0, 2, 1))
    for block in range(1, 6):
        conv, pool = layer(f"conv{block}"), layer(f"pool{block}").pool_size
        if block == 1:
            x = _fused_conv_pool_relu(pool)(x, ops.squeeze(conv.kernel.value, (1, 2)), conv.bias.value)
        else:
            x = tf.nn.conv2d(x, ops.transpose(conv.kernel, (1, 0, 2, 3)), 1, "VALID")
            x = tf.nn.max_pool2d(x, pool[::-1], pool[::-1], "VALID")
            x = tf.nn.relu(tf.nn.bias_add(x, conv.bias))
    convolutional = layer("convolutional")(ops.transpose(x, (0, 2, 1, 3)))
    sequence = ops.transpose(_max_pool(layer("recurrent_pool").pool_size)(bands_first), (2, 0, 1))
    recurrent = model.recurrent["recurrent"](sequence)
    return layer("genre")(layer("embedding")([convolutional, recurrent]))


def _max_pool(pool: tuple[int, int]) -> Any:
    """Max-pooling of (frames, bands) of a clip (n, bands, frames): (n, bands / pool, frames / pool)."""

    @xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(clip: tf.Tensor) -> tf.Tensor:
        n_frames, n_bands = clip.shape[2] // pool[0], clip.shape[1] // pool[1]
        return _maximum(
            [
                clip[:, band :: pool[1], frame :: pool[0]][:, :n_bands, :n_frames]
                for frame in range(pool[0])
                for band in range(pool[1])
            ]
        )

    return forward


def _fused_conv_pool_relu(pool: tuple[int, int]) -> Any:
    """Convolution over frames of a clip (n, bands, frames), kernel (taps, filters), then max-pooling of (frames,
    bands), bias and ReLU: (n, bands / pool, frames / pool, filters). The clip gets no gradient.
    """

    @xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(clip: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        _, values = _im2col_conv(clip, kernel, pool)
        return tf.nn.relu(_maximum(values) + bias)

    @xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def gradient_parts(clip: tf.Tensor, kernel: tf.Tensor, output: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        """Each output cell's part of the gradient of each tap and, last, of the bias: the gradients are their sums."""
        patches, values = _im2col_conv(clip, kernel, pool)
        maximum, upstream = _maximum(values), tf.where(output > 0, upstream, 0.0)
        selected = patches[-1]
        # Backwards, so that of equal maxima the first one counts, as in TensorFlow's max-pooling.
        for patch, value in zip(patches[-2::-1], values[-2::-1], strict=True):
            selected = [tf.where(value == maximum, x, other) for x, other in zip(patch, selected, strict=True)]
        return [*(x * upstream for x in selected), upstream]

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def block(clip: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
        output = forward(clip, kernel, bias)

        def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor, tf.Tensor]:
            n_filters = kernel.shape[1]
            parts = [tf.reshape(part, (-1, n_filters)) for part in gradient_parts(clip, kernel, output, upstream)]
            ones = tf.ones((1, tf.shape(parts[0])[0]))  # a matrix product is faster here than ``reduce_sum``
            *grad_taps, grad_bias = [tf.matmul(ones, part) for part in parts]
            return None, tf.concat(grad_taps, 0), grad_bias[0]

        return output, gradient

    return block


def _im2col_conv(
    clip: tf.Tensor, kernel: tf.Tensor, pool: tuple[int, int]
) -> tuple[list[list[tf.Tensor]], list[tf.Tensor]]:
    """For each position in a pooling window: the input of each tap of the kernel, and the convolution's value.

    Args:
        clip: (n, bands, frames).
        kernel: (taps, filters).
        pool: (frames, bands) of a pooling window.

    Returns:
        A list of tensors (n, bands / pool, frames / pool, 1), one a tap, for each position; and for each position a
        tensor (n, bands / pool, frames / pool, filters).
    """
    n_taps = kernel.shape[0]
    n_frames, n_bands = (clip.shape[2] - n_taps + 1) // pool[0], clip.shape[1] // pool[1]
    patches = [
        [clip[:, band :: pool[1], frame + tap :: pool[0], None][:, :n_bands, :n_frames] for tap in range(n_taps)]
        for frame in range(pool[0])
        for band in range(pool[1])
    ]
    return patches, [tf.add_n([x * kernel[tap] for tap, x in enumerate(patch)]) for patch in patches]


def _maximum(tensors: list[tf.Tensor]) -> tf.Tensor:
    """The maximum over tensors of the same shape, element by element."""
    largest = tensors[0]
    for tensor in tensors[1:]:
        largest = tf.maximum(largest, tensor)
    return largest


FORWARD = {"crnn": _crnn, "parallel": _parallel}  # by the name of a published network, its forward pass
