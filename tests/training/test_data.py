"""Batches: every clip once an epoch, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.params import load_params
from music_genre.training.data import MelBatches
from music_genre.training.recipes import Recipe, make_recipe
from music_genre.training.trainer import TrainingData

MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models


@pytest.fixture
def published() -> Recipe:
    """In batches of 5, not augmented."""
    return make_recipe("published", MODELS["crnn"].published.model_copy(update={"batch_size": 5}))


@pytest.fixture
def improved() -> Recipe:
    """In batches of 5, augmented."""
    return make_recipe("improved", MODELS["crnn"].improved.model_copy(update={"batch_size": 5, "mixup": 0.2}))


def all_clips(batches: MelBatches) -> np.ndarray:
    return np.concatenate([batches[number][0] for number in range(len(batches))])


def test_batches_without_seed_are_all_clips_in_order(data: TrainingData, published: Recipe) -> None:
    batches = MelBatches(data.training, published, 2)
    assert len(batches) == 7
    assert [len(batches[number][0]) for number in range(7)] == [5] * 6 + [2]
    expected = data.training.read(np.arange(32))
    np.testing.assert_array_equal(all_clips(batches), expected)
    batches.on_epoch_end()
    np.testing.assert_array_equal(all_clips(batches), expected)


def test_every_epoch_has_every_clip_once_in_another_order(data: TrainingData, published: Recipe) -> None:
    batches = MelBatches(data.training, published, 2, seed=1)
    first = all_clips(batches)
    batches.on_epoch_end()
    second = all_clips(batches)
    assert (first != second).any()
    expected = np.sort(data.training.read(np.arange(32)), axis=0)
    np.testing.assert_array_equal(np.sort(first, axis=0), expected)
    np.testing.assert_array_equal(np.sort(second, axis=0), expected)


def test_labels_belong_to_their_clips(data: TrainingData, published: Recipe) -> None:
    batches = MelBatches(data.training, published, 2, seed=1)
    clips = {
        clip.tobytes(): label for clip, label in zip(data.training.read(np.arange(32)), np.arange(32) % 2, strict=True)
    }
    mel, labels = batches[3]
    assert [clips[clip.tobytes()] for clip in mel] == labels.tolist()


def test_a_batch_does_not_depend_on_what_was_read_before(data: TrainingData, improved: Recipe) -> None:
    batches = MelBatches(data.training, improved, 2, seed=1)
    batches.on_epoch_end()
    batches[0], batches[5]
    continued = MelBatches(data.training, improved, 2, seed=1, initial_epoch=1)
    np.testing.assert_array_equal(batches[2][0], continued[2][0])
    np.testing.assert_array_equal(batches[2][1], continued[2][1])
