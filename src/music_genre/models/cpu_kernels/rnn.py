"""GRU and LSTM with hand-written gradients for training on a CPU: one XLA-compiled loop over time in each direction.

The loop holds only what depends on the step before it (in the backward pass: on the step after it). The rest, above all
the gradients of the weights, is computed for all steps at once, by a few large matrix products outside of the loop.

Sequences are (steps, n, features), states (steps, n, units); W is a layer's kernel, U its recurrent kernel, b its bias.
``x_proj`` is x W + b for all steps. ``grad_y`` is the gradient of the loss with respect to y; where y is a gate, with
respect to the gate's input, before its activation. ``d_y_act`` is the factor by which a gradient passes the activation
of gate y on its way there.

GRU, with update gate z, reset gate r and candidate n (Cho et al., EMNLP 2014)::

    z[t] = sigmoid(x[t] Wz + h[t-1] Uz + bz)
    r[t] = sigmoid(x[t] Wr + h[t-1] Ur + br)
    n[t] = tanh(x[t] Wn + (r[t] h[t-1]) Un + bn)               reset_after = False
    n[t] = tanh(x[t] Wn + bn + r[t] (h[t-1] Un + cn))          reset_after = True, with a second bias c
    h[t] = z[t] h[t-1] + (1 - z[t]) n[t]

    grad_n   = grad_h[t] (1 - z) (1 - n^2)
    grad_z   = grad_h[t] (h[t-1] - n) z (1 - z)
    grad_rh  = grad_n Un^T                                     reset_after = False
    grad_r   = grad_rh h[t-1] r (1 - r)
    grad_h[t-1] = r grad_rh + z grad_h[t] + grad_z Uz^T + grad_r Ur^T
    grad_r   = grad_n (h[t-1] Un + cn) r (1 - r)               reset_after = True
    grad_h[t-1] = (r grad_n) Un^T + z grad_h[t] + grad_z Uz^T + grad_r Ur^T

LSTM, with input gate i, forget gate f, candidate g, output gate o and cell c (Hochreiter and Schmidhuber 1997)::

    i[t] = sigmoid(x[t] Wi + h[t-1] Ui + bi)                   f and o likewise
    g[t] = tanh(x[t] Wg + h[t-1] Ug + bg)
    c[t] = f[t] c[t-1] + i[t] g[t]
    h[t] = o[t] tanh(c[t])

    grad_o    = grad_h[t] tanh(c[t]) o (1 - o)
    grad_c[t] = grad_c[t] + grad_h[t] o (1 - tanh(c[t])^2)
    grad_i    = grad_c[t] g i (1 - i)
    grad_f    = grad_c[t] c[t-1] f (1 - f)
    grad_g    = grad_c[t] i (1 - g^2)
    grad_c[t-1] = f grad_c[t]
    grad_h[t-1] = [grad_i, grad_f, grad_g, grad_o] U^T
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import layers

xla_jit = tf.function(jit_compile=True, autograph=False)


def bidirectional_gru(layer: layers.Bidirectional) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a sequence to the last states (n, 2 * units) of the layer's GRUs, forward and backward. The
    sequence gets no gradient.
    """
    forward, backward = _gru_last_state(layer.forward_layer), _gru_last_state(layer.backward_layer)

    return lambda x: tf.concat([forward(x), backward(tf.reverse(x, [0]))], -1)


