"""What is done to training clips, on arrays whose every cell says where it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.params import CrnnParams, load_params
from music_genre.training import augmentation

NONE = {"crop": 1.0, "equaliser": 0.0, "time_mask": 0.0, "band_mask": 0.0, "mixup": 0.0}


@pytest.fixture
def settings() -> CrnnParams:
    """Everything left out."""
    return load_params(Path(__file__).parents[2] / "params.yaml").models.crnn.model_copy(update=NONE)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def mel() -> np.ndarray:
    """(40, 12, 5): clip * 100 + frame."""
    cells = np.arange(40)[:, None, None] * 100 + np.arange(12)[None, :, None]
    return np.broadcast_to(cells, (40, 12, 5)).astype(np.float32)


TARGET = np.eye(4, dtype=np.float32)[np.arange(40) % 4]


def test_nothing_asked_for_changes_nothing(mel: np.ndarray, settings: CrnnParams, random: np.random.Generator) -> None:
    changed, target = augmentation.augment(mel, TARGET, settings, random)
    np.testing.assert_array_equal(changed, mel)
    np.testing.assert_array_equal(target, TARGET)


def test_the_same_chance_gives_the_same_batch(mel: np.ndarray, settings: CrnnParams) -> None:
    everything = settings.model_copy(
        update={"crop": 0.5, "equaliser": 3.0, "time_mask": 0.3, "band_mask": 0.4, "mixup": 0.3}
    )
    first, again = (augmentation.augment(mel, TARGET, everything, np.random.default_rng(5)) for _ in range(2))
    other = augmentation.augment(mel, TARGET, everything, np.random.default_rng(6))
    assert first[0].dtype == first[1].dtype == np.float32
    assert first[0].shape == (40, 6, 5)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_a_crop_is_a_stretch_of_its_own_clip_and_starts_anywhere(mel: np.ndarray, random: np.random.Generator) -> None:
    cropped = augmentation.crop(mel, 0.5, random)
    assert cropped.shape == (40, 6, 5)
    np.testing.assert_array_equal(np.diff(cropped, axis=1), 1)
    np.testing.assert_array_equal(cropped[:, 0, 0] // 100, np.arange(40))
    assert set(cropped[:, 0, 0] % 100) == set(range(7))


def test_no_crop_is_one_of_the_parts(mel: np.ndarray, settings: CrnnParams, random: np.random.Generator) -> None:
    thirds = settings.model_copy(update={"crop": 0.0, "parts": 3})
    seen, _ = augmentation.augment(mel, TARGET, thirds, random)
    assert seen.shape == (40, 4, 5)
    assert set(seen[:, 0, 0] % 100) == {0, 4, 8}


def test_a_part_starts_where_a_part_starts(mel: np.ndarray, random: np.random.Generator) -> None:
    parts = augmentation.part(mel, 3, random)
    assert parts.shape == (40, 4, 5)
    assert set(parts[:, 0, 0] % 100) == {0, 4, 8}


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mask_hides_one_stretch_of_at_most_its_share_behind_the_mean(axis: int, random: np.random.Generator) -> None:
    mel = random.normal(-40, 10, (50, 20, 20)).astype(np.float32)
    masked = augmentation.mask(mel, axis, 0.3, random)
    hidden = (masked != mel).all(axis=3 - axis)
    assert set(hidden.sum(axis=1)) <= set(range(7))
    assert hidden.sum(axis=1).max() == 6
    assert (np.abs(np.diff(hidden.astype(int), axis=1)).sum(axis=1) <= 2).all()
    mean = np.broadcast_to(mel.mean(axis=(0, 1)), mel.shape)
    np.testing.assert_allclose(masked[masked != mel], mean[masked != mel])


def test_an_equaliser_turns_a_clips_tone_smoothly_and_the_same_in_every_frame(random: np.random.Generator) -> None:
    mel = np.zeros((2000, 3, 32), np.float32)
    curve = augmentation.equalise(mel, 4.0, random)
    np.testing.assert_array_equal(curve[:, 0], curve[:, 2])
    assert curve.std() == pytest.approx(4, rel=0.1)
    assert np.abs(np.diff(curve[:, 0], axis=1)).max() < 0.3 * curve.max()


def test_a_blend_and_its_target_have_the_same_shares(mel: np.ndarray, random: np.random.Generator) -> None:
    kinds = np.eye(40, dtype=np.float32)
    blended, target = augmentation.mix(mel, kinds, 0.4, random)
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(blended[:, 0, 0], target @ mel[:, 0, 0], rtol=1e-4)
    assert (target.max(axis=1) < 0.999).any()
