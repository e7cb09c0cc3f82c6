"""The two networks, as published and improved: shapes, counts, optimisers and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from music_genre.models.assembly import assemble
from music_genre.models.scaling import decibels_to_ln_power

from music_genre.errors import MusicGenreError
from music_genre.models import baseline, crnn, parallel
from music_genre.params import Params, load_params
from music_genre.training.trainer import build_published

SHAPE, GENRES = (640, 128), 8


PUBLISHED = {
    "crnn": {"recipe": "published", "epochs": 70, "batch_size": 32, "learning_rate": 1e-3},
    "parallel": {"recipe": "published", "epochs": 50, "batch_size": 64, "learning_rate": 5e-4},
}


@pytest.fixture(scope="module")
def params() -> Params:
    """The committed values, with the study's where a recipe has its own."""
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    networks = {name: getattr(params.models, name).model_copy(update=study) for name, study in PUBLISHED.items()}
    return params.model_copy(update={"models": params.models.model_copy(update=networks)})


def test_the_crnn_has_the_published_number_of_parameters(params: Params) -> None:
    model = crnn.published(SHAPE, GENRES, params.models.crnn)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (model.count_params(), trainable) == (133_520, 133_184)


def test_the_crnn_has_the_published_shapes(params: Params) -> None:
    model = crnn.published(SHAPE, GENRES, params.models.crnn)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert model.input_shape == (None, 640, 128)
    assert shapes["conv1"] == (636, 56)
    assert shapes["pool1"] == (318, 56)
    assert shapes["pool2"] == (157, 56)
    assert shapes["pool3"] == (76, 56)
    assert shapes["lstm"] == (96,)
    assert shapes["embedding"] == (64,)
    assert model.output_shape == (None, 8)


def test_the_crnn_normalises_before_its_relu_and_drops_out_after_pooling(params: Params) -> None:
    model = crnn.published(SHAPE, GENRES, params.models.crnn)
    names = [layer.name for layer in model.layers]
    first = names[names.index("conv1") : names.index("conv2")]
    assert first == ["conv1", "norm1", "relu1", "pool1", "dropout1"]
    assert model.get_layer("norm1").momentum == 0.9
    assert model.get_layer("dropout1").rate == 0.4
    assert model.get_layer("embedding").activation.__name__ == "linear"
    assert float(model.get_layer("conv1").kernel_regularizer.l2) == pytest.approx(1e-3)


@pytest.mark.parametrize(("reset_after", "count"), [(True, 85_544), (False, 85_160)])
def test_the_parallel_network_has_the_published_number_of_parameters(
    params: Params, reset_after: bool, count: int
) -> None:
    settings = params.models.parallel.model_copy(update={"reset_after": reset_after})
    assert parallel.published(SHAPE, GENRES, settings).count_params() == count


def test_the_parallel_network_has_the_published_shapes(params: Params) -> None:
    model = parallel.published(SHAPE, GENRES, params.models.parallel)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert model.input_shape == (None, 640, 128, 1)
    assert [shapes[f"conv{block}"] for block in range(1, 6)] == [
        (638, 128, 16),
        (317, 64, 32),
        (156, 32, 64),
        (76, 16, 64),
        (17, 4, 64),
    ]
    assert shapes["convolutional"] == (256,)
    assert shapes["sequence"] == (160, 64)
    assert shapes["recurrent"] == (128,)
    assert shapes["embedding"] == (384,)


def test_the_networks_train_with_the_published_optimisers(params: Params) -> None:
    first = crnn.published(SHAPE, GENRES, params.models.crnn).optimizer
    second = parallel.published(SHAPE, GENRES, params.models.parallel).optimizer
    assert (type(first).__name__, float(first.learning_rate)) == ("Adam", pytest.approx(1e-3))
    assert (type(second).__name__, float(second.learning_rate)) == ("RMSprop", pytest.approx(5e-4))


def test_the_networks_see_the_natural_logarithm_of_power() -> None:
    scaled = np.asarray(decibels_to_ln_power()(np.array([[-80.0, 0.0]], np.float32)))
    np.testing.assert_allclose(scaled, [[-18.42, 0.0]], atol=0.005)


