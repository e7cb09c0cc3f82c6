"""What the script of the run report answers with: clips with their sounds, by cell of a matrix and point of a map."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from music_genre.interpretation.embedding import PCA, TSNE
from music_genre.reporting.charts import scale_map

MAX_SAMPLES = 64  # sounds in a page
MAX_CELL_CLIPS = 8  # listed for a cell of a confusion matrix, the most confident first
MAX_MAP_POINTS = 400  # of a map, in equal steps over its clips
PROJECTIONS = (TSNE, PCA)


@dataclass
class ReportData:
    """The clips that a page can name and play, each once; positions stand for them elsewhere.

    Args:
        genres: in label order.
        titles: by track id, how clips are called.
        samples: by track id, the sounds there are.
    """

    genres: Sequence[str]
    titles: Mapping[int, str]
    samples: Mapping[int, str]
    clips: list[dict[str, Any]] = field(default_factory=list)
    cells: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    maps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    histories: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    _positions: dict[int, int] = field(default_factory=dict)

    def clip(self, track_id: int, genre: str) -> int:
        """The position of a clip, which is added where it is new."""
        if track_id not in self._positions:
            self._positions[track_id] = len(self.clips)
            title = self.titles.get(track_id) or f"track {track_id}"
            self.clips.append({"id": track_id, "title": title, "genre": genre, "sound": self.samples.get(track_id)})
        return self._positions[track_id]

    def add_cells(self, model: str, predictions: pd.DataFrame) -> None:
        """The clips of each cell of a model's confusion matrix.

        Args:
            model: its name.
            predictions: columns track_id, actual, predicted, confidence.
        """
        ranked = predictions.sort_values(["confidence", "track_id"], ascending=[False, True])
        self.cells[model] = {
            f"{self.genres.index(actual)},{self.genres.index(predicted)}": [
                self.clip(int(track_id), actual) for track_id in clips["track_id"].head(MAX_CELL_CLIPS)
            ]
            for (actual, predicted), clips in ranked.groupby(["actual", "predicted"])
        }

    def add_map(self, model: str, embedding: pd.DataFrame, predictions: pd.DataFrame) -> None:
        """The clips of a model's map, with their places in each projection.

        Args:
            model: its name.
            embedding: ``embedding.csv``.
            predictions: columns track_id, actual, predicted.
        """
        shown = embedding.merge(predictions[["track_id", "actual", "predicted"]], on="track_id")
        shown = shown.iloc[np.linspace(0, len(shown) - 1, min(len(shown), MAX_MAP_POINTS)).astype(int)]
        if shown.empty:
            return
        places = {name: scale_map(shown[[f"{name} x", f"{name} y"]].to_numpy()).tolist() for name in PROJECTIONS}
        self.maps[model] = [
            {
                "clip": self.clip(int(row.track_id), row.actual),
                "predicted": row.predicted,
                "at": [places[name][i] for name in PROJECTIONS],
            }
            for i, row in enumerate(shown.itertuples())
        ]

    def add_history(self, model: str, history: pd.DataFrame) -> None:
        """The values of a model's learning curves."""
        columns = [column for column in history if column in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")]
        values = history[columns].astype(object).where(np.isfinite(history[columns]), None)
        self.histories[model] = {column: values[column].tolist() for column in columns}

    def to_json(self) -> Markup:
        """As the content of a script element, which no value can end."""
        values = {name: getattr(self, name) for name in ("genres", "clips", "cells", "maps", "histories")}
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # no tag can begin in it


def clips_to_hear(errors: Sequence[int], predictions: Mapping[str, pd.DataFrame]) -> Iterator[int]:
    """Track ids of test clips in the order in which they deserve a sound, each once: those of tables, then every
    model's other errors, then the rest, a genre after the other.

    Args:
        errors: track ids that tables of errors list.
        predictions: by model, columns track_id, actual, predicted.
    """
    every = pd.concat(list(predictions.values()))
    wrong = every.loc[every["actual"] != every["predicted"], "track_id"]
    by_genre = [clips["track_id"].unique().tolist() for _, clips in every.groupby("actual")]
    rest = (track_id for row in zip_longest(*by_genre) for track_id in row if track_id is not None)
    yield from dict.fromkeys(int(track_id) for track_id in (*errors, *wrong.sort_values(), *rest))
