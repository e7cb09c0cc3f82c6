"""Saliency points to what a prediction depends on: checked on a model made by hand, and on a trained one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.features.store import SpectrogramStore
from music_genre.interpretation.saliency import (
    Predict,
    SaliencyExample,
    block_index,
    explain_predictions,
    faithfulness,
    integrated_gradients,
    make_gradient_fn,
    mean_baseline,
    occlusion,
    sum_blocks,
)
from music_genre.models.predictors import load_predictor

keras = pytest.importorskip("keras")


def handmade_model() -> tuple[Predict, keras.Model]:
    """A model whose prediction depends on frames 8 to 15 of bands 4 to 7 alone."""
    weights = np.zeros((32, 16), np.float32)
    weights[8:16, 4:8] = 0.005
    clip = keras.Input((32, 16))
    dense = keras.layers.Dense(1, activation="sigmoid", bias_initializer=keras.initializers.Constant(3.0))
    probability = dense(keras.layers.Flatten()(clip))
    model = keras.Model(clip, keras.layers.Concatenate()([1 - probability, probability]))
    dense.kernel.assign(weights.reshape(-1, 1))
    return lambda mel: np.asarray(model(mel)), model


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """(32, 16) dB, loud where ``handmade_model`` depends on it."""
    mel = np.random.default_rng(1).uniform(-80, -50, (32, 16)).astype(np.float32)
    mel[8:16, 4:8] = -5
    return mel


def test_saliency_is_where_the_prediction_depends_on_the_clip(clip: np.ndarray) -> None:
    predict, model = handmade_model()
    gradients = integrated_gradients(make_gradient_fn([(model, 1.0)]), clip, 1)
    region = np.zeros((32, 16), bool)
    region[8:16, 4:8] = True
    assert np.all(gradients[region] > 0)
    assert np.all(gradients[~region] == 0)
    blocks = occlusion(predict, clip, 1)
    assert set(zip(*np.nonzero(blocks > 1e-4), strict=True)) == {(t, b) for t in range(4, 8) for b in (2, 3)}


def test_integrated_gradients_sum_to_the_difference_from_the_baseline(clip: np.ndarray) -> None:
    predict, model = handmade_model()
    gradients = integrated_gradients(make_gradient_fn([(model, 1.0)]), clip, 1)
    difference = predict(clip[None])[0, 1] - predict(mean_baseline(clip)[None])[0, 1]
    assert gradients.sum() == pytest.approx(difference, abs=0.01)


def test_gradients_of_an_average_are_the_average_of_gradients(clip: np.ndarray) -> None:
    one, other = handmade_model()[1], handmade_model()[1]
    other.layers[2].kernel.assign(-other.layers[2].kernel)
    alone = [integrated_gradients(make_gradient_fn([(model, 1.0)]), clip, 1) for model in (one, other)]
    both = integrated_gradients(make_gradient_fn([(one, 0.25), (other, 0.75)]), clip, 1)
    np.testing.assert_allclose(both, 0.25 * alone[0] + 0.75 * alone[1], atol=1e-6)


def test_deleting_salient_blocks_drops_the_probability_more_than_random_ones(
    trained_checkout: Path, networks: dict[str, keras.Model], data: SpectrogramStore
) -> None:
    predict = load_predictor(trained_checkout / "models/parallel/model.keras", "parallel").predict
    clips = data.split("test")
    examples = list(explain_predictions(predict, make_gradient_fn([(networks["parallel"], 1.0)]), clips))
    assert [example.label for example in examples] == clips.label.tolist()
    table = faithfulness(predict, examples, seed=0).set_index("method")
    assert table["clips"].tolist() == [len(clips)] * 2
    assert (table["drop_top"] > table["drop_random"]).all()
    assert (table["win_rate"] > 0.5).all()


def test_wrong_saliency_has_a_low_win_rate(clip: np.ndarray) -> None:
    predict, model = handmade_model()
    gradients = integrated_gradients(make_gradient_fn([(model, 1.0)]), clip, 1)
    blocks = occlusion(predict, clip, 1)
    right = SaliencyExample(1, 1, 0.9, clip, gradients, blocks)
    wrong = SaliencyExample(1, 1, 0.9, clip, -gradients, -blocks)
    assert faithfulness(predict, [right], seed=0)["win_rate"].tolist() == [1, 1]
    assert faithfulness(predict, [wrong], seed=0)["win_rate"].tolist() == [0, 0]
    assert faithfulness(predict, [right, wrong], seed=0)["win_rate"].tolist() == [0.5, 0.5]


def test_blocks_cover_a_clip_evenly() -> None:
    index = block_index((640, 128))
    assert np.bincount(index.ravel()).tolist() == [640] * 128
    assert (index[0, 0], index[-1, -1]) == (0, 127)
    assert sum_blocks(np.ones((5, 3))).tolist() == [[1] * 3] * 5
