"""Fused networks compute what the plain published networks compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from music_genre.models.cpu_kernels.fused import CpuFusedNetwork
from music_genre.models.registry import get_model
from music_genre.params import load_params
from music_genre.training.recipes import make_recipe

MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models
SHAPE, N_CLASSES = (80, 24), 3
EVEN_POOLS = {"pools": ((2, 2), (3, 2), (1, 2), (2, 2), (1, 1)), "recurrent_pool": (4, 2)}
UNEVEN_POOLS = {"pools": ((3, 2), (2, 3), (2, 1), (1, 2), (1, 1)), "recurrent_pool": (3, 5)}


def compiled_network(name: str, changes: dict[str, Any]) -> keras.Model:
    """A published network with reproducible weights, of which no bias is 0."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    params = MODELS[name].published.model_copy(update=changes)
    model = get_model(name).builders["published"](SHAPE, N_CLASSES, params)
    make_recipe("published", params).compile(model, 1)
    rng = np.random.default_rng(5)
    for weight in model.trainable_variables:
        weight.assign(weight + rng.normal(0, 0.05, weight.shape))
    return model


def loss_and_gradients(model: keras.Model, clips: np.ndarray) -> tuple[float, list[np.ndarray]]:
    @tf.function
    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            labels = np.arange(len(clips)) % N_CLASSES
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, model(clips, training=True)))
            loss += sum(model.losses)
        return loss, tape.gradient(loss, [weight.value for weight in model.trainable_variables])

    loss, gradients = step()
    return float(loss), [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize(
    ("name", "changes", "batch_size"),
    [
        ("crnn", {}, 1),
        pytest.param("crnn", {"pools": (3, 2, 2)}, 5, marks=pytest.mark.slow),
        pytest.param("parallel", EVEN_POOLS | {"reset_after": True}, 5, marks=pytest.mark.slow),
        pytest.param("parallel", UNEVEN_POOLS | {"reset_after": False}, 1, marks=pytest.mark.slow),
    ],
)
def test_fused_network_has_loss_gradients_and_predictions_of_the_plain_network(
    name: str, changes: dict[str, Any], batch_size: int
) -> None:
    clips = np.random.default_rng(1).uniform(-80, 0, (batch_size, *SHAPE)).astype(np.float32)
    clips[0, 50:] = -80  # padding, where all values in a pooling window are equal
    plain, fused = compiled_network(name, changes), CpuFusedNetwork(compiled_network(name, changes))
    expected_loss, expected_gradients = loss_and_gradients(plain, clips)
    loss, gradients = loss_and_gradients(fused, clips)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    largest = max(np.abs(gradient).max() for gradient in expected_gradients)
    for weight, expected, gradient in zip(plain.trainable_variables, expected_gradients, gradients, strict=True):
        scale = max(np.abs(expected).max(), 1e-3 * largest)
        np.testing.assert_allclose(gradient / scale, expected / scale, atol=1e-4, err_msg=weight.path)
    for expected, weight in zip(plain.non_trainable_variables, fused.non_trainable_variables, strict=True):
        if expected.dtype == "float32":  # the running statistics; the others are states of random number generators
            np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6, err_msg=expected.path)
    np.testing.assert_allclose(fused.predict(clips, verbose=0), plain.predict(clips, verbose=0), atol=1e-6)


def test_fused_network_trains_the_plain_networks_own_weights() -> None:
    model = compiled_network("crnn", {})
    fused = CpuFusedNetwork(model)
    assert fused.optimizer is model.optimizer
    assert [id(weight) for weight in fused.trainable_variables] == [id(weight) for weight in model.trainable_variables]
