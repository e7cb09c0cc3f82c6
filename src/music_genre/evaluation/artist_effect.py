"""How much a random split flatters: the same model on the same clips, with and without artists in two splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from music_genre.datasets.splits import SplitMethod, SplitParams, assign_splits
from music_genre.models import baseline
from music_genre.models.baseline import BaselineParams

METHODS: tuple[SplitMethod, ...] = ("artist", "random")


def accuracy_by_split(
    tracks: pd.DataFrame,
    statistics: np.ndarray,
    shares: SplitParams,
    settings: BaselineParams,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Train the baseline on splits of both kinds, one pair a seed.

    Args:
        tracks: columns track_id, genre, artist_id, split, sha256: a row a clip.
        statistics: ``baseline.statistics`` of the same clips.
        shares: how much is held out; its method is not looked at.
        settings: of the baseline.
        seeds: of the splits.

    Returns:
        index seed, columns ``METHODS``: accuracy on the clips of validation and test together.
    """
    label = pd.factorize(tracks["genre"], sort=True)[0]
    rows = []
    for seed in tqdm(seeds, desc="Training on both splits", unit="pair"):
        row: dict[str, float] = {}
        for method in METHODS:
            split = assign_splits(tracks, shares.validation_fraction, shares.test_fraction, seed, method).set_index(
                "track_id"
            )["split"]
            learnt = (split.loc[tracks["track_id"]] == "training").to_numpy()
            machine = baseline.fit(statistics[learnt], label[learnt], settings)
            row[method] = float(np.mean(machine.predict(statistics[~learnt]) == label[~learnt]))
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(seeds, name="seed"))


def mean_difference(accuracy: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of random less artist over the seeds, and its 95 % interval (Student's t on the paired differences)."""
    from scipy.stats import ttest_1samp

    difference = accuracy["random"] - accuracy["artist"]
    if difference.nunique() == 1:
        return (float(difference.iloc[0]),) * 3
    interval = ttest_1samp(difference, 0).confidence_interval()
    return float(difference.mean()), float(interval.low), float(interval.high)
