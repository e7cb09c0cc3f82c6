"""Load a trained model of any kind as a function from the features of clips to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from music_genre.models.linear_head import StoredHead
from music_genre.models.registry import Classifier, get_model
from music_genre.models.serialization import CLASSIFIER_SUFFIX, HEAD_SUFFIX, load_classifier

PREDICT_BATCH_SIZE = 64  # clips; larger batches cost memory and gain nothing on two cores


@dataclass(frozen=True)
class Predictor:
    """A loaded member.

    Args:
        predict: (n, frames, n_mels) float32 dB or (n, windows, dimension) embeddings to (n, classes) float32
            probabilities.
        n_parameters: trained numbers in it: weights of a network; support vectors and their coefficients.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    n_parameters: int


def load_predictor(path: Path, name: str) -> Predictor:
    """Load one trained model.

    Args:
        path: a network's ``.keras``, a classifier's ``.skops`` or the ``.onnx`` of one on embeddings.
        name: of the model in ``params.yaml``; a classifier is read by its module.

    Raises:
        ValueError: a classifier has no module of that name.
    """
    loaders = {CLASSIFIER_SUFFIX: lambda: _load_classifier(path, name), HEAD_SUFFIX: lambda: _load_head(path)}
    return loaders.get(path.suffix, lambda: _load_network(path))()


def _load_network(path: Path) -> Predictor:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)

    # Called eagerly, the recurrent layers unroll step by step, fifty times slower than a graph with a fixed signature.
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    forward = tf.function(lambda mel: model(mel, training=False), input_signature=signature)

    def predict(mel: np.ndarray) -> np.ndarray:
        clips = mel.astype(np.float32, copy=False)
        batches = [
            forward(clips[start : start + PREDICT_BATCH_SIZE]).numpy()
            for start in range(0, len(clips), PREDICT_BATCH_SIZE)
        ]
        return np.concatenate(batches) if batches else np.empty((0, model.output_shape[-1]), np.float32)

    return Predictor(predict, int(model.count_params()))


def _load_classifier(path: Path, name: str) -> Predictor:
    model = get_model(name)
    if not isinstance(model, Classifier):
        raise ValueError(f"{path}: {name} is a network, not a classifier")
    classifier, params = load_classifier(path, model)

    def predict(mel: np.ndarray) -> np.ndarray:
        return np.asarray(classifier.predict_proba(model.extract(mel, params)), dtype=np.float32)

    return Predictor(predict, model.count_parameters(classifier))


def _load_head(path: Path) -> Predictor:
    head = StoredHead.read(path)
    return Predictor(head.predict, head.n_parameters)
