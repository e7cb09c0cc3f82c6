"""The baseline's features and its support-vector machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.errors import MusicGenreError
from music_genre.models import baseline
from music_genre.models.baseline import BaselineParams
from music_genre.params import load_params

PARAMS: BaselineParams = load_params(Path(__file__).parents[2] / "params.yaml").models["baseline"]


def clips(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(45, 20, 16) dB of three genres with a loud band each, and their labels."""
    labels = np.repeat(np.arange(3), 15)
    mel = np.random.default_rng(seed).normal(-40, 5, (45, 20, 16)).astype(np.float32)
    mel[np.arange(45), :, labels] += 30
    return mel, labels


@pytest.mark.parametrize("features", ["mel_statistics", "mfcc_statistics"])
def test_baseline_separates_genres_that_differ_in_one_band(features: str) -> None:
    params = PARAMS.model_copy(update={"features": features})
    (train, train_labels), (test, test_labels) = clips(0), clips(1)
    classifier = baseline.fit(baseline.extract(train, params), train_labels, params)
    probabilities = classifier.predict_proba(baseline.extract(test, params))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == test_labels).mean() > 0.9


def test_clip_statistics_are_mean_deviation_change_and_maximum() -> None:
    mel = np.zeros((1, 4, 2), np.float32)
    mel[0, :, 1] = [0, 2, 0, 2]
    np.testing.assert_allclose(baseline.clip_statistics(mel)[0], [0, 1, 0, 1, 0, 2, 0, 2])


@pytest.mark.parametrize(("features", "n_features"), [("mel_statistics", 4 * 32), ("mfcc_statistics", 4 * 20)])
def test_features_are_four_statistics_of_each_band_or_coefficient(features: str, n_features: int) -> None:
    extracted = baseline.extract(np.zeros((2, 5, 32), np.float32), PARAMS.model_copy(update={"features": features}))
    assert extracted.shape == (2, n_features)
    assert extracted.dtype == np.float32


def test_a_genre_with_one_clip_is_refused() -> None:
    mel, labels = clips(0)
    few = np.array([0, 1, 15, 16, 30])
    with pytest.raises(MusicGenreError, match="a genre has a single training clip"):
        baseline.fit(baseline.extract(mel[few], PARAMS), labels[few], PARAMS)
