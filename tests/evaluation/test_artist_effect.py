"""The artist effect is found where there is one, with the right interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from music_genre.datasets.splits import SplitParams
from music_genre.evaluation.artist_effect import accuracy_by_split, mean_difference_ci
from music_genre.models.baseline import BaselineParams

SPLIT = SplitParams(method="official", validation_fraction=0.2, test_fraction=0.2)
BASELINE = BaselineParams(input="spectrograms", features="mel_statistics", train_fraction=1.0, C=10.0, gamma="scale")


def collection(sound_of_artists: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Two genres that hardly differ, of ten artists each, six tracks an artist; artists sound like themselves."""
    random = np.random.default_rng(0)
    tracks = pd.DataFrame(
        [(genre, f"{genre} {artist}") for genre in ("Folk", "Rock") for artist in range(10) for _ in range(6)],
        columns=["genre", "artist_id"],
    ).assign(track_id=np.arange(120) * 3, split=None, audio_sha256=[f"{number:064x}" for number in range(120)])
    own = {artist: random.normal(0, sound_of_artists, 8) for artist in tracks["artist_id"].unique()}
    statistics = np.stack([own[artist] for artist in tracks["artist_id"]]) + random.normal(0, 0.3, (120, 8))
    return tracks, statistics + (tracks["genre"] == "Rock").to_numpy()[:, None] * 0.2


def test_random_split_overestimates_accuracy_where_artists_sound_like_themselves() -> None:
    accuracy = accuracy_by_split(*collection(2.0), SPLIT, BASELINE, range(5))
    mean, low, high = mean_difference_ci(accuracy)
    assert accuracy["random"].mean() > 0.9
    assert low > 0.1
    assert low < mean < high
    assert accuracy.index.tolist() == [0, 1, 2, 3, 4]


def test_no_artist_effect_where_all_artists_sound_alike() -> None:
    low, high = mean_difference_ci(accuracy_by_split(*collection(0.0), SPLIT, BASELINE, range(8)))[1:]
    assert low < 0 < high


def test_same_seeds_give_same_accuracies() -> None:
    first, second = (accuracy_by_split(*collection(1.0), SPLIT, BASELINE, range(2)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_splits_that_never_differ_have_an_interval_of_no_width() -> None:
    assert mean_difference_ci(pd.DataFrame({"artist": [0.5, 0.5], "random": [0.75, 0.75]})) == (0.25, 0.25, 0.25)


def test_the_mean_and_its_interval_are_those_of_the_paired_differences() -> None:
    accuracy = pd.DataFrame({"artist": [0.5, 0.6, 0.7], "random": [0.6, 0.8, 1.0]})
    # Student's t of 2 degrees of freedom: 4.303 standard errors of 0.1 / sqrt(3) each way.
    assert mean_difference_ci(accuracy) == pytest.approx((0.2, 0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)
