"""Drift detection: are the clips of requests distributed like the clips that the model was trained on?

A request is one row, whatever its length: the statistics of its middle clip, as in the spectrogram index.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.validation.request_log import REQUEST_FILES, read_rows

FEATURES = ("mean_db", "std_db", "minimum_db", "silent_fraction")  # columns of the spectrogram index that are compared
GENRE = "genre"
LOG_COLUMNS = ("time", "version", GENRE, *FEATURES)  # that a request which was answered has, among others
N_BINS = 10  # for a feature, with as many reference clips in each as equal values allow
N_PERMUTATIONS = 2000  # random splits of all clips, which show how far two samples of one kind differ by chance


@dataclass(frozen=True)
class DriftThresholds:
    """What counts as drift.

    Args:
        js_distance: Jensen-Shannon distances (0 to 1) up to this one do not matter, however significant they are.
        alpha: false-alarm rate, over all features together, on clips of the reference's own kind.
    """

    js_distance: float
    alpha: float


@dataclass(frozen=True)
class FeatureDrift:
    """The distributions of one feature, compared.

    Args:
        name: of the feature, or ``genre``.
        bins: label of each bin.
        reference: (bins,) fractions of the reference's clips.
        current: (bins,) fractions of the requests.
        distance: Jensen-Shannon distance between them, from 0, the same, to 1, nothing in common.
        threshold: distances above it are drift: ``DriftThresholds.js_distance``, or what chance explains where that
            is more.
    """

    name: str
    bins: tuple[str, ...]
    reference: np.ndarray
    current: np.ndarray
    distance: float
    threshold: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is above the threshold."""
        return self.distance > self.threshold


def read_log(folder: Path, max_rows: int) -> pd.DataFrame:
    """The newest requests, at most ``max_rows``, of the version that answered last; a clip sent again counts once.

    Requests that failed are left out.
    """
    rows = [row for row in read_rows(folder, REQUEST_FILES) if row.keys() >= set(LOG_COLUMNS)]
    if not rows:
        return pd.DataFrame(columns=LOG_COLUMNS)
    table = pd.DataFrame(rows).sort_values("time", ignore_index=True)
    table = table[table["version"] == table["version"].iloc[-1]].drop_duplicates(list(FEATURES))
    return table.tail(max_rows).reset_index(drop=True)


def compare(
    reference: pd.DataFrame, expected_genres: pd.Series, requests: pd.DataFrame, thresholds: DriftThresholds, seed: int
) -> list[FeatureDrift]:
    """Compare each feature's distribution, and that of the predicted genres.

    Args:
        reference: training clips: rows of the spectrogram index.
        expected_genres: the model's predictions for clips that it was not trained on.
        requests: from ``read_log``.
        thresholds: what counts as drift.
        seed: of the permutations.

    Returns:
        One result for each of ``FEATURES``, then one named ``genre``.
    """
    rng = np.random.default_rng(seed)
    # Bonferroni correction: the false-alarm rate holds for all comparisons together.
    each = DriftThresholds(thresholds.js_distance, thresholds.alpha / (len(FEATURES) + 1))
    results = []
    for name in FEATURES:
        edges = np.unique(np.quantile(reference[name], np.linspace(0, 1, N_BINS + 1)[1:-1]))
        reference_counts, current_counts = (
            np.bincount(np.searchsorted(edges, table[name]), minlength=len(edges) + 1)
            for table in (reference, requests)
        )
        results.append(_compare_counts(name, _bin_labels(edges), reference_counts, current_counts, each, rng))
    genres = sorted({*expected_genres, *requests[GENRE]})
    reference_counts, current_counts = (_count(column, genres) for column in (expected_genres, requests[GENRE]))
    return [*results, _compare_counts(GENRE, tuple(genres), reference_counts, current_counts, each, rng)]


def _count(column: pd.Series, values: list[str]) -> np.ndarray:
    counts: np.ndarray = column.value_counts().reindex(values, fill_value=0).to_numpy()
    return counts


def _js_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...,) Jensen-Shannon distances, 0 to 1, between distributions given as counts (..., bins)."""
    from scipy.spatial.distance import jensenshannon

    with np.errstate(invalid="ignore"):
        # Rounding can make the divergence of equal distributions negative, whose root scipy gives as NaN.
        return np.asarray(np.nan_to_num(jensenshannon(a, b, base=2, axis=-1), nan=0.0))


def _compare_counts(
    name: str,
    bins: tuple[str, ...],
    reference_counts: np.ndarray,
    current_counts: np.ndarray,
    thresholds: DriftThresholds,
    rng: np.random.Generator,
) -> FeatureDrift:
    """Compare (bins,) counts by a permutation test: without drift, every split of all the clips is as likely."""
    total = reference_counts + current_counts
    drawn = rng.multivariate_hypergeometric(total, int(current_counts.sum()), size=N_PERMUTATIONS)
    by_chance = float(np.quantile(_js_distance(total - drawn, drawn), 1 - thresholds.alpha))
    return FeatureDrift(
        name,
        bins,
        reference_counts / reference_counts.sum(),
        current_counts / current_counts.sum(),
        float(_js_distance(reference_counts, current_counts)),
        max(thresholds.js_distance, by_chance),
    )


def _bin_labels(edges: np.ndarray) -> tuple[str, ...]:
    texts = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return (f"up to {texts[0]}", *between, f"above {texts[-1]}")
