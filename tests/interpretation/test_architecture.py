"""The diagram of a network shows every weight once, below what it is computed from."""

from __future__ import annotations

import pytest

from music_genre.interpretation.architecture import layout, nodes, plot_architecture

keras = pytest.importorskip("keras")


@pytest.mark.parametrize("name", ["crnn", "parallel"])
def test_every_weight_is_shown_once(networks: dict[str, keras.Model], name: str) -> None:
    assert sum(node.n_parameters for node in nodes(networks[name])) == networks[name].count_params()


@pytest.mark.parametrize("name", ["crnn", "parallel"])
def test_nodes_have_cells_of_their_own_below_their_inputs(networks: dict[str, keras.Model], name: str) -> None:
    graph = nodes(networks[name])
    cells = layout(graph)
    assert len(set(cells)) == len(cells)
    assert all(cells[source][1] < row for node, (_, row) in zip(graph, cells, strict=True) for source in node.inputs)


def test_averaged_network_is_shown_as_one_of_its_copies(averaged: keras.Model) -> None:
    copy = averaged.get_layer("seed1")
    assert sum(node.n_parameters for node in nodes(averaged)) == copy.count_params()
    texts = [text.get_text() for text in plot_architecture(averaged, "parallel").axes[0].texts]
    assert "conv1: Conv2D 32 5x5\n? x 16 x 32, 1,600 weights" in texts
    assert any(text.startswith("recurrent: Bidirectional GRU 64\n") for text in texts)
