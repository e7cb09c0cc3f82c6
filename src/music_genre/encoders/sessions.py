"""Networks in ONNX, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, TensorProto
    from onnxruntime import InferenceSession


def load_onnx(network: bytes, n_threads: int = 1) -> InferenceSession:
    """A network that is ready to run in so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 4  # what fails is raised
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def is_self_contained(network: Path) -> bool:
    """Whether a file is a network in ONNX, none of whose weights lies in another file: the network would choose that
    file's name, and no digest would cover it.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(network, load_external_data=False)
    except DecodeError:
        return False
    graphs = [model.graph, *model.functions]  # of a function only the nodes count
    return not any(map(_is_external, chain.from_iterable(map(_tensors, graphs))))


def _tensors(graph: GraphProto | FunctionProto) -> Iterator[TensorProto]:
    """The weights of a graph and of the graphs in its nodes."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _is_external(tensor: TensorProto) -> bool:
    from onnx import TensorProto

    return bool(tensor.data_location == TensorProto.EXTERNAL)


def count_parameters(network: Path) -> int:
    """Numbers in a network: its initializers."""
    import onnx

    return sum(int(np.prod(values.dims)) for values in onnx.load(network).graph.initializer)
