"""A bidirectional GRU for training on a processor: one compiled loop over the steps each way.

Forwards, the layer's own cell takes the steps, and only its states are kept. Backwards, what the gates were comes of
all states at once, as a few large products; in the loop remains what depends on the step after it, and the gradients of
the weights are large products again. Sequences are (steps, n, features), states (steps, n, units).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import layers

compiled = tf.function(jit_compile=True, autograph=False)


def both_ways(layer: layers.Bidirectional) -> Callable[[tf.Tensor], tf.Tensor]:
    """The last states (n, 2 * units) of GRUs that read a sequence from both ends, side by side. It gets no gradient."""
    forwards, backwards = _last_state(layer.forward_layer), _last_state(layer.backward_layer)

    return lambda x: tf.concat([forwards(x), backwards(tf.reverse(x, [0]))], -1)


def _last_state(layer: layers.GRU) -> Any:
    cell, backward = layer.cell, _gradients(layer.reset_after)
    weights = [weight.value for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)]

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def forward(x: tf.Tensor) -> tf.Tensor:
        def step(at: tf.Tensor, state: tf.Tensor, kept: tf.TensorArray) -> tuple[tf.Tensor, ...]:
            state, _ = cell(x[at], state)
            return at + 1, state, kept.write(at, state)

        steps, start = x.shape[0], tf.zeros((tf.shape(x)[1], layer.units))
        return tf.while_loop(lambda at, *_: at < steps, step, (0, start, tf.TensorArray(tf.float32, steps)))[2].stack()

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def run(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
        states = forward(x)

        def gradient(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> tuple[None, list[tf.Tensor]]:
            of_weights = backward(x, states, weights, upstream)
            found = {weight.ref(): value for weight, value in zip(weights, of_weights, strict=True)}
            return None, [found[variable.ref()] for variable in variables]

        return states[-1], gradient

    return run


def _gradients(resets_after: bool) -> Any:
    """A function to the gradients of a GRU's kernel, recurrent kernel and bias from its sequence, its states, these
    weights and the gradient of the last state.
    """

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def found(x: tf.Tensor, states: tf.Tensor, weights: list[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
        kernel, recurrent, bias = weights
        units, before = recurrent.shape[0], tf.concat([tf.zeros_like(states[:1]), states[:-1]], 0)
        to_gates, to_candidate = recurrent[:, : 2 * units], recurrent[:, 2 * units :]
        entering = _product(x, kernel) + (bias[0] if resets_after else bias)
        inner = _product(before, to_gates) + (bias[1, : 2 * units] if resets_after else 0.0)
        update, reset = tf.split(tf.sigmoid(entering[..., : 2 * units] + inner), 2, -1)
        if resets_after:
            remembered = _product(before, to_candidate) + bias[1, 2 * units :]
            candidate = tf.tanh(entering[..., 2 * units :] + reset * remembered)
        else:
            remembered = before
            candidate = tf.tanh(entering[..., 2 * units :] + _product(reset * before, to_candidate))
        # What takes a gradient through an activation to what went into it.
        through_update = (before - candidate) * update * (1 - update)
        through_candidate = (1 - update) * (1 - candidate**2)
        through_reset = remembered * reset * (1 - reset)

        def step(at: tf.Tensor, of_state: tf.Tensor, kept: tf.TensorArray) -> tuple[tf.Tensor, ...]:
            of_candidate = of_state * through_candidate[at]
            if resets_after:
                of_remembered, of_before = of_candidate, _back(of_candidate * reset[at], to_candidate)
            else:
                of_remembered = _back(of_candidate, to_candidate)
                of_before = of_remembered * reset[at]
            of_gates = tf.concat([of_state * through_update[at], of_remembered * through_reset[at]], -1)
            of_before += of_state * update[at] + _back(of_gates, to_gates)
            return at - 1, of_before, kept.write(at, tf.concat([of_gates, of_candidate], -1))

        steps = x.shape[0]
        start = (steps - 1, upstream, tf.TensorArray(tf.float32, steps))
        of_entering = tf.while_loop(lambda at, *_: at >= 0, step, start)[2].stack()
        of_gates, of_candidate = of_entering[..., : 2 * units], of_entering[..., 2 * units :]
        if resets_after:
            of_inner = tf.concat([of_gates, of_candidate * reset], -1)
            of_recurrent, of_bias = _outer(before, of_inner), tf.stack([_total(of_entering), _total(of_inner)])
        else:
            of_recurrent = tf.concat([_outer(before, of_gates), _outer(reset * before, of_candidate)], -1)
            of_bias = _total(of_entering)
        return [_outer(x, of_entering), of_recurrent, of_bias]

    return found


def _product(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Of all steps at once."""
    return tf.tensordot(x, weights, 1)


def _back(gradient: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Through a product with weights."""
    return tf.matmul(gradient, weights, transpose_b=True)


def _outer(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """The gradient of weights that all steps share."""
    return tf.tensordot(x, gradient, ((0, 1), (0, 1)))


def _total(gradient: tf.Tensor) -> tf.Tensor:
    """Over steps and clips; a product sums faster than a sum does."""
    return tf.tensordot(tf.ones(tf.shape(gradient)[:2]), gradient, ((0, 1), (0, 1)))
