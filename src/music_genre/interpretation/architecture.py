"""The architecture of a network as a diagram: a box for each operation, from the clip down to the probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from music_genre.interpretation.activations import classifier

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

BOX_WIDTH, BOX_HEIGHT = 2.3, 0.6  # inches
COLOURS = {"Conv": "#cfe2f3", "LSTM": "#d9ead3", "GRU": "#d9ead3", "Bidirectional": "#d9ead3", "Dense": "#f9cb9c"}
SHOWN_ATTRIBUTES = ("filters", "kernel_size", "pool_size", "units", "rate")


@dataclass(frozen=True)
class Node:
    """An operation of a network.

    Args:
        name: of the layer; empty where Keras made it up.
        kind: its class and main hyperparameters.
        shape: of its output without the batch: ``638 x 128 x 16``; ``?`` for any length.
        n_parameters: weights in it.
        inputs: positions of the nodes whose outputs it takes.
    """

    name: str
    kind: str
    shape: str
    n_parameters: int
    inputs: tuple[int, ...]


def nodes(network: keras.Model) -> list[Node]:
    """The operations of a network, or of the first of averaged copies, each after its inputs."""
    import keras

    graph: list[Node] = []
    producers: dict[int, int] = {}  # by id of a tensor, the position of the operation that outputs it
    for operation in classifier(network).operations:
        inputs = [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)
        output = keras.tree.flatten(operation.output)[0]
        producers[id(output)] = len(graph)
        shape = " x ".join("?" if size is None else str(size) for size in output.shape[1:])
        weights = operation.count_params() if isinstance(operation, keras.layers.Layer) else 0
        default_name = operation.name.replace("_", "").startswith(_class_name(operation).lower())
        positions = tuple(producers[id(tensor)] for tensor in inputs)
        name = "" if default_name else operation.name
        graph.append(Node(name, _describe(operation), shape, int(weights), positions))
    return graph


def layout(graph: Sequence[Node]) -> list[tuple[int, int]]:
    """(column from the left, row from the top) of each node: as far down as the nodes that take its output allow."""
    height = [0] * len(graph)
    for position in reversed(range(len(graph))):
        for source in graph[position].inputs:
            height[source] = max(height[source], height[position] + 1)
    taken: set[tuple[int, int]] = set()
    cells: list[tuple[int, int]] = []
    n_readers: Counter[int] = Counter()
    for position, node in enumerate(graph):
        column = min((cells[source][0] + n_readers[source] for source in node.inputs), default=0)
        row = max(height) - height[position]
        while (column, row) in taken:
            column += 1
        n_readers.update(node.inputs)
        taken.add((column, row))
        cells.append((column, row))
    return cells


def plot_architecture(network: keras.Model, title: str) -> Figure:
    """The diagram of a network, with output shapes and numbers of weights."""
    from matplotlib.figure import Figure

    graph = nodes(network)
    cells = layout(graph)
    n_columns, n_rows = (1 + max(numbers) for numbers in zip(*cells, strict=True))
    figure = Figure(figsize=(BOX_WIDTH * n_columns + 0.4, BOX_HEIGHT * n_rows + 0.8), layout="constrained")
    axes = figure.add_subplot(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.4, -0.6), title=title)
    axes.axis("off")
    for node, (column, row) in zip(graph, cells, strict=True):
        for source in node.inputs:
            xs, ys = _edge(cells[source], (column, row))
            axes.plot(xs, ys, color="#777777", linewidth=1, zorder=1)
        colour = next((colour for kind, colour in COLOURS.items() if node.kind.startswith(kind)), "#f3f3f3")
        label = [": ".join(filter(None, (node.name, node.kind))), node.shape]
        label[1] += f", {node.n_parameters:,} weights" if node.n_parameters else ""
        style = {"boxstyle": "round", "facecolor": colour, "edgecolor": "#777777"}
        axes.text(column, row, "\n".join(label), ha="center", va="center", fontsize=8, bbox=style, zorder=2)
    return figure


def _edge(source: tuple[int, int], target: tuple[int, int]) -> tuple[list[float], list[float]]:
    """The x and y of a line between two nodes. It bends below the source or above the target, with an offset that keeps
    the lines of two columns apart; within a column it passes nodes on their left.
    """
    (source_column, source_row), (column, row) = source, target
    if column == source_column and row > source_row + 1:
        side = column - 0.45
        return [column, side, side, column], [source_row, source_row, row, row]
    bend = source_row + 0.42 + 0.06 * source_column if column > source_column else row - 0.42
    return [source_column, source_column, column, column], [source_row, bend, bend, row]


def _describe(operation: keras.Operation) -> str:
    """The class of an operation and its main hyperparameters."""
    layer = getattr(operation, "forward_layer", operation)  # of a bidirectional layer
    names = dict.fromkeys([_class_name(operation), _class_name(layer)])
    values = [getattr(layer, name, None) for name in SHOWN_ATTRIBUTES]
    return " ".join([*names, *(_format_value(value) for value in values if value is not None)])


def _class_name(operation: keras.Operation) -> str:
    return type(operation).__name__


def _format_value(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
