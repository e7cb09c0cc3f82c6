"""Networks in ONNX, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def load_onnx(network: bytes, n_threads: int = 1) -> InferenceSession:
    """A network that is ready to run in so many threads. As it comes in bytes, it reads no further files."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 4  # what fails is raised
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def count_parameters(network: Path) -> int:
    """Numbers in a network: its initializers."""
    import onnx

    return sum(int(np.prod(values.dims)) for values in onnx.load(network).graph.initializer)
