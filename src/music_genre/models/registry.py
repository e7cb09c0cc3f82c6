"""The models there are: ``models/<name>.py`` describes the model ``<name>`` of ``params.yaml`` as its ``MODEL``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from music_genre.config import SECTION_NAME, load_description
from music_genre.models.params import ModelParams, NetworkParams

if TYPE_CHECKING:
    import keras
    import numpy as np
    from onnx import ModelProto
    from sklearn.pipeline import Pipeline

    from music_genre.models.linear_head import LinearHead

ENSEMBLE = "ensemble"  # the average of networks: a model without a module and a section in ``models``


@dataclass(frozen=True)
class Network:
    """A Keras network.

    Args:
        params: class of its section in ``params.yaml``.
        builders: by recipe, a function that builds the network, not compiled, from ((frames, n_mels) of a clip, number
            of classes, section of the recipe). The network maps (n, frames, n_mels) float32 dB to (n, classes) float32
            probabilities. A network of the improved recipe must take clips of any number of frames.
    """

    params: type[NetworkParams]
    builders: Mapping[str, Callable[[tuple[int, int], int, Any], keras.Model]]


@dataclass(frozen=True)
class Classifier:
    """A classical baseline: a scikit-learn classifier on features of a clip, which no registered model may be certainly
    worse than.

    Args:
        params: class of its section in ``params.yaml``.
        extract: from ((n, frames, n_mels) dB, section) to (n, features) float32.
        fit: from ((n, features), labels (n,), section) to a pipeline with ``predict_proba``.
        count_parameters: fitted numbers in such a pipeline.
        trusted_types: full names of the types that a stored pipeline may contain beyond those that skops trusts.
        to_onnx: from such a pipeline to a network in ONNX from (n, features) to (n, classes) probabilities, both
            float32, so that it is answered without scikit-learn; None where there is none.
    """

    params: type[ModelParams]
    extract: Callable[[np.ndarray, Any], np.ndarray]
    fit: Callable[[np.ndarray, np.ndarray, Any], Pipeline]
    count_parameters: Callable[[Pipeline], int]
    trusted_types: tuple[str, ...] = ()
    to_onnx: Callable[[Pipeline], ModelProto] | None = None


@dataclass(frozen=True)
class EmbeddingClassifier:
    """A classifier on the embeddings of a pretrained encoder.

    Args:
        params: class of its section in ``params.yaml``; its ``input`` names the encoder.
        fit: from ((n, windows, dimension) float32, labels (n,), artists (n,), number of classes, section) to a head.
    """

    params: type[ModelParams]
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, int, Any], LinearHead]


Model = Network | Classifier | EmbeddingClassifier


def get_model(name: str) -> Model:
    """The description of a model, from ``models/<name>.py``.

    Raises:
        ValueError: there is no such model; the message names the file that would describe it.
    """
    if not SECTION_NAME.fullmatch(name):
        raise ValueError(f"a model's name is lower-case letters, digits and underscores, not {name!r}")
    model = load_description("music_genre.models", name, "MODEL")
    if not isinstance(model, Model):
        raise ValueError(f"there is no model {name!r}: src/music_genre/models/{name}.py with a MODEL would be one")
    return model
