"""Trained models as ONNX, so that they are answered without what trained them.

Files of the exporters differ in names and order at each export. DVC and the registry know a model by its
digest, so the graph is written anew in an order and with names that follow from what it computes alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.models.params import ModelParams
from music_genre.models.predictors import N_PARAMETERS_KEY, PARAMS_KEY
from music_genre.models.registry import Classifier

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto
    from sklearn.pipeline import Pipeline

INPUT, OUTPUT, BATCH = "input", "probabilities", "clips"
IDENTITY = "Identity"


def export_network(trained: Path, path: Path) -> None:
    """Write a network as ``.onnx``, from (clips, frames, n_mels) float32 dB to (clips, classes) float32; the same
    network is the same bytes.

    Args:
        trained: its ``.keras``.
        path: of the file to write.
    """
    import keras
    import onnx

    model = keras.models.load_model(trained, compile=False)
    signature = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name=INPUT)]
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "network.onnx"
        model.export(exported, format="onnx", verbose=False, input_signature=signature)
        _write(path, onnx.load(exported), {N_PARAMETERS_KEY: str(model.count_params())})


def export_classifier(model: Classifier, classifier: Pipeline, params: ModelParams, path: Path) -> None:
    """Write a classifier that has ``to_onnx`` as ``.onnx``, from (clips, features) float32 to (clips, classes) float32;
    the same classifier is the same bytes.

    Args:
        model: its description.
        classifier: fitted.
        params: of its features.
        path: of the file to write.
    """
    if model.to_onnx:
        facts = {N_PARAMETERS_KEY: str(model.count_parameters(classifier)), PARAMS_KEY: params.model_dump_json()}
        _write(path, model.to_onnx(classifier), facts)


def _write(path: Path, exported: ModelProto, facts: dict[str, str]) -> None:
    import onnx

    network = canonical(exported)
    onnx.helper.set_model_props(network, facts)
    onnx.checker.check_model(network, full_check=True)
    path.write_bytes(network.SerializeToString(deterministic=True))


def canonical(model: ModelProto) -> ModelProto:
    """The same network with names and an order of nodes that follow from its structure; what no output needs is left
    out.

    Args:
        model: with one input and one output, both with the batch first.
    """
    from onnx import helper

    graph = _GraphWriter(model.graph, None, count(1)).write()
    for value, name in ((graph.input[0], INPUT), (graph.output[0], OUTPUT)):
        for node in graph.node:
            node.input[:] = [name if own == value.name else own for own in node.input]
            node.output[:] = [name if own == value.name else own for own in node.output]
        value.name = name
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    imports = sorted(model.opset_import, key=lambda entry: str(entry.domain))
    return helper.make_model(graph, opset_imports=imports, ir_version=model.ir_version)


class _GraphWriter:
    """Writes the nodes of a graph in the order in which its outputs need them.

    Args:
        graph: the whole, or one in a node.
        outer: writes the graph around it, whose values it can use.
        numbers: for new names.
    """

    def __init__(self, graph: GraphProto, outer: _GraphWriter | None, numbers: Iterator[int]) -> None:
        from onnx import GraphProto

        self.source, self.outer, self.numbers = graph, outer, numbers
        self.made_by = {output: node for node in graph.node for output in node.output}
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.names = {value.name: self.new_name() for value in graph.input}
        self.written = GraphProto(name="network")

    def new_name(self) -> str:
        return f"v{next(self.numbers)}"

    def write(self) -> GraphProto:
        """The graph, written anew."""
        for value in self.source.input:
            self.written.input.add(name=self.names[value.name], type=value.type)
        for value in self.source.output:
            name = self.need(value.name)
            if name in (other.name for other in self.written.output):  # an output more needs a name of its own
                name, same = self.new_name(), name
                self.written.node.add(op_type=IDENTITY, input=[same], output=[name])
            self.written.output.add(name=name, type=value.type)
        for value in (*self.written.input, *self.written.output):
            for dimension in value.type.tensor_type.shape.dim:
                dimension.ClearField("dim_param")
        return self.written

    def need(self, name: str) -> str:
        """The new name of a value, once everything is written that makes it."""
        waiting = [name]
        while waiting:
            value = waiting[-1]
            node = self.made_by.get(value)
            missing = [own for own in node.input if own and own not in self.names] if node else []
            if value in self.names:
                waiting.pop()
            elif missing:
                waiting += reversed(missing)
            elif node:
                self.write_node(node)
            else:
                self.names[value] = self.name_weight(value)
        return self.names[name]

    def write_node(self, node: NodeProto) -> None:
        from onnx import NodeProto

        if node.op_type == IDENTITY:  # which of two equal values has one is a matter of chance
            self.names[node.output[0]] = self.names[node.input[0]]
            return
        written = NodeProto(op_type=node.op_type, domain=node.domain)
        written.input.extend(self.names[own] if own else "" for own in node.input)
        for attribute in sorted(node.attribute, key=lambda attribute: str(attribute.name)):
            copy = written.attribute.add()
            copy.CopyFrom(attribute)
            if attribute.HasField("g"):
                copy.g.CopyFrom(_GraphWriter(attribute.g, self, self.numbers).write())
        for own in node.output:
            self.names[own] = self.new_name()
        written.output.extend(self.names[own] for own in node.output)
        self.written.node.append(written)  # last: graphs in its attributes may have needed other nodes

    def name_weight(self, name: str) -> str:
        """Write a weight of this graph; what is none is a value of the graph around it."""
        if name not in self.weights:
            if self.outer is None:
                raise ValueError(f"nothing in the network makes {name}")
            return self.outer.need(name)
        weight = self.written.initializer.add()
        weight.CopyFrom(self.weights[name])
        weight.name = self.new_name()
        return str(weight.name)
