"""Recurrent layers for training on a processor: one compiled loop over the steps each way.

In the loop is only what depends on the step before, or backwards on the step after; what all steps share, gradients of
the weights above all, is a few large products outside. A GRU's own cell takes its steps, and what its gates were comes
of all states at once; an LSTM keeps its gates. Sequences are (steps, n, features), states (steps, n, units).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import layers

compiled = tf.function(jit_compile=True, autograph=False)


def both_ways(layer: layers.Bidirectional) -> Callable[[tf.Tensor], tf.Tensor]:
    """The last states (n, 2 * units) of GRUs that read a sequence from both ends, side by side. It gets no gradient."""
    forwards, backwards = _gru(layer.forward_layer), _gru(layer.backward_layer)

    return lambda x: tf.concat([forwards(x), backwards(tf.reverse(x, [0]))], -1)


def _gru(layer: layers.GRU) -> Any:
    cell, backward = layer.cell, _gru_gradients(layer.reset_after)
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


def _gru_gradients(resets_after: bool) -> Any:
    """A function to the gradients of a GRU's kernel, recurrent kernel and bias from its sequence, its states, these
    weights and the gradient of the last state.
    """

    @compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def found(x: tf.Tensor, states: tf.Tensor, weights: list[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
        kernel, recurrent, bias = weights
        units, before = recurrent.shape[0], _before(states)
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


def last_state(layer: layers.LSTM) -> Callable[[tf.Tensor], tf.Tensor]:
    """The last state (n, units) of an LSTM that reads a sequence, two halves of a batch at once."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def run(
        x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
        kept = [_lstm_forward(half, recurrent) for half in _halves(_product(x, kernel) + bias, 1)]
        states = tf.concat([states for *_, states in kept], 1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            parts = zip(kept, _halves(upstream, 0), strict=True)
            of_entering = tf.concat([_lstm_back(*of, recurrent, part) for (*of, _), part in parts], 1)
            of_x, of_recurrent = _product(of_entering, tf.transpose(kernel)), _outer(_before(states), of_entering)
            return of_x, _outer(x, of_entering), of_recurrent, _total(of_entering)

        return states[-1], gradient

    weights = [layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias]
    return lambda x: run(x, *(tf.convert_to_tensor(weight) for weight in weights))


@compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _lstm_forward(entering: tf.Tensor, recurrent: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Gates in Keras' order (steps, n, 4 * units), memories and states of what enters the gates."""

    def step(at: tf.Tensor, memory: tf.Tensor, state: tf.Tensor, *kept: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        entry, forget, candidate, exit_ = tf.split(entering[at] + tf.matmul(state, recurrent), 4, -1)
        entry, forget, candidate, exit_ = tf.sigmoid(entry), tf.sigmoid(forget), tf.tanh(candidate), tf.sigmoid(exit_)
        memory = forget * memory + entry * candidate
        state = exit_ * tf.tanh(memory)
        found = (tf.concat([entry, forget, candidate, exit_], -1), memory, state)
        return at + 1, memory, state, *(array.write(at, value) for array, value in zip(kept, found, strict=True))

    steps, nothing = entering.shape[0], tf.zeros((tf.shape(entering)[1], recurrent.shape[0]))
    start = (0, nothing, nothing, *(tf.TensorArray(tf.float32, steps) for _ in range(3)))
    return tuple(array.stack() for array in tf.while_loop(lambda at, *_: at < steps, step, start)[3:])


@compiled  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _lstm_back(gates: tf.Tensor, memories: tf.Tensor, recurrent: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient of what enters the gates from that of the last state."""
    entry, forget, candidate, exit_ = tf.split(gates, 4, -1)
    shown = tf.tanh(memories)
    # What takes a gradient to what went into a gate: of the memory, and of the state.
    through_memory = [
        candidate * entry * (1 - entry),
        _before(memories) * forget * (1 - forget),
        entry * (1 - candidate**2),
    ]
    through_exit, through_shown = shown * exit_ * (1 - exit_), exit_ * (1 - shown**2)
    back = tf.transpose(recurrent)

    def step(at: tf.Tensor, of_memory: tf.Tensor, of_state: tf.Tensor, kept: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        of_memory += of_state * through_shown[at]
        of_gates = tf.concat([*(of_memory * gate[at] for gate in through_memory), of_state * through_exit[at]], -1)
        return at - 1, of_memory * forget[at], tf.matmul(of_gates, back), kept.write(at, of_gates)

    steps = gates.shape[0]
    start = (steps - 1, tf.zeros_like(upstream), upstream, tf.TensorArray(tf.float32, steps))
    return tf.while_loop(lambda at, *_: at >= 0, step, start)[3].stack()


def _halves(x: tf.Tensor, axis: int) -> list[tf.Tensor]:
    count = tf.shape(x)[axis]
    return tf.split(x, [count // 2, count - count // 2], axis)  # type: ignore[no-any-return]  # TensorFlow has no types


def _before(x: tf.Tensor) -> tf.Tensor:
    """What was there before each step: at first nothing."""
    return tf.concat([tf.zeros_like(x[:1]), x[:-1]], 0)


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
