"""Where models differ on the same clips, and where all of them go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import pandas as pd


def join_predictions(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a clip: track_id, split, actual, and for each model <model> and <model>_confidence.

    Args:
        predictions: ``predictions.csv`` by model, of the same clips.
    """
    tables = [
        table.rename(columns={"predicted": name, "confidence": f"{name}_confidence"})
        for name, table in predictions.items()
    ]
    keys = ["track_id", "split", "actual"]
    return reduce(lambda left, right: left.merge(right, on=keys, validate="one_to_one"), tables)


def agreement(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    """Of each clip of ``join_predictions``: ``both``, ``<first> only``, ``<second> only`` or ``neither``."""
    a, b = table[first] == table["actual"], table[second] == table["actual"]
    names = np.select([a & b, a, b], ["both", f"{first} only", f"{second} only"], "neither")
    return pd.Series(names, index=table.index)


def agreement_by_genre(table: pd.DataFrame, first: str, second: str, ensemble: str) -> pd.DataFrame:
    """Clips of each genre that two members predict correctly, and what their ensemble gains.

    Args:
        table: from ``join_predictions``.
        first: a member.
        second: the other.
        ensemble: the ensemble of both.

    Returns:
        split, genre, clips, both, <first>_only, <second>_only, neither, <ensemble>; ensemble_gain: correct clips of
        the ensemble less those of the better member; recovered and broken: clips on which the members disagree and the
        ensemble is right or wrong.
    """
    rows = []
    for (split, genre), clips in table.groupby(["split", "actual"], sort=True):
        a, b, combined = (clips[name] == clips["actual"] for name in (first, second, ensemble))
        rows.append(
            {
                "split": split,
                "genre": genre,
                "clips": len(clips),
                "both": int((a & b).sum()),
                f"{first}_only": int((a & ~b).sum()),
                f"{second}_only": int((b & ~a).sum()),
                "neither": int((~a & ~b).sum()),
                ensemble: int(combined.sum()),
                "ensemble_gain": int(combined.sum()) - max(int(a.sum()), int(b.sum())),
                "recovered": int((combined & (a ^ b)).sum()),
                "broken": int((~combined & (a ^ b)).sum()),
            }
        )
    return pd.DataFrame(rows)


def top_confusions(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Errors of a model, the most frequent first: actual, predicted, clips, fraction of the actual genre's clips."""
    errors = table[table["actual"] != table[name]]
    counts = errors.groupby(["actual", name]).size().rename("clips").reset_index()
    counts = counts.rename(columns={name: "predicted"})
    counts["fraction"] = counts["clips"] / counts["actual"].map(table["actual"].value_counts()).astype("float64")
    return counts.sort_values(["clips", "actual", "predicted"], ascending=[False, True, True], ignore_index=True)
