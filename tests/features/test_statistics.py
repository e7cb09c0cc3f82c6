"""Statistics of a spectrogram."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.features.statistics import spectrogram_statistics


@pytest.fixture
def mel() -> np.ndarray:
    return np.random.default_rng(1).uniform(-79, 0, (6, 4)).astype(np.float16)


def test_invalid_values_are_counted_and_left_out(mel: np.ndarray) -> None:
    mel[0, :3] = np.nan, np.inf, -np.inf
    row = spectrogram_statistics(mel)
    assert row["finite_fraction"] == 1 - 3 / 24
    assert -80 <= row["minimum_db"] <= row["mean_db"] <= row["maximum_db"] <= 0


def test_clip_without_finite_values_has_nan_statistics() -> None:
    row = spectrogram_statistics(np.full((6, 4), np.nan, np.float16))
    assert row["finite_fraction"] == 0
    assert all(np.isnan(row[name]) for name in ("minimum_db", "maximum_db", "mean_db", "std_db"))


def test_silent_fraction_counts_frames_at_the_floor(mel: np.ndarray) -> None:
    half, almost = mel.copy(), mel.copy()
    half[3:] = -80
    almost[0, 1:] = -80
    assert spectrogram_statistics(half)["silent_fraction"] == 0.5
    assert spectrogram_statistics(almost)["silent_fraction"] == 0.0
