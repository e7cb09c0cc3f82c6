"""What the stages of a run found: all that its page is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from music_genre.registry.gate import GateResult


@dataclass(frozen=True)
class Findings:
    """What the stages found.

    Args:
        source: ``data.source``.
        recipes: of each network.
        splits: ``reports/splits.csv``.
        faults: ``data/faults.csv``.
        checks: ``summary.json`` of the data checks.
        comparison: ``comparison.csv``.
        paired: ``paired.csv``.
        per_class: ``per_class.csv`` by model.
        judged: what the gate says by files alone.
        clips: ``clips.csv``, with columns path (relative to ``data/raw``, or null) and title.
        by_genre: ``by_genre.csv``.
        confusions: ``confusions.csv``.
        clusters: ``clusters.json`` by network.
        faithfulness: ``faithfulness.csv`` by network.
        filters: ``filters.csv`` by network.
        card: of the model that is put forward, in Markdown.
    """

    source: str
    recipes: Mapping[str, str]
    splits: pd.DataFrame
    faults: pd.DataFrame
    checks: Mapping[str, Any]
    comparison: pd.DataFrame
    paired: pd.DataFrame
    per_class: Mapping[str, pd.DataFrame]
    judged: GateResult
    clips: pd.DataFrame
    by_genre: pd.DataFrame
    confusions: pd.DataFrame
    clusters: Mapping[str, Mapping[str, float | None]]
    faithfulness: Mapping[str, pd.DataFrame]
    filters: Mapping[str, pd.DataFrame]
    card: str

    def row(self, model: str, split: str) -> dict[str, Any]:
        """A model's figures on a split."""
        table = self.comparison
        return dict(table[(table["model"] == model) & (table["split"] == split)].iloc[0])
