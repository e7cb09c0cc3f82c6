"""Save trained models so that the same model is the same bytes, because DVC and the registry know a model by its
digest; and load classifiers without running what a file may contain.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.models.params import ModelParams
from music_genre.models.registry import Classifier

if TYPE_CHECKING:
    import keras
    from sklearn.pipeline import Pipeline

TRAINING_CLIPS = "training_clips.npy"
NETWORK_SUFFIX, CLASSIFIER_SUFFIX, HEAD_SUFFIX = ".keras", ".skops", ".onnx"
EXPORTED = "exported.onnx"  # beside ``model.keras`` or ``model.skops``: what answers in its place
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold, in place of the time of saving


def save_network(model: keras.Model, path: Path) -> None:
    """Write a ``.keras`` archive without optimizer state, date of saving and memory addresses."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        compiled, plain = Path(folder) / "compiled.keras", Path(folder) / "model.keras"
        model.save(compiled, include_optimizer=False)
        # Keras still writes the optimizer's configuration and learning rate; a model that is loaded has neither.
        keras.models.load_model(compiled, compile=False).save(plain)
        entries = _read_entries(plain)
    metadata = json.loads(entries["metadata.json"])
    entries["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"]}).encode()
    config = entries["config.json"].decode()
    renumber = _renumber(re.findall(r'"shared_object_id": (\d+)', config))
    entries["config.json"] = renumber(config).encode()
    _write_entries(path, entries)


def save_classifier(classifier: Pipeline, params: ModelParams, path: Path) -> None:
    """Write a ``.skops`` archive of a fitted classifier and its params, without date of saving and memory addresses."""
    from skops.io import dump

    with tempfile.TemporaryDirectory() as folder:
        addressed = Path(folder) / "model.skops"
        dump({"params": params.model_dump(), "classifier": classifier}, addressed)
        entries = _read_entries(addressed)
    schema = entries["schema.json"].decode()
    # skops names arrays after the addresses that its schema lists.
    renumber = _renumber(re.findall(r'"__id__": (\d+)', schema) + re.findall(r'"file": "(\d+)\.npy"', schema))
    renamed = {renumber(name): content for name, content in entries.items()}
    _write_entries(path, {**renamed, "schema.json": renumber(schema).encode()})


def load_classifier(path: Path, model: Classifier) -> tuple[Pipeline, ModelParams]:
    """Read a stored classifier and the params that it was trained with.

    Raises:
        skops.io.exceptions.UntrustedTypesFoundException: the file contains types that are neither on skops' own list
            nor among the model's ``trusted_types``; nothing of it was run.
        ValueError: it contains something else than a classifier of this model.
    """
    from skops.io import load

    stored = load(path, trusted=list(model.trusted_types))
    if not isinstance(stored, dict) or stored.keys() != {"params", "classifier"}:
        raise ValueError(f"{path} holds no classifier with its params")
    return stored["classifier"], model.params.model_validate(stored["params"])


def model_file(models: Path, name: str) -> Path:
    """The one file ``<models>/<name>/model.<format>`` of a trained model.

    Raises:
        MusicGenreError: the model has not been trained.
    """
    files = sorted((models / name).glob("model.*"))
    if not files:
        raise MusicGenreError(f"{models / name} holds no model: `dvc repro` makes it, `dvc pull` fetches it")
    return files[0]


def answering_file(models: Path, name: str) -> Path:
    """The file of a trained model that answers: ``exported.onnx``, or ``model_file`` of a model without it.

    Raises:
        MusicGenreError: the model has not been trained.
    """
    trained, exported = model_file(models, name), models / name / EXPORTED
    return exported if exported.is_file() else trained


def write_training_clips(folder: Path, track_id: np.ndarray) -> None:
    """Store the track ids of the clips that a model was trained on, beside it."""
    np.save(folder / TRAINING_CLIPS, np.unique(track_id), allow_pickle=False)


def read_training_clips(folder: Path) -> np.ndarray:
    """(n,) int64 track ids, ascending, that ``write_training_clips`` stored in the folder of a model or in a bundle.

    Raises:
        FileNotFoundError: nothing was stored.
    """
    return np.asarray(np.load(folder / TRAINING_CLIPS, allow_pickle=False))


def _renumber(addresses: list[str]) -> Callable[[str], str]:
    """A function that replaces memory addresses in a text by 1, 2, 3 in the order given."""
    numbers = {address: str(number) for number, address in enumerate(dict.fromkeys(addresses), start=1)}
    pattern = re.compile(r"\b(" + "|".join(numbers) + r")\b")
    return lambda text: pattern.sub(lambda match: numbers[match[0]], text) if numbers else text


def _read_entries(archive: Path) -> dict[str, bytes]:
    with ZipFile(archive) as content:
        return {name: content.read(name) for name in content.namelist()}


def _write_entries(path: Path, entries: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            archive.writestr(ZipInfo(name, ZIP_EPOCH), entries[name], ZIP_DEFLATED)
