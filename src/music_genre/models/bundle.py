"""A model as it travels: trained members, weights, temperature, label order and transform in one folder.

The registry stores such a folder and the service loads one; nothing in it is pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from music_genre.features.mel import MelConfig
from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.models.ensemble import combine
from music_genre.models.registry import ENSEMBLE

DESCRIPTION = "packed.json"
PREDICT_BATCH_SIZE = 64  # larger batches cost memory and gain nothing on two cores


@dataclass(frozen=True)
class Predictor:
    """A loaded member.

    Args:
        predict: (n, frames, n_mels) float32 dB to (n, classes) probabilities.
        parameters: trained figures in it: weights of a network; support vectors and their coefficients.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    parameters: int


@dataclass(frozen=True)
class EnsembleMember:
    """One trained model's part in the answer.

    Args:
        name: of the model.
        weight: of it in the average.
        temperature: of its probabilities before they are averaged.
    """

    name: str
    weight: float
    temperature: float


@dataclass(frozen=True)
class BundledMember(EnsembleMember):
    """A share whose model lies in the packed folder as ``file``."""

    file: str


@dataclass(frozen=True)
class BundleManifest:
    """What ``packed.json`` says.

    Args:
        name: baseline, crnn, parallel or ensemble.
        members: at least one.
        temperature: of the averaged probabilities.
        genres: in label order.
        shape: (frames, n_mels) of a clip.
        transform: what makes a clip of audio, or None where the model was trained on ready spectrograms.
        min_duration_s: the shortest clip that training allowed.
    """

    name: str
    members: tuple[BundledMember, ...]
    temperature: float
    genres: tuple[str, ...]
    shape: tuple[int, int]
    transform: MelConfig | None
    min_duration_s: float


class ModelBundle:
    """A loaded folder, ready to predict."""

    def __init__(self, folder: Path) -> None:
        self.manifest = read_manifest(folder)
        self._members = [load_predictor(folder / member.file) for member in self.manifest.members]

    @property
    def n_parameters(self) -> int:
        """Trained figures in all members."""
        return sum(member.parameters for member in self._members)

    def predict_split(self, clips: MelDataset) -> np.ndarray:
        """(n, classes) probabilities of a split's clips, in order."""
        return np.concatenate([self.predict(mel) for mel in clips.batches(PREDICT_BATCH_SIZE)])

    def predict(self, mel: np.ndarray) -> np.ndarray:
        """(n, frames, n_mels) float32 dB to (n, classes) float32 probabilities in label order."""
        members = self.manifest.members
        return combine(
            [member.predict(mel) for member in self._members],
            [member.weight for member in members],
            [member.temperature for member in members],
            self.manifest.temperature,
        )


def model_file(models: Path, name: str) -> Path:
    """Where the trained model ``name`` is stored under ``models``: its one file ``model.<format>``.

    Raises:
        FileNotFoundError: it is not there.
    """
    for path in (models / name).glob("model.*"):
        return path
    raise FileNotFoundError(errno.ENOENT, "no trained model", str(models / name / "model.*"))


def ensemble_file(models: Path) -> Path:
    """Where the ensemble's members, weights and temperature are stored under ``models``."""
    return models / ENSEMBLE / "ensemble.json"


@contextmanager
def temporary_bundle(models: Path, name: str, data: SpectrogramStore) -> Iterator[Path]:
    """A temporary packed folder of a trained model.

    Args:
        models: holds ``<name>/<file>`` of every model, as the stages leave it.
        name: one of ``NAMES``.
        data: what it was trained on.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "packed"
        _pack(folder, _describe(models, name, data), models)
        yield folder


def write_ensemble(models: Path, members: Sequence[EnsembleMember], temperature: float, genres: Sequence[str]) -> None:
    """Store an ensemble's members, temperature and genres."""
    values = {
        "members": [asdict(member) for member in members],
        "temperature": temperature,
        "genres": list(genres),
    }
    path = ensemble_file(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_ensemble(models: Path) -> tuple[list[EnsembleMember], float]:
    """The ensemble's members and the temperature of their average, as ``write_ensemble`` stored them."""
    values = json.loads(ensemble_file(models).read_text(encoding="utf-8"))
    return [EnsembleMember(**member) for member in values["members"]], float(values["temperature"])


def _describe(models: Path, name: str, data: SpectrogramStore) -> BundleManifest:
    members, temperature = [EnsembleMember(name, 1.0, 1.0)], 1.0
    if name == ENSEMBLE:
        members, temperature = read_ensemble(models)
    return BundleManifest(
        name=name,
        members=tuple(
            BundledMember(
                share.name, share.weight, share.temperature, f"{share.name}{model_file(models, share.name).suffix}"
            )
            for share in members
        ),
        temperature=temperature,
        genres=data.genres,
        shape=data.shape,
        transform=data.transform,
        min_duration_s=data.min_duration_s,
    )


def _pack(folder: Path, manifest: BundleManifest, models: Path) -> None:
    folder.mkdir()
    for member in manifest.members:
        shutil.copyfile(model_file(models, member.name), folder / member.file)
    values = asdict(manifest) | {"transform": manifest.transform.model_dump() if manifest.transform else None}
    (folder / DESCRIPTION).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def digest(folder: Path) -> str:
    """SHA-256 over a folder's names and bytes: the same model, packed, has the same digest, whoever packed it."""
    total = hashlib.sha256()
    for path in sorted(found for found in folder.rglob("*") if found.is_file()):
        total.update(
            f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return total.hexdigest()


def read_manifest(folder: Path) -> BundleManifest:
    """The description of a packed folder."""
    return parse_manifest((folder / DESCRIPTION).read_text(encoding="utf-8"))


def parse_manifest(text: str) -> BundleManifest:
    """What the text of a ``packed.json`` says."""
    values = json.loads(text)
    return BundleManifest(
        name=values["name"],
        members=tuple(BundledMember(**member) for member in values["members"]),
        temperature=float(values["temperature"]),
        genres=tuple(values["genres"]),
        shape=(values["shape"][0], values["shape"][1]),
        transform=MelConfig.model_validate(values["transform"]) if values["transform"] else None,
        min_duration_s=float(values["min_duration_s"]),
    )


def load_predictor(path: Path) -> Predictor:
    """Load one trained model: a network's ``.keras`` or a baseline's ``.skops``."""
    return _load_classifier(path) if path.suffix == ".skops" else _load_network(path)


def _load_network(path: Path) -> Predictor:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)

    # Called eagerly, the recurrent layers unroll step by step, fifty times slower than a graph with a fixed signature.
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    forward = tf.function(lambda mel: model(mel, training=False), input_signature=signature)

    def predict(mel: np.ndarray) -> np.ndarray:
        clips = mel.astype(np.float32, copy=False).reshape(-1, *model.input_shape[1:])
        batches = [
            forward(clips[start : start + PREDICT_BATCH_SIZE]).numpy()
            for start in range(0, len(clips), PREDICT_BATCH_SIZE)
        ]
        return np.concatenate(batches) if batches else np.empty((0, model.output_shape[-1]), np.float32)

    return Predictor(predict, int(model.count_params()))


def _load_classifier(path: Path) -> Predictor:
    from music_genre.models.baseline import clip_statistics, count_parameters, feature_kind, load

    classifier = load(path)
    kind = feature_kind(classifier)

    def predict(mel: np.ndarray) -> np.ndarray:
        return np.asarray(classifier.predict_proba(clip_statistics(mel, kind)), dtype=np.float32)

    return Predictor(predict, count_parameters(classifier))
