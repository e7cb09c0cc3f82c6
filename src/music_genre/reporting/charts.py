"""The geometry of a page's charts, in units of their viewBox. Templates draw them; ``report.js`` answers to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

WIDTH, HEIGHT = 480, 280  # of a line chart
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 40  # its margins
MAP_SIZE, MAP_MARGIN = 560, 14
N_COLOURS = 8  # of genres; the shape changes when they begin again
# One shape for each genre of a colour, around (0, 0).
SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "M-5 -5h10v10h-10z",
    "M0 -6l6 10h-12z",
    "M0 -7l6 7l-6 7l-6 -7z",
    "M0 6l6 -10h-12z",
    "M-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and its label."""

    position: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """Curves over the epochs of a training.

    Args:
        measure: what they show.
        x, y: the ticks of both axes.
        lines: by name, the points of a polyline, ``x,y x,y``.
    """

    measure: str
    x: list[Tick]
    y: list[Tick]
    lines: dict[str, str]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def learning_curves(history: pd.DataFrame) -> list[LineChart]:
    """Loss and accuracy of training and validation by epoch; none of a model that was not trained in epochs.

    Args:
        history: ``history.csv``.
    """
    if len(history) < 2:
        return []
    return [_line_chart(history, measure) for measure in ("loss", "accuracy")]


def _line_chart(history: pd.DataFrame, measure: str) -> LineChart:
    columns = {"training": measure, "validation": f"val_{measure}"}
    values = history[list(columns.values())].to_numpy(float)
    finite = values[np.isfinite(values)]
    y_ticks = _ticks(0.0, float(finite.max(initial=0.0)) if measure == "loss" else 1.0)
    epochs = history["epoch"].to_numpy()
    x_ticks = [tick for tick in _ticks(epochs[0], epochs[-1], integer=True) if epochs[0] <= tick <= epochs[-1]]
    top = y_ticks[-1] or 1.0

    def to_x(value: float) -> float:
        return round(float(LEFT + (value - epochs[0]) / (epochs[-1] - epochs[0]) * (WIDTH - LEFT - RIGHT)), 1)

    def to_y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    lines = {
        name: " ".join(
            f"{to_x(epoch)},{to_y(value)}"
            for epoch, value in zip(epochs, history[column], strict=True)
            if np.isfinite(value)
        )
        for name, column in columns.items()
    }
    return LineChart(
        measure,
        [Tick(to_x(tick), f"{tick:g}") for tick in x_ticks],
        [Tick(to_y(tick), f"{tick:g}") for tick in y_ticks],
        lines,
    )


def _ticks(low: float, high: float, integer: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(5, integer=integer).tick_values(low, high)]


def scale_map(points: np.ndarray) -> np.ndarray:
    """(n, 2) to the same shape in units of a map's viewBox, rounded; y points down."""
    low, high = points.min(axis=0), points.max(axis=0)
    inside = (points - low) / np.where(high > low, high - low, 1)
    inside[:, 1] = 1 - inside[:, 1]
    return np.asarray((MAP_MARGIN + inside * (MAP_SIZE - 2 * MAP_MARGIN)).round(1))


@dataclass(frozen=True)
class Mark:
    """How the clips of a genre look: a colour's number and a path."""

    colour: int
    shape: str


def genre_marks(genres: Sequence[str]) -> dict[str, Mark]:
    """By genre, its mark: each another one, up to 48."""
    return {
        genre: Mark(i % N_COLOURS, SHAPES[(i // N_COLOURS + i % N_COLOURS) % len(SHAPES)])
        for i, genre in enumerate(genres)
    }


def confusion_counts(predictions: pd.DataFrame, genres: Sequence[str]) -> list[list[int]]:
    """(classes, classes) clips; rows are actual genres.

    Args:
        predictions: columns actual, predicted.
        genres: in the order of rows and columns.
    """
    counts: Mapping[tuple[str, str], int] = predictions.groupby(["actual", "predicted"]).size().to_dict()
    return [[int(counts.get((actual, predicted), 0)) for predicted in genres] for actual in genres]
