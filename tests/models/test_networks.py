"""The CRNN and the parallel network by both recipes: shapes, numbers of parameters, inputs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from music_genre.errors import MusicGenreError
from music_genre.models import crnn, parallel
from music_genre.models.layers import average_over_segments, decibels_to_ln_power
from music_genre.params import load_params
from music_genre.training.trainer import build_network

SHAPE, N_CLASSES = (640, 128), 8
MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models  # the committed values are the study's

published_crnn = partial(crnn.build_published, SHAPE, N_CLASSES, MODELS["crnn"].published)
published_parallel = partial(parallel.build_published, SHAPE, N_CLASSES, MODELS["parallel"].published)


def layer_types(model: keras.Model) -> set[str]:
    return {type(layer).__name__ for layer in model.layers}


def test_published_crnn_has_the_studys_parameters() -> None:
    model = published_crnn()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (model.count_params(), trainable) == (133_520, 133_184)


def test_published_crnn_has_the_studys_shapes() -> None:
    model = published_crnn()
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert model.input_shape == (None, 640, 128)
    assert shapes["conv1"] == (636, 56)
    assert shapes["pool1"] == (318, 56)
    assert shapes["pool2"] == (157, 56)
    assert shapes["pool3"] == (76, 56)
    assert shapes["lstm"] == (96,)
    assert shapes["embedding"] == (64,)
    assert model.output_shape == (None, 8)


def test_published_crnn_has_the_studys_layers_in_order() -> None:
    model = published_crnn()
    names = [layer.name for layer in model.layers]
    first_block = names[names.index("conv1") : names.index("conv2")]
    assert first_block == ["conv1", "norm1", "relu1", "pool1", "dropout1"]
    assert model.get_layer("norm1").momentum == 0.9
    assert model.get_layer("dropout1").rate == 0.4
    assert model.get_layer("embedding").activation.__name__ == "linear"
    assert float(model.get_layer("conv1").kernel_regularizer.l2) == pytest.approx(1e-3)


def test_published_parallel_network_has_the_studys_parameters() -> None:
    assert published_parallel().count_params() == 85_160


def test_gru_for_gpus_has_384_parameters_more() -> None:
    params = MODELS["parallel"].published.model_copy(update={"reset_after": True})
    assert parallel.build_published(SHAPE, N_CLASSES, params).count_params() == 85_544


def test_published_parallel_network_has_the_studys_shapes() -> None:
    model = published_parallel()
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert model.input_shape == (None, 640, 128)
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


def test_networks_scale_decibels_to_the_natural_logarithm_of_power() -> None:
    scaled = np.asarray(decibels_to_ln_power()(np.array([[-80.0, 0.0]], np.float32)))
    np.testing.assert_allclose(scaled, [[-18.42, 0.0]], atol=0.005)


@pytest.mark.parametrize(("name", "shape"), [("parallel", (128, 128)), ("crnn", (20, 128))])
def test_pools_that_leave_nothing_are_refused_by_name(name: str, shape: tuple[int, int]) -> None:
    params = MODELS[name].model_copy(update={"recipe": "published"})
    with pytest.raises(MusicGenreError, match=rf"models\.{name}\.published: .* {shape[0]} frames and 128 bands"):
        build_network(name, params, shape, N_CLASSES)


def test_smaller_pools_take_shorter_clips() -> None:
    params = MODELS["parallel"].published.model_copy(update={"pools": ((2, 2), (2, 2), (2, 2), (2, 4), (2, 4))})
    assert parallel.build_published((128, 128), N_CLASSES, params).output_shape == (None, 8)
    assert crnn.build_published((128, 128), N_CLASSES, MODELS["crnn"].published).output_shape == (None, 8)


def test_a_classifier_cannot_be_built_as_a_network() -> None:
    with pytest.raises(ValueError, match="baseline is no network"):
        build_network("baseline", MODELS["baseline"], SHAPE, N_CLASSES)


@pytest.mark.parametrize("network", [crnn, parallel])
@pytest.mark.parametrize("mean_subtracted_channel", [False, True])
def test_improved_networks_take_clips_of_any_length(network: Any, mean_subtracted_channel: bool) -> None:
    params = MODELS[network.__name__.split(".")[-1]].improved.model_copy(
        update={"mean_subtracted_channel": mean_subtracted_channel}
    )
    model = network.build_improved((64, 32), N_CLASSES, params)
    for n_frames in (16, 37, 64):
        probabilities = np.asarray(model(np.full((2, n_frames, 32), -30, np.float32)))
        np.testing.assert_allclose(probabilities.sum(axis=1), [1, 1], rtol=1e-5)


def test_improved_crnn_feeds_the_recurrent_layer_with_convolutional_features_only() -> None:
    model = crnn.build_improved((64, 32), N_CLASSES, MODELS["crnn"].improved)
    assert model.get_layer("recurrent").input is model.get_layer("features").output


def test_improved_parallel_network_feeds_the_recurrent_branch_without_convolutions() -> None:
    model = parallel.build_improved((64, 32), N_CLASSES, MODELS["parallel"].improved)
    assert {"Conv2D", "Bidirectional", "Concatenate"} <= layer_types(model)
    recurrent_branch = keras.Model(model.input, model.get_layer("recurrent").output)
    assert "Conv2D" not in layer_types(recurrent_branch)


def test_input_is_normalized_per_band() -> None:
    model = crnn.build_improved((64, 32), N_CLASSES, MODELS["crnn"].improved)
    layer = model.get_layer("normalize")
    mel = np.random.default_rng(0).normal(-60, 1, (64, 20, 32)) + np.arange(32)
    for _ in range(200):
        layer(mel.astype(np.float32), training=True)
    normalized = np.asarray(layer(mel.astype(np.float32)))
    np.testing.assert_allclose(normalized.mean(axis=(0, 1)), 0, atol=0.02)
    np.testing.assert_allclose(normalized.std(axis=(0, 1)), 1, atol=0.02)


@pytest.mark.parametrize(("shape", "n_segments"), [((48, 32), 3), ((50, 32), 3), ((48, 32), 1)])
def test_whole_clip_prediction_is_the_mean_over_networks_and_segments(shape: tuple[int, int], n_segments: int) -> None:
    networks = [crnn.build_improved((48, 32), N_CLASSES, MODELS["crnn"].improved) for _ in range(2)]
    mel = np.random.default_rng(0).uniform(-80, 0, (3, *shape)).astype(np.float32)
    length = shape[0] // n_segments
    segments = [mel[:, number * length : (number + 1) * length] for number in range(n_segments)]
    expected = np.mean([network(segment) for network in networks for segment in segments], axis=0)
    whole_clip = average_over_segments(networks, shape, n_segments)
    np.testing.assert_allclose(np.asarray(whole_clip(mel)), expected, atol=1e-6)
