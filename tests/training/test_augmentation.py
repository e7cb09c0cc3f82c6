"""Augmentation, on clips whose every value says where it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.models.params import ImprovedParams
from music_genre.params import load_params
from music_genre.training import augmentation

NONE = {"crop_fraction": 1.0, "random_eq_db": 0.0, "max_time_mask": 0.0, "max_freq_mask": 0.0, "mixup": 0.0}
TARGET = np.eye(4, dtype=np.float32)[np.arange(40) % 4]


@pytest.fixture
def params() -> ImprovedParams:
    """No augmentation."""
    improved: ImprovedParams = load_params(Path(__file__).parents[2] / "params.yaml").models["crnn"].improved
    return improved.model_copy(update=NONE)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def mel() -> np.ndarray:
    """(40, 12, 5): clip * 100 + frame."""
    values = np.arange(40)[:, None, None] * 100 + np.arange(12)[None, :, None]
    return np.broadcast_to(values, (40, 12, 5)).astype(np.float32)


def test_all_steps_left_out_change_nothing(mel: np.ndarray, params: ImprovedParams, rng: np.random.Generator) -> None:
    augmented, target = augmentation.augment(mel, TARGET, params, rng)
    np.testing.assert_array_equal(augmented, mel)
    np.testing.assert_array_equal(target, TARGET)


def test_same_seed_gives_the_same_batch(mel: np.ndarray, params: ImprovedParams) -> None:
    everything = params.model_copy(
        update={"crop_fraction": 0.5, "random_eq_db": 3.0, "max_time_mask": 0.3, "max_freq_mask": 0.4, "mixup": 0.3}
    )
    first, again = (augmentation.augment(mel, TARGET, everything, np.random.default_rng(5)) for _ in range(2))
    other = augmentation.augment(mel, TARGET, everything, np.random.default_rng(6))
    assert first[0].dtype == first[1].dtype == np.float32
    assert first[0].shape == (40, 6, 5)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_crop_is_consecutive_frames_from_anywhere_in_its_clip(mel: np.ndarray, rng: np.random.Generator) -> None:
    cropped = augmentation.random_crop(mel, 0.5, rng)
    assert cropped.shape == (40, 6, 5)
    np.testing.assert_array_equal(np.diff(cropped, axis=1), 1)
    np.testing.assert_array_equal(cropped[:, 0, 0] // 100, np.arange(40))
    assert set(cropped[:, 0, 0] % 100) == set(range(7))


def test_crop_fraction_of_zero_takes_a_segment(
    mel: np.ndarray, params: ImprovedParams, rng: np.random.Generator
) -> None:
    thirds = params.model_copy(update={"crop_fraction": 0.0, "n_segments": 3})
    augmented, _ = augmentation.augment(mel, TARGET, thirds, rng)
    assert augmented.shape == (40, 4, 5)
    assert set(augmented[:, 0, 0] % 100) == {0, 4, 8}


def test_segment_starts_at_a_multiple_of_its_length(mel: np.ndarray, rng: np.random.Generator) -> None:
    segments = augmentation.random_segment(mel, 3, rng)
    assert segments.shape == (40, 4, 5)
    np.testing.assert_array_equal(segments[:, 0, 0] // 100, np.arange(40))
    assert set(segments[:, 0, 0] % 100) == {0, 4, 8}


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_replaces_one_stretch_of_at_most_its_maximum_by_the_mean(axis: int, rng: np.random.Generator) -> None:
    mel = rng.normal(-40, 10, (50, 20, 20)).astype(np.float32)
    masked = augmentation.spec_augment_mask(mel, axis, 0.3, rng)
    is_masked = (masked != mel).all(axis=3 - axis)
    assert set(is_masked.sum(axis=1)) <= set(range(7))
    assert is_masked.sum(axis=1).max() == 6
    assert (np.abs(np.diff(is_masked.astype(int), axis=1)).sum(axis=1) <= 2).all()
    mean = np.broadcast_to(mel.mean(axis=(0, 1)), mel.shape)
    np.testing.assert_allclose(masked[masked != mel], mean[masked != mel])


def test_equalizer_curve_is_smooth_and_the_same_in_every_frame(rng: np.random.Generator) -> None:
    mel = np.zeros((2000, 3, 32), np.float32)
    curve = augmentation.random_eq(mel, 4.0, rng)
    np.testing.assert_array_equal(curve[:, 0], curve[:, 2])
    assert curve.std() == pytest.approx(4, rel=0.1)
    assert np.abs(np.diff(curve[:, 0], axis=1)).max() < 0.3 * curve.max()


def test_mixup_blends_clip_and_target_by_the_same_weights(mel: np.ndarray, rng: np.random.Generator) -> None:
    one_hot = np.eye(40, dtype=np.float32)
    blended, target = augmentation.mixup(mel, one_hot, 0.4, rng)
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(blended[:, 0, 0], target @ mel[:, 0, 0], rtol=1e-4)
    assert (target.max(axis=1) < 0.999).any()
