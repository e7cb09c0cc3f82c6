"""Load a trained model of any kind as a function from the features of clips to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from music_genre.encoders.sessions import load_onnx
from music_genre.errors import MusicGenreError
from music_genre.models.linear_head import ENCODER_KEY, StoredHead
from music_genre.models.registry import Classifier, get_model
from music_genre.models.serialization import CLASSIFIER_SUFFIX, NETWORK_SUFFIX, load_classifier

PREDICT_BATCH_SIZE = 64  # clips; larger batches cost memory and gain nothing on two cores
N_PARAMETERS_KEY, PARAMS_KEY = "n_parameters", "params"  # what an exported model says about itself; of a classifier


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


def load_predictor(path: Path, name: str, n_threads: int = 1) -> Predictor:
    """Load one trained model.

    Args:
        path: the ``.onnx`` of any model; the ``.skops`` of a classifier without ``to_onnx``; or the ``.keras`` or
            ``.skops`` that an earlier release stored without an ``.onnx``.
        name: of the model in ``params.yaml``; a classifier's features are made by its module.
        n_threads: that work at a model in ONNX.

    Raises:
        MusicGenreError: only TensorFlow reads the file, and it is not installed.
        ValueError: a classifier has no module of that name, or the file does not say what it is.
    """
    if path.suffix == CLASSIFIER_SUFFIX:
        return _load_classifier(path, name)
    if path.suffix == NETWORK_SUFFIX:
        return _load_network(path)
    return _load_onnx(path, name, n_threads)


def _load_onnx(path: Path, name: str, n_threads: int) -> Predictor:
    session = load_onnx(path.read_bytes(), n_threads)
    facts, classes = session.get_modelmeta().custom_metadata_map, session.get_outputs()[0].shape[-1]
    if ENCODER_KEY in facts:
        head = StoredHead.of(session)
        return Predictor(head.predict, head.n_parameters)
    if N_PARAMETERS_KEY not in facts:
        raise ValueError(f"{path} is no model that this program stored")
    (taken,) = session.get_inputs()
    if PARAMS_KEY in facts:
        model = _classifier(path, name)
        params = model.params.model_validate_json(facts[PARAMS_KEY])

    def features(mel: np.ndarray) -> np.ndarray:
        return model.extract(mel, params) if PARAMS_KEY in facts else mel.astype(np.float32, copy=False)

    def predict(clips: np.ndarray) -> np.ndarray:
        batches = [
            np.asarray(session.run(None, {taken.name: features(clips[start : start + PREDICT_BATCH_SIZE])})[0])
            for start in range(0, len(clips), PREDICT_BATCH_SIZE)
        ]
        return np.concatenate(batches) if batches else np.empty((0, classes), np.float32)

    return Predictor(predict, int(facts[N_PARAMETERS_KEY]))


def _load_network(path: Path) -> Predictor:
    try:
        import keras
        import tensorflow as tf
    except ImportError as error:
        raise MusicGenreError(
            f"{path.name} needs TensorFlow: install it, or train and register the model again"
        ) from error

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
    model = _classifier(path, name)
    classifier, params = load_classifier(path, model)

    def predict(mel: np.ndarray) -> np.ndarray:
        return np.asarray(classifier.predict_proba(model.extract(mel, params)), dtype=np.float32)

    return Predictor(predict, model.count_parameters(classifier))


def _classifier(path: Path, name: str) -> Classifier:
    model = get_model(name)
    if not isinstance(model, Classifier):
        raise ValueError(f"{path}: {name} is no classifier")
    return model
