"""Where models differ on the same clips, and where all of them go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import pandas as pd

COMPARED_MODELS = ("crnn", "parallel")
"""The networks that are laid side by side: those of the study."""


def join_predictions(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a clip: track_id, split, actual, and for each model <model> and <model>_confidence.

    Args:
        predictions: ``predictions.csv`` by model, of the same clips.
    """
    tables = [
        single.rename(columns={"predicted": name, "confidence": f"{name}_confidence"})
        for name, single in predictions.items()
    ]
    keys = ["track_id", "split", "actual"]
    return reduce(lambda left, right: left.merge(right, on=keys, validate="one_to_one"), tables)


def agreement(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    """Of each clip of ``join_predictions``: ``both``, ``<first> only``, ``<second> only`` or ``neither``."""
    one, other = table[first] == table["actual"], table[second] == table["actual"]
    names = np.select([one & other, one, other], ["both", f"{first} only", f"{second} only"], "neither")
    return pd.Series(names, index=table.index)


def agreement_by_genre(table: pd.DataFrame, first: str, second: str, ensemble: str) -> pd.DataFrame:
    """What each model knows of each genre, and what their average gains.

    Args:
        table: from ``join_predictions``.
        first: a member.
        second: the other.
        ensemble: the ensemble of both.

    Returns:
        split, genre, clips, both, <first>_only, <second>_only, neither, <ensemble>; ensemble_gain, clips that the ensemble
        predicts correctly above the better member; recovered and broken, clips it predicts correctly against one member, or wrongly.
    """
    rows = []
    for (split, genre), clips in table.groupby(["split", "actual"], sort=True):
        one, other, both = (clips[name] == clips["actual"] for name in (first, second, ensemble))
        rows.append(
            {
                "split": split,
                "genre": genre,
                "clips": len(clips),
                "both": int((one & other).sum()),
                f"{first}_only": int((one & ~other).sum()),
                f"{second}_only": int((other & ~one).sum()),
                "neither": int((~one & ~other).sum()),
                ensemble: int(both.sum()),
                "ensemble_gain": int(both.sum()) - max(int(one.sum()), int(other.sum())),
                "recovered": int((both & (one ^ other)).sum()),
                "broken": int((~both & (one ^ other)).sum()),
            }
        )
    return pd.DataFrame(rows)


def top_confusions(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mistakes of a model, the commonest first: actual, predicted, clips, share of the actual genre's clips."""
    wrong = table[table["actual"] != table[name]]
    counted = wrong.groupby(["actual", name]).size().rename("clips").reset_index()
    counted = counted.rename(columns={name: "predicted"})
    counted["share"] = counted["clips"] / counted["actual"].map(table["actual"].value_counts()).astype("float64")
    return counted.sort_values(["clips", "actual", "predicted"], ascending=[False, True, True], ignore_index=True)
