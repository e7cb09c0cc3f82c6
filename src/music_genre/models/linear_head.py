"""A linear classifier on an encoder's embeddings, stored as a small network in ONNX: nothing is pickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.encoders.sessions import load_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET, IR_VERSION = 17, 8  # of ONNX: every runtime of the last three years reads them
INPUT, OUTPUT = "embedding", "probabilities"
ENCODER_KEY, DIGEST_KEY = "encoder", "encoder_digest"  # what the file says about itself


@dataclass(frozen=True)
class LinearHead:
    """Softmax of a linear function of a clip's mean embedding.

    Args:
        weights: (dimension, classes) float32.
        bias: (classes,) float32.
        C: inverse strength of the regularization.
        temperature: that the logits were divided by; ``weights`` and ``bias`` hold it.
    """

    weights: np.ndarray
    bias: np.ndarray
    C: float
    temperature: float

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, windows, dimension) float32 to (n, classes) float64 probabilities."""
        logits = embeddings.mean(axis=1) @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class StoredHead:
    """A head that was read, with the encoder whose embeddings it takes.

    Args:
        session: the network, ready to run.
        encoder: name in ``params.yaml``.
        encoder_digest: ``EncoderConfig.digest``.
    """

    session: InferenceSession
    encoder: str
    encoder_digest: str

    @classmethod
    def read(cls, path: Path) -> StoredHead:
        """Read what ``save_head`` wrote; see ``of``."""
        return cls.of(load_onnx(path.read_bytes()))

    @classmethod
    def of(cls, session: InferenceSession) -> StoredHead:
        """A head that was read.

        Raises:
            ValueError: it names no encoder.
        """
        values = session.get_modelmeta().custom_metadata_map
        if ENCODER_KEY not in values or DIGEST_KEY not in values:
            raise ValueError("the classifier names no encoder")
        return cls(session, values[ENCODER_KEY], values[DIGEST_KEY])

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        (embedding,), (probabilities,) = self.session.get_inputs(), self.session.get_outputs()
        return int((embedding.shape[-1] + 1) * probabilities.shape[-1])

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, windows, dimension) float32 to (n, classes) float32 probabilities."""
        return np.asarray(self.session.run([OUTPUT], {INPUT: embeddings})[0])


def save_head(head: LinearHead, path: Path, encoder: str, encoder_digest: str) -> None:
    """Write a head as ``.onnx``, from (n, windows, dimension) float32 to (n, classes) float32; the same head is the
    same bytes.

    Args:
        head: the fitted classifier.
        path: of the file.
        encoder: name in ``params.yaml`` of the encoder whose embeddings it takes.
        encoder_digest: ``EncoderConfig.digest`` of it.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    dimension, n_classes = head.weights.shape
    nodes = [
        helper.make_node("ReduceMean", [INPUT], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["clips", "windows", dimension])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["clips", n_classes])],
        [
            numpy_helper.from_array(head.weights.astype(np.float32), "weights"),
            numpy_helper.from_array(head.bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    says = {ENCODER_KEY: encoder, DIGEST_KEY: encoder_digest}
    helper.set_model_props(model, says | {"C": f"{head.C:g}", "temperature": f"{head.temperature:.6g}"})
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
