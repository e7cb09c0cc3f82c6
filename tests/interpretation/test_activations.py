"""Layers are found by what they are, and their activations are those of the network itself."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.errors import MusicGenreError
from music_genre.interpretation.activations import (
    classifier,
    conv_layers,
    embedding_model,
    feature_map_model,
    first_and_last,
    get_conv_layer,
)
from music_genre.models import crnn

keras = pytest.importorskip("keras")


def test_conv_layer_is_found_by_name_at_any_depth(networks: dict[str, keras.Model], averaged: keras.Model) -> None:
    assert get_conv_layer(networks["parallel"], "conv3").name == "conv3"
    assert get_conv_layer(averaged, "conv3").name == "seed1/conv3"
    assert get_conv_layer(averaged, "seed2/conv3").parent is averaged.get_layer("seed2")


def test_unknown_conv_layer_lists_the_known_ones(networks: dict[str, keras.Model]) -> None:
    with pytest.raises(MusicGenreError, match="no convolution 'conv9'; there are conv1, conv2, conv3"):
        get_conv_layer(networks["crnn"], "conv9")


def test_network_without_convolution_or_dense_layer_is_refused() -> None:
    clip = keras.Input((8, 4))
    pooled = keras.Model(clip, keras.layers.GlobalAveragePooling1D()(clip))
    assert conv_layers(pooled) == []
    with pytest.raises(MusicGenreError, match="no convolution"):
        first_and_last(pooled)
    with pytest.raises(MusicGenreError, match="no dense layer"):
        classifier(pooled)


def test_first_and_last_convolution_are_of_the_same_model(averaged: keras.Model) -> None:
    assert [ref.name for ref in first_and_last(averaged)] == ["seed1/conv1", "seed1/conv4"]


def test_feature_maps_are_the_networks_own_after_the_activation(
    networks: dict[str, keras.Model], noise: np.ndarray
) -> None:
    network = networks["crnn"]
    inside = keras.Model(network.input, network.get_layer("relu2").output)
    maps = feature_map_model(get_conv_layer(network, "conv2"), 64, 32)(noise)
    np.testing.assert_allclose(maps, inside(noise), rtol=1e-5)


@pytest.mark.parametrize("name", ["crnn", "parallel"])
def test_shorter_clips_meet_the_same_weights(networks: dict[str, keras.Model], noise: np.ndarray, name: str) -> None:
    ref = get_conv_layer(networks[name], "conv1")
    full = np.asarray(feature_map_model(ref, 64, 32)(noise))
    short = np.asarray(feature_map_model(ref, 20, 32)(noise[:, :20]))
    assert short.shape[1] < full.shape[1]
    np.testing.assert_allclose(short, full[:, : short.shape[1]], rtol=1e-4, atol=1e-5)


def test_too_few_frames_are_refused(networks: dict[str, keras.Model]) -> None:
    with pytest.raises(ValueError, match="zero or negative"):
        feature_map_model(get_conv_layer(networks["parallel"], "conv1"), 2, 32)


def test_leaky_maps_differ_only_where_a_filter_is_not_activated(
    networks: dict[str, keras.Model], noise: np.ndarray
) -> None:
    ref = get_conv_layer(networks["parallel"], "conv1")
    maps, leaky = (np.asarray(feature_map_model(ref, 64, 32, leaky)(noise)) for leaky in (False, True))
    np.testing.assert_allclose(leaky[maps > 0], maps[maps > 0], rtol=1e-5)
    assert np.all(leaky[maps == 0] <= 0)
    assert np.any(leaky < 0)


def test_genre_follows_from_the_embedding(networks: dict[str, keras.Model], averaged: keras.Model) -> None:
    mel = np.random.default_rng(0).uniform(-80, 0, (2, 96, 32)).astype(np.float32)
    copy = averaged.get_layer("seed1")
    embedding = embedding_model(averaged, 96, 32)(mel)
    np.testing.assert_allclose(copy.get_layer("genre")(embedding), copy(mel), rtol=1e-4)
    assert embedding_model(networks["crnn"], 64, 32).output_shape == (None, crnn.DENSE_UNITS)
