"""A network as a picture: one box an operation, from the clip down to the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from music_genre.interpretation.activations import answering

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 2.9, 0.62
"""Inches that a box may take."""

COLOURS = {"Conv": "#cfe2f3", "LSTM": "#d9ead3", "GRU": "#d9ead3", "Bidirectional": "#d9ead3", "Dense": "#f9cb9c"}


@dataclass(frozen=True)
class Box:
    """An operation of a network.

    Args:
        name: of the layer; empty where Keras counted it.
        kind: its class, and what it was made with.
        shape: of its output, without the clips: ``638 x 128 x 16``; ``?`` where any length goes.
        parameters: weights in it.
        above: positions of the boxes that it reads.
    """

    name: str
    kind: str
    shape: str
    parameters: int
    above: tuple[int, ...]


def boxes(network: keras.Model) -> list[Box]:
    """The operations of a network, or of the first of averaged copies, each after those that it reads."""
    import keras

    found: list[Box] = []
    made_by: dict[int, int] = {}
    for operation in answering(network).operations:
        inputs = [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)
        output = keras.tree.flatten(operation.output)[0]
        made_by[id(output)] = len(found)
        shape = " x ".join("?" if size is None else str(size) for size in output.shape[1:])
        weights = operation.count_params() if isinstance(operation, keras.layers.Layer) else 0
        counted = operation.name.replace("_", "").startswith(_class(operation).lower())
        above = tuple(made_by[id(tensor)] for tensor in inputs)
        found.append(Box("" if counted else operation.name, _kind(operation), shape, int(weights), above))
    return found


def places(known: Sequence[Box]) -> list[tuple[int, int]]:
    """(lane from the left, level from the top) of each box: as near to the answer as those that read it allow."""
    height = [0] * len(known)
    for number in reversed(range(len(known))):
        for above in known[number].above:
            height[above] = max(height[above], height[number] + 1)
    taken: set[tuple[int, int]] = set()
    found: list[tuple[int, int]] = []
    readers: Counter[int] = Counter()
    for number, box in enumerate(known):
        lane = min((found[above][0] + readers[above] for above in box.above), default=0)
        level = max(height) - height[number]
        while (lane, level) in taken:
            lane += 1
        readers.update(box.above)
        taken.add((lane, level))
        found.append((lane, level))
    return found


def picture(network: keras.Model, title: str) -> Figure:
    """The network, with shapes and weights."""
    from matplotlib.figure import Figure

    known = boxes(network)
    at = places(known)
    lanes, levels = (1 + max(numbers) for numbers in zip(*at, strict=True))
    figure = Figure(figsize=(WIDTH * lanes + 0.4, HEIGHT * levels + 0.8), layout="constrained")
    axes = figure.add_subplot(xlim=(-0.5, lanes - 0.5), ylim=(levels - 0.4, -0.6), title=title)
    axes.axis("off")
    for box, (lane, level) in zip(known, at, strict=True):
        for number in box.above:
            from_lane, from_level = at[number]
            # A fork turns beneath what is read, a join above what reads; lines of two lanes lie beside each other.
            turn = from_level + 0.42 + 0.06 * from_lane if lane > from_lane else level - 0.42
            across = [from_level, turn, turn, level]
            axes.plot([from_lane, from_lane, lane, lane], across, color="#777777", linewidth=1, zorder=1)
        colour = next((colour for kind, colour in COLOURS.items() if box.kind.startswith(kind)), "#f3f3f3")
        said = [": ".join(filter(None, (box.name, box.kind))), box.shape]
        said[1] += f", {box.parameters:,} weights" if box.parameters else ""
        style = {"boxstyle": "round", "facecolor": colour, "edgecolor": "#777777"}
        axes.text(lane, level, "\n".join(said), ha="center", va="center", fontsize=8, bbox=style, zorder=2)
    return figure


def _kind(operation: keras.Operation) -> str:
    """The class of an operation and the figures that people ask about."""
    asked = ("filters", "kernel_size", "pool_size", "units", "rate")
    own = getattr(operation, "forward_layer", operation)
    figures = [(name, getattr(own, name, None)) for name in asked]
    told = [_figure(value) for name, value in figures if value is not None]
    return " ".join([_class(operation), *told])


def _class(operation: keras.Operation) -> str:
    return type(operation).__name__


def _figure(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
