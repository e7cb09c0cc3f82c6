"""A tiny collection for the tests of training."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.features.store import ClipDataset
from music_genre.training.trainer import TrainingData


def split(track_ids: np.ndarray, mel: np.ndarray) -> ClipDataset:
    """Clips of one shard; odd ids are of genre 1."""
    shard = mel[track_ids].astype(np.float16)
    return ClipDataset(track_ids, track_ids % 2, (shard,), np.zeros(len(shard), int), np.arange(len(shard)))


@pytest.fixture(scope="session")
def data() -> TrainingData:
    """32 training and 16 validation clips of 6 frames and 4 bands, of two genres that differ a little in one band."""
    ids = np.arange(48)
    mel = np.random.default_rng(0).normal(-50, 10, (48, 6, 4))
    mel[ids, :, ids % 2] += 8
    return TrainingData(split(ids[:32], mel), split(ids[32:], mel), 2)
