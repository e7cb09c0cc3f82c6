"""The models there are: ``models/<name>.py`` describes the model ``<name>`` of ``params.yaml`` as its ``MODEL``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from music_genre.models.params import ModelParams, NetworkParams

if TYPE_CHECKING:
    import keras
    import numpy as np
    from sklearn.pipeline import Pipeline

ENSEMBLE = "ensemble"
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Network:
    """A Keras network.

    Args:
        params: class of its section in ``params.yaml``.
        builders: by recipe, what makes the network, not compiled: from ((frames, n_mels) of a clip, number of classes,
            the recipe's section), a model from (n, frames, n_mels) float32 dB to (n, classes) probabilities. The
            improved recipe's must take clips of any length.
    """

    params: type[NetworkParams]
    builders: Mapping[str, Callable[[tuple[int, int], int, Any], keras.Model]]


@dataclass(frozen=True)
class Classifier:
    """A scikit-learn classifier on statistics of a clip. It is a reference: not in the ensemble, never registered.

    Args:
        params: class of its section in ``params.yaml``.
        extract: from ((n, frames, n_mels) dB, its section) to (n, features) float32.
        fit: from ((n, features), labels (n,), its section) to a pipeline with ``predict_proba``.
    """

    params: type[ModelParams]
    extract: Callable[[np.ndarray, Any], np.ndarray]
    fit: Callable[[np.ndarray, np.ndarray, Any], Pipeline]


def get_model(name: str) -> Network | Classifier:
    """What ``models/<name>.py`` describes.

    Raises:
        ValueError: there is no such model; the message names the file that would describe it.
    """
    module = f"{__package__}.{name}"
    if not NAME.fullmatch(name):
        raise ValueError(f"a model's name is lower-case letters, digits and underscores, not {name!r}")
    if name == ENSEMBLE or find_spec(module) is None or not hasattr(import_module(module), "MODEL"):
        raise ValueError(f"there is no model {name!r}: src/music_genre/models/{name}.py with a MODEL would be one")
    model: Network | Classifier = import_module(module).MODEL
    return model
