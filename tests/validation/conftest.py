"""Tables as the stages leave them, to be spoiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.validation.expectations import dataset_suites
from music_genre.validation.runner import ValidationReport, validate

GENRES = ["Blues", "Jazz", "Rock"]
SPLIT_OF_TWELVE = ["training", "training", "validation", "test"]
N_CLIPS = 48


@dataclass
class Tables:
    """The three tables that are checked: 48 clips, two of each artist, every genre in every split."""

    tracks: pd.DataFrame
    splits: pd.DataFrame
    index: pd.DataFrame

    def set_statistic(self, track_id: int, column: str, value: object) -> None:
        self.index.loc[self.index["track_id"] == track_id, column] = value

    def report(self, site: Path, *only: str, **options: Any) -> ValidationReport:
        """Validate the suites ``only``, or all; ``options`` are those of ``dataset_suites``."""
        options = {"shape": (640, 128), "min_duration_s": 10.0} | options
        suites = dataset_suites(self.tracks, self.splits, self.index, **options)
        return validate([suite for suite in suites if not only or suite.name in only], site)


@pytest.fixture(scope="session")
def make_tables() -> Callable[[], Tables]:
    """Makes tables without any defect."""

    def make() -> Tables:
        ids = np.arange(1, N_CLIPS + 1)
        splits = pd.DataFrame(
            {
                "track_id": ids,
                "genre": [GENRES[track_id % 3] for track_id in ids],
                "artist_id": [f"artist {(track_id - 1) // 12} {track_id % 6}" for track_id in ids],
                "split": [SPLIT_OF_TWELVE[(track_id - 1) // 12] for track_id in ids],
            }
        )
        tracks = splits.assign(
            split=None,
            duration_s=30.0,
            sample_rate_hz=44_100,
            channels=2,
            sha256=[f"{track_id:064x}" for track_id in ids],
            audio_sha256=[f"{track_id + N_CLIPS:064x}" for track_id in ids],
        )
        index = splits[["track_id", "split", "genre"]].assign(
            label=0,
            shard="training-00000.npy",
            row=0,
            n_frames=640,
            n_mels=128,
            finite_fraction=1.0,
            minimum_db=-80.0,
            maximum_db=-0.5,
            mean_db=-40.0,
            std_db=15.0,
            silent_fraction=0.1,
        )
        return Tables(tracks, splits, index)

    return make


@pytest.fixture
def tables(make_tables: Callable[[], Tables]) -> Tables:
    """Tables without any defect."""
    return make_tables()