def test_pools_that_leave_nothing_are_refused_by_name(params: Params) -> None:
    with pytest.raises(MusicGenreError, match=r"models\.parallel\.pools.*128"):
        build_published("parallel", (128, 128), GENRES, params.models.parallel)
    with pytest.raises(MusicGenreError, match=r"models\.crnn\.pools.*20"):
        build_published("crnn", (20, 128), GENRES, params.models.crnn)


def test_other_pools_let_both_networks_take_other_clips(params: Params) -> None:
    pools = ((2, 2), (2, 2), (2, 2), (2, 4), (2, 4))
    settings = params.models.parallel.model_copy(update={"pools": pools})
    assert parallel.published((128, 128), GENRES, settings).output_shape == (None, 8)
    assert crnn.published((128, 128), GENRES, params.models.crnn).output_shape == (None, 8)


def test_the_baseline_tells_styles_of_sound_apart_and_gives_probabilities(params: Params) -> None:
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 30)
    mel = random.normal(-40, 5, (90, 20, 16)).astype(np.float32)
    mel[np.arange(90), :, label] += 30
    machine = baseline.fit(baseline.band_statistics(mel[::2]), label[::2], params.models.baseline)
    probabilities = machine.predict_proba(baseline.band_statistics(mel[1::2]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == label[1::2]).mean() > 0.9


def test_band_statistics_are_what_they_say() -> None:
    mel = np.zeros((1, 4, 2), np.float32)
    mel[0, :, 1] = [0, 2, 0, 2]
    np.testing.assert_allclose(baseline.band_statistics(mel)[0], [0, 1, 0, 1, 0, 2, 0, 2])


@pytest.mark.parametrize("network", [crnn, parallel])
@pytest.mark.parametrize("relative", [False, True])
def test_an_improved_network_answers_for_clips_of_any_length(params: Params, network: Any, relative: bool) -> None:
    settings = getattr(params.models, network.__name__.split(".")[-1]).model_copy(update={"relative": relative})
    model = network.improved(32, GENRES, settings)
    for frames in (16, 37, 64):
        answers = np.asarray(model(np.full((2, frames, 32), -30, np.float32)))
        np.testing.assert_allclose(answers.sum(axis=1), [1, 1], rtol=1e-5)


def test_the_improved_networks_are_still_of_their_kind(params: Params) -> None:
    def kinds(model: keras.Model) -> list[str]:
        return [type(layer).__name__ for layer in model.layers]

    model = crnn.improved(32, GENRES, params.models.crnn)
    # One after the other: the recurrent layer sees what the convolutions found, and nothing else.
    assert model.get_layer("recurrent").input is model.get_layer("features").output
    model = parallel.improved(32, GENRES, params.models.parallel)
    assert {"Conv2D", "Bidirectional", "Concatenate"} <= set(kinds(model))
    # Side by side: the recurrent branch does not see what the convolutions found.
    recurrent = keras.Model(model.input, model.get_layer("recurrent").output)
    assert "Conv2D" not in kinds(recurrent)


def test_standardised_bands_do_not_depend_on_the_scale_of_a_band(params: Params) -> None:
    model = crnn.improved(32, GENRES, params.models.crnn)
    layer = model.get_layer("standardise")
    random = np.random.default_rng(0)
    mel = random.normal(-60, 1, (64, 20, 32)) + np.arange(32)
    for _ in range(200):
        layer(mel.astype(np.float32), training=True)
    scaled = np.asarray(layer(mel.astype(np.float32)))
    np.testing.assert_allclose(scaled.mean(axis=(0, 1)), 0, atol=0.02)
    np.testing.assert_allclose(scaled.std(axis=(0, 1)), 1, atol=0.02)


@pytest.mark.parametrize(("shape", "parts"), [((48, 32), 3), ((50, 32, 1), 3), ((48, 32), 1)])
def test_a_whole_clips_answer_is_the_mean_over_copies_and_parts(
    params: Params, shape: tuple[int, ...], parts: int
) -> None:
    copies = [crnn.improved(32, GENRES, params.models.crnn) for _ in range(2)]
    mel = np.random.default_rng(0).uniform(-80, 0, (3, *shape)).astype(np.float32)
    length = shape[0] // parts
    cuts = [mel.reshape(3, shape[0], 32)[:, n * length : (n + 1) * length] for n in range(parts)]
    expected = np.mean([copy(cut) for copy in copies for cut in cuts], axis=0)
    np.testing.assert_allclose(np.asarray(assemble(copies, shape, parts)(mel)), expected, atol=1e-6)
