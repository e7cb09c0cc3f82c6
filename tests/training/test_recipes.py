"""What the two recipes do: optimizers, learning rates, targets."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from music_genre.params import load_params
from music_genre.training.recipes import ImprovedRecipe, PublishedRecipe, make_recipe

MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models  # the committed values are the study's


def small_network() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])


@pytest.mark.parametrize(
    ("name", "optimizer", "learning_rate", "batch_size", "epochs"),
    [("crnn", "Adam", 1e-3, 32, 70), ("parallel", "RMSprop", 5e-4, 64, 50)],
)
def test_published_recipe_is_the_studys(
    name: str, optimizer: str, learning_rate: float, batch_size: int, epochs: int
) -> None:
    params, model = MODELS[name].published, small_network()
    recipe = make_recipe("published", params)
    recipe.compile(model, 100)
    plain = getattr(keras.optimizers, optimizer)(learning_rate)
    assert model.optimizer.get_config() == plain.get_config() | {
        "name": model.optimizer.name,
        "learning_rate": pytest.approx(learning_rate),
    }
    assert (params.batch_size, params.epochs) == (batch_size, epochs)
    assert isinstance(recipe, PublishedRecipe)
    assert recipe.n_seeds == 1


def test_improved_learning_rate_rises_then_falls_to_zero() -> None:
    params = MODELS["crnn"].improved.model_copy(update={"learning_rate": 0.01, "warmup_fraction": 0.1})
    model = small_network()
    make_recipe("improved", params).compile(model, 100)
    rates = [float(model.optimizer._learning_rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0, 0.005, 0.01, 0.005, 0], atol=1e-9)


def test_improved_weights_are_an_average_over_a_fraction_of_the_steps_and_only_kernels_decay() -> None:
    params, model = MODELS["crnn"].improved.model_copy(update={"ema_fraction": 0.2}), small_network()
    recipe = make_recipe("improved", params)
    recipe.compile(model, 100)
    assert model.optimizer.ema_momentum == pytest.approx(0.95)
    assert [model.optimizer._use_weight_decay(weight) for weight in model.trainable_variables] == [True, False]
    assert [type(callback).__name__ for callback in recipe.callbacks()] == ["SwapEMAWeights"]


def test_improved_recipe_without_average_keeps_the_last_weights() -> None:
    params, model = MODELS["crnn"].improved.model_copy(update={"ema_fraction": 0.0}), small_network()
    recipe = make_recipe("improved", params)
    recipe.compile(model, 100)
    assert not model.optimizer.use_ema
    assert recipe.callbacks() == []


def test_published_batches_are_clips_and_labels_as_they_are() -> None:
    mel, labels = np.zeros((3, 4, 5), np.float32), np.array([0, 2, 1])
    batch = make_recipe("published", MODELS["crnn"].published).batch(mel, labels, 3, np.random.default_rng(0))
    assert batch[0] is mel
    assert batch[1] is labels


def test_improved_batches_are_augmented_in_training_only() -> None:
    recipe = make_recipe("improved", MODELS["crnn"].improved)
    assert isinstance(recipe, ImprovedRecipe)
    mel, labels = np.random.default_rng(0).normal(-40, 5, (3, 8, 5)).astype(np.float32), np.array([0, 2, 1])
    validation, target = recipe.batch(mel, labels, 3, None)
    assert validation is mel
    np.testing.assert_array_equal(target, np.eye(3)[labels])
    training, _ = recipe.batch(mel, labels, 3, np.random.default_rng(0))
    assert training.shape == (3, 4, 5)  # half of the frames
