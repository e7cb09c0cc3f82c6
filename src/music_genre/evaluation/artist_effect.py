"""The artist effect: how much a split that ignores artists overestimates accuracy (Pampalk, Flexer and Widmer, ISMIR
2005). The same model on the same clips, with and without artists in two splits.
"""

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
    features: np.ndarray,
    split_params: SplitParams,
    baseline_params: BaselineParams,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Train the baseline on splits of both kinds, one pair a seed.

    Args:
        tracks: columns track_id, genre, artist_id, split, sha256: a row a clip.
        features: (n, d), of the same clips, as the baseline takes them.
        split_params: fractions that are held out; its method is not used.
        baseline_params: section of the baseline.
        seeds: of the splits.

    Returns:
        index seed, columns ``METHODS``: accuracy on the clips of validation and test together.
    """
    labels = pd.factorize(tracks["genre"], sort=True)[0]
    rows = []
    for seed in tqdm(seeds, desc="Training on both splits", unit="pair"):
        row: dict[str, float] = {}
        for method in METHODS:
            params = split_params.model_copy(update={"method": method})
            split = assign_splits(tracks, params, seed).splits.set_index("track_id")["split"]
            is_train = (split.loc[tracks["track_id"]] == "training").to_numpy()
            svm = baseline.fit(features[is_train], labels[is_train], baseline_params)
            row[method] = float(np.mean(svm.predict(features[~is_train]) == labels[~is_train]))
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(seeds, name="seed"))


def mean_difference_ci(accuracy: pd.DataFrame) -> tuple[float, float, float]:
    """Mean of random less artist over the seeds, and its 95 % interval (Student's t on the paired differences)."""
    from scipy.stats import ttest_1samp

    difference = accuracy["random"] - accuracy["artist"]
    if difference.nunique() == 1:
        return (float(difference.iloc[0]),) * 3
    interval = ttest_1samp(difference, 0).confidence_interval()
    return float(difference.mean()), float(interval.low), float(interval.high)
