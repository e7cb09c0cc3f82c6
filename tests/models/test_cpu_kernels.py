"""The swift arrangement of the published networks computes what the plain one does."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from music_genre.models.cpu_kernels.fused import Swift
from music_genre.params import load_params
from music_genre.training.trainer import build_published

MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models
SHAPE, CLASSES = (80, 24), 3
PARALLEL = {"pools": ((2, 2), (3, 2), (1, 2), (2, 2), (1, 1)), "recurrent_pool": (4, 2)}
UNEVEN = {"pools": ((3, 2), (2, 3), (2, 1), (1, 2), (1, 1)), "recurrent_pool": (3, 5)}


def network(name: str, changes: dict[str, object]) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    model = build_published(name, SHAPE, CLASSES, getattr(MODELS, name).model_copy(update=changes))
    random = np.random.default_rng(5)
    for weight in model.trainable_variables:  # no bias stays 0
        weight.assign(weight + random.normal(0, 0.05, weight.shape))
    return model


def loss_and_gradients(model: keras.Model, clips: np.ndarray) -> tuple[float, list[np.ndarray]]:
    @tf.function
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            label = np.arange(len(clips)) % CLASSES
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(label, model(clips, training=True)))
            loss += sum(model.losses)
        return loss, tape.gradient(loss, [weight.value for weight in model.trainable_variables])

    loss, gradients = step()
    return float(loss), [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        ("crnn", {}, 1),
        ("crnn", {"pools": (3, 2, 2)}, 5),
        ("parallel", PARALLEL, 5),
        ("parallel", {**UNEVEN, "reset_after": False}, 1),
    ],
)
def test_loss_and_gradients_are_those_of_the_plain_network(name: str, changes: dict[str, object], count: int) -> None:
    clips = np.random.default_rng(1).uniform(-80, 0, (count, *SHAPE)).astype(np.float32)
    clips[0, 50:] = -80  # padding: everywhere the maximum of equals
    plain, swift = network(name, changes), Swift(network(name, changes))
    shaped = clips.reshape(count, *plain.input_shape[1:])
    (expected_loss, expected), (loss, found) = loss_and_gradients(plain, shaped), loss_and_gradients(swift, clips)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    largest = max(np.abs(gradient).max() for gradient in expected)
    for weight, plain_gradient, gradient in zip(plain.trainable_variables, expected, found, strict=True):
        scale = max(np.abs(plain_gradient).max(), 1e-3 * largest)
        np.testing.assert_allclose(gradient / scale, plain_gradient / scale, atol=1e-4, err_msg=weight.path)
    for weight, other in zip(plain.non_trainable_variables, swift.non_trainable_variables, strict=True):
        if weight.dtype == "float32":  # the running statistics
            np.testing.assert_allclose(other, weight, rtol=1e-5, atol=1e-6, err_msg=weight.path)
    np.testing.assert_allclose(swift.predict(clips, verbose=0), plain.predict(shaped, verbose=0), atol=1e-6)


def test_what_learns_are_the_weights_of_the_plain_network() -> None:
    model = network("crnn", {})
    swift = Swift(model)
    assert swift.optimizer is model.optimizer
    assert [id(weight) for weight in swift.trainable_variables] == [id(weight) for weight in model.trainable_variables]
