"""Filters: how selective they are, and spectrograms that activate them more than any real clip."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.errors import MusicGenreError
from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.interpretation.activations import first_and_last
from music_genre.interpretation.feature_visualization import (
    activation_model,
    correlated_filters,
    dataset_activations,
    deduplicate,
    genre_selectivity,
    mean_activations,
    similar_images,
    visualize_filters,
    visualize_layer,
)

keras = pytest.importorskip("keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crnn", "parallel"])
@pytest.mark.parametrize("place", [0, 1])
def test_optimized_spectrogram_activates_its_filter_more_than_any_real_clip(
    networks: dict[str, keras.Model], clips: ClipDataset, data: SpectrogramStore, name: str, place: int
) -> None:
    ref = first_and_last(networks[name])[place]
    result = visualize_filters(ref, clips, data.genres, 6, seed=7)
    filters = result.table["filter"]
    model = activation_model(ref, clips.shape)
    optimized = mean_activations(model, result.spectrograms)[np.arange(6), 0, filters]
    real = dataset_activations(model, clips)[:, :, filters].max(axis=(0, 1))
    # A filter that hardly any clip activates may be one that nothing activates more: it keeps the clip.
    activated = real > 1e-4 * real.max()
    assert activated.sum() >= 2
    assert (optimized > real)[activated].all()
    assert (optimized >= real * (1 - 1e-5)).all()
    np.testing.assert_allclose(result.table["optimized"], optimized)
    np.testing.assert_allclose(result.table["real_max"], real)
    assert -80 <= result.spectrograms.min() <= result.spectrograms.max() <= 0


def test_spectrograms_differ_between_filters_and_are_the_same_bytes_again(
    networks: dict[str, keras.Model], data: SpectrogramStore
) -> None:
    first, again = (visualize_layer(networks["parallel"], "conv5", data, 4, seed=7).spectrograms for _ in range(2))
    assert first.tobytes() == again.tobytes()
    distances = [np.abs(first[one] - first[other]).mean() for one in range(4) for other in range(one)]
    assert min(distances) > 1


def test_layer_is_visualized_by_its_name(networks: dict[str, keras.Model], data: SpectrogramStore) -> None:
    result = visualize_layer(networks["parallel"], "conv3", data, 2, seed=7)
    assert (result.layer, result.n_filters, len(result.table)) == ("conv3", 64, 2)
    assert result.spectrograms.shape == (2, *data.shape)
    with pytest.raises(MusicGenreError, match="there are conv1, conv2"):
        visualize_layer(networks["parallel"], "conv9", data, 2, seed=7)


def test_activations_are_means_over_whole_windows() -> None:
    clip = keras.Input((4, 3))
    identity = keras.Model(clip, keras.layers.Lambda(lambda x: x)(clip))
    mel = np.arange(30, dtype=np.float32).reshape(1, 10, 3)
    expected = [mel[0, :4].mean(axis=0), mel[0, 4:8].mean(axis=0)]
    np.testing.assert_allclose(mean_activations(identity, mel)[0], expected)


def test_selective_filter_has_the_largest_eta_squared() -> None:
    label, rng = np.repeat([0, 1], 10), np.random.default_rng(0)
    random, selective = rng.normal(0, 1, 20), label + rng.normal(0, 0.1, 20)
    activations = np.stack([random, selective, np.zeros(20)], axis=1)[:, None]
    table = genre_selectivity(activations, label, ("Folk", "Rock"))
    assert table["eta_squared"].argmax() == 1
    assert table.loc[1, "genre"] == "Rock"
    assert table.loc[2, ["eta_squared", "genre"]].tolist() == [0, ""]


def test_eta_squared_is_the_fraction_of_variance_between_genres() -> None:
    activations = np.array([1.0, 3.0, 5.0, 7.0])[:, None, None]  # variance 5; genre means 2 and 6, so 4 of it between
    table = genre_selectivity(activations, np.array([0, 0, 1, 1]), ("Folk", "Rock"))
    assert table.loc[0, "eta_squared"] == pytest.approx(4 / 5)
    assert table.loc[0, ["real_mean", "real_max"]].tolist() == [4, 7]


def test_filters_that_respond_to_the_same_or_nothing_come_last() -> None:
    strong, other = np.random.default_rng(0).normal(size=(2, 50))
    activations = np.stack([strong, other, -2 * strong + 1, np.zeros(50)], axis=1)
    assert deduplicate(np.array([2, 0, 1, 3]), correlated_filters(activations)).tolist() == [2, 1, 0, 3]


def test_spectrograms_of_silence_are_duplicates() -> None:
    rng = np.random.default_rng(0)
    silent, loud = rng.uniform(-80, -75, (2, 30, 20)), rng.uniform(-80, 0, (2, 30, 20))
    spectrograms = np.stack([silent[0], loud[0], silent[1], loud[1]])
    assert deduplicate(np.arange(4), similar_images(spectrograms)).tolist() == [0, 1, 3, 2]