def _gru_last_state(layer: layers.GRU) -> Any:
    cell, gru_gradients = layer.cell, _gru_gradients(layer.reset_after)
    weights = [weight.value for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)]

    @xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def gru_states(x: tf.Tensor) -> tf.Tensor:
        def step(t: tf.Tensor, h: tf.Tensor, states: tf.TensorArray) -> tuple[tf.Tensor, ...]:
            h, _ = cell(x[t], h)
            return t + 1, h, states.write(t, h)

        n_steps, zeros = x.shape[0], tf.zeros((tf.shape(x)[1], layer.units))
        start = (0, zeros, tf.TensorArray(tf.float32, n_steps))
        return tf.while_loop(lambda t, *_: t < n_steps, step, start)[2].stack()

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def last_state(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
        states = gru_states(x)

        def gradient(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> tuple[None, list[tf.Tensor]]:
            grad_weights = gru_gradients(x, states, weights, upstream)
            by_variable = {weight.ref(): grad for weight, grad in zip(weights, grad_weights, strict=True)}
            return None, [by_variable[variable.ref()] for variable in variables]

        return states[-1], gradient

    return last_state


def _gru_gradients(reset_after: bool) -> Any:
    """A function from (sequence, states, [kernel, recurrent kernel, bias], gradient of the last state) to the gradients
    of these three weights.
    """

    @xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def gradients(x: tf.Tensor, states: tf.Tensor, weights: list[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
        kernel, recurrent, bias = weights
        units, h_prev = recurrent.shape[0], _shift(states)
        u_zr, u_n = recurrent[:, : 2 * units], recurrent[:, 2 * units :]
        x_proj = _matmul_time(x, kernel) + (bias[0] if reset_after else bias)
        h_proj = _matmul_time(h_prev, u_zr) + (bias[1, : 2 * units] if reset_after else 0.0)
        z, r = tf.split(tf.sigmoid(x_proj[..., : 2 * units] + h_proj), 2, -1)
        if reset_after:
            h_candidate = _matmul_time(h_prev, u_n) + bias[1, 2 * units :]  # what r multiplies
            n = tf.tanh(x_proj[..., 2 * units :] + r * h_candidate)
        else:
            h_candidate = h_prev
            n = tf.tanh(x_proj[..., 2 * units :] + _matmul_time(r * h_prev, u_n))
        d_z_act = (h_prev - n) * z * (1 - z)
        d_n_act = (1 - z) * (1 - n**2)
        d_r_act = h_candidate * r * (1 - r)

        def step(t: tf.Tensor, grad_h: tf.Tensor, gates: tf.TensorArray) -> tuple[tf.Tensor, ...]:
            grad_n = grad_h * d_n_act[t]
            if reset_after:
                grad_rh, grad_h_prev = grad_n, _matmul_t(grad_n * r[t], u_n)
            else:
                grad_rh = _matmul_t(grad_n, u_n)
                grad_h_prev = grad_rh * r[t]
            grad_zr = tf.concat([grad_h * d_z_act[t], grad_rh * d_r_act[t]], -1)
            grad_h_prev += grad_h * z[t] + _matmul_t(grad_zr, u_zr)
            return t - 1, grad_h_prev, gates.write(t, tf.concat([grad_zr, grad_n], -1))

        n_steps = x.shape[0]
        start = (n_steps - 1, upstream, tf.TensorArray(tf.float32, n_steps))
        grad_x_proj = tf.while_loop(lambda t, *_: t >= 0, step, start)[2].stack()
        grad_zr, grad_n = grad_x_proj[..., : 2 * units], grad_x_proj[..., 2 * units :]
        if reset_after:
            grad_h_proj = tf.concat([grad_zr, grad_n * r], -1)
            grad_recurrent = _grad_kernel(h_prev, grad_h_proj)
            grad_bias = tf.stack([_sum_time_batch(grad_x_proj), _sum_time_batch(grad_h_proj)])
        else:
            grad_recurrent = tf.concat([_grad_kernel(h_prev, grad_zr), _grad_kernel(r * h_prev, grad_n)], -1)
            grad_bias = _sum_time_batch(grad_x_proj)
        return [_grad_kernel(x, grad_x_proj), grad_recurrent, grad_bias]

    return gradients


def lstm_last_state(layer: layers.LSTM) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a sequence to the last state (n, units) of an LSTM, two halves of a batch in parallel."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def last_state(
        x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[..., tuple[tf.Tensor, ...]]]:
        halves = [_lstm_forward(x_proj, recurrent) for x_proj in _split_batch(_matmul_time(x, kernel) + bias, 1)]
        states = tf.concat([states for *_, states in halves], 1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            grads = zip(halves, _split_batch(upstream, 0), strict=True)
            grad_x_proj = tf.concat([_lstm_backward(gates, c, recurrent, grad) for (gates, c, _), grad in grads], 1)
            grad_x = _matmul_time(grad_x_proj, tf.transpose(kernel))
            grad_recurrent = _grad_kernel(_shift(states), grad_x_proj)
            return grad_x, _grad_kernel(x, grad_x_proj), grad_recurrent, _sum_time_batch(grad_x_proj)

        return states[-1], gradient

    weights = [layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias]
    return lambda x: last_state(x, *(tf.convert_to_tensor(weight) for weight in weights))


@xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _lstm_forward(x_proj: tf.Tensor, recurrent: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """From (steps, n, 4 * units): the gates in Keras' order i, f, g, o (steps, n, 4 * units), the cells and the states
    (steps, n, units).
    """

    def step(t: tf.Tensor, c: tf.Tensor, h: tf.Tensor, *history: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        i, f, g, o = tf.split(x_proj[t] + tf.matmul(h, recurrent), 4, -1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * c + i * g
        h = o * tf.tanh(c)
        values = (tf.concat([i, f, g, o], -1), c, h)
        return t + 1, c, h, *(array.write(t, value) for array, value in zip(history, values, strict=True))

    n_steps, zeros = x_proj.shape[0], tf.zeros((tf.shape(x_proj)[1], recurrent.shape[0]))
    start = (0, zeros, zeros, *(tf.TensorArray(tf.float32, n_steps) for _ in range(3)))
    return tuple(array.stack() for array in tf.while_loop(lambda t, *_: t < n_steps, step, start)[3:])


@xla_jit  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _lstm_backward(gates: tf.Tensor, cells: tf.Tensor, recurrent: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """The gradient (steps, n, 4 * units) of ``x_proj`` from that of the last state (n, units)."""
    i, f, g, o = tf.split(gates, 4, -1)
    tanh_c = tf.tanh(cells)
    d_i_act, d_f_act, d_g_act = g * i * (1 - i), _shift(cells) * f * (1 - f), i * (1 - g**2)
    d_o_act, d_tanh_c = tanh_c * o * (1 - o), o * (1 - tanh_c**2)
    recurrent_t = tf.transpose(recurrent)

    def step(t: tf.Tensor, grad_c: tf.Tensor, grad_h: tf.Tensor, history: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        grad_c += grad_h * d_tanh_c[t]
        grad_ifg = [grad_c * d_act[t] for d_act in (d_i_act, d_f_act, d_g_act)]
        grad_gates = tf.concat([*grad_ifg, grad_h * d_o_act[t]], -1)
        return t - 1, grad_c * f[t], tf.matmul(grad_gates, recurrent_t), history.write(t, grad_gates)

    n_steps = gates.shape[0]
    start = (n_steps - 1, tf.zeros_like(upstream), upstream, tf.TensorArray(tf.float32, n_steps))
    return tf.while_loop(lambda t, *_: t >= 0, step, start)[3].stack()


def _split_batch(x: tf.Tensor, axis: int) -> list[tf.Tensor]:
    """The two halves of a batch along ``axis``."""
    n = tf.shape(x)[axis]
    return tf.split(x, [n // 2, n - n // 2], axis)  # type: ignore[no-any-return]  # TensorFlow has no types


def _shift(x: tf.Tensor) -> tf.Tensor:
    """x[t-1] for all t: zeros for the first step."""
    return tf.concat([tf.zeros_like(x[:1]), x[:-1]], 0)


def _matmul_time(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """x[t] weights for all t."""
    return tf.tensordot(x, weights, 1)


def _matmul_t(gradient: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The gradient of x from that of the product x weights."""
    return tf.matmul(gradient, weights, transpose_b=True)


def _grad_kernel(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """The gradient of weights from that of the products x[t] weights."""
    return tf.tensordot(x, gradient, ((0, 1), (0, 1)))


def _sum_time_batch(gradient: tf.Tensor) -> tf.Tensor:
    """The sum over steps and clips, as a matrix product because that is faster than ``reduce_sum``."""
    return tf.tensordot(tf.ones(tf.shape(gradient)[:2]), gradient, ((0, 1), (0, 1)))
