"""A model as it travels: a bundle, which is a folder of trained members and ``manifest.json`` with their weights and
temperatures, the genres in label order and the transform.

The registry stores bundles and the service loads one. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.models.ensemble import combine
from music_genre.models.registry import ENSEMBLE, Classifier, get_model
from music_genre.models.serialization import CLASSIFIER_SUFFIX, load_classifier

MANIFEST = "manifest.json"
PREDICT_BATCH_SIZE = 64  # clips; larger batches cost memory and gain nothing on two cores


@dataclass(frozen=True)
class Predictor:
    """A loaded member.

    Args:
        predict: (n, frames, n_mels) float32 dB to (n, classes) float32 probabilities.
        n_parameters: trained numbers in it: weights of a network; support vectors and their coefficients.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    n_parameters: int


@dataclass(frozen=True)
class EnsembleMember:
    """One trained model in an average.

    Args:
        name: of the model.
        weight: of its probabilities in the average.
        temperature: of its probabilities, before they are averaged.
    """

    name: str
    weight: float
    temperature: float


@dataclass(frozen=True)
class BundledMember(EnsembleMember):
    """A member whose trained model is the file ``file`` of the bundle."""

    file: str


@dataclass(frozen=True)
class BundleManifest:
    """The content of ``manifest.json``.

    Args:
        name: of the model: one of ``params.yaml``, or ``ensemble``.
        members: at least one.
        temperature: of the averaged probabilities.
        genres: in label order.
        shape: (frames, n_mels) of a clip.
        transform: how a clip is made of audio; None where the model was trained on ready spectrograms.
        features_version: ``FEATURES_VERSION`` of the code that made the clips; None where a manifest has none.
        min_duration_s: the shortest recording in the training data.
    """

    name: str
    members: tuple[BundledMember, ...]
    temperature: float
    genres: tuple[str, ...]
    shape: tuple[int, int]
    transform: MelConfig | None
    features_version: int | None
    min_duration_s: float


class ModelBundle:
    """A loaded bundle, ready to predict.

    Args:
        bundle_dir: the folder.

    Raises:
        MusicGenreError: this code makes other features of the same audio than those that the model was trained on.
    """

    def __init__(self, bundle_dir: Path) -> None:
        self.manifest = read_manifest(bundle_dir)
        _check_features_version(self.manifest)
        self._members = [load_predictor(bundle_dir / member.file, member.name) for member in self.manifest.members]

    @property
    def n_parameters(self) -> int:
        """Trained numbers in all members."""
        return sum(member.n_parameters for member in self._members)

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
    """The one file ``<models>/<name>/model.<format>`` of a trained model.

    Raises:
        MusicGenreError: the model has not been trained.
    """
    files = sorted((models / name).glob("model.*"))
    if not files:
        raise MusicGenreError(f"{models / name} holds no model: `dvc repro` makes it, `dvc pull` fetches it")
    return files[0]


def ensemble_file(models: Path) -> Path:
    """The file under ``models`` of the ensemble's members, weights and temperatures."""
    return models / ENSEMBLE / "ensemble.json"


@contextmanager
def temporary_bundle(models: Path, name: str, data: SpectrogramStore) -> Iterator[Path]:
    """A bundle of a trained model that is deleted when the block ends.

    Args:
        models: a folder with ``<name>/model.<format>`` for every model, and ``ensemble/ensemble.json``.
        name: of a model in it.
        data: what the model was trained on.

    Yields:
        The bundle's folder.

    Raises:
        MusicGenreError: the model, or a member of the ensemble, has not been trained.
    """
    with tempfile.TemporaryDirectory() as temporary:
        bundle_dir = Path(temporary) / "bundle"
        _write_bundle(bundle_dir, _manifest(models, name, data), models)
        yield bundle_dir


def write_ensemble(models: Path, members: Sequence[EnsembleMember], temperature: float, genres: Sequence[str]) -> None:
    """Store an ensemble's members, the temperature of their average, and the genres in label order."""
    values = {"members": [asdict(member) for member in members], "temperature": temperature, "genres": list(genres)}
    path = ensemble_file(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_ensemble(models: Path) -> tuple[list[EnsembleMember], float]:
    """The ensemble's members and the temperature of their average, as ``write_ensemble`` stored them.

    Raises:
        MusicGenreError: nothing was stored.
    """
    file = ensemble_file(models)
    if not file.is_file():
        raise MusicGenreError(f"{file} is missing: `dvc repro` makes it, `dvc pull` fetches it")
    values = json.loads(file.read_text(encoding="utf-8"))
    return [EnsembleMember(**member) for member in values["members"]], float(values["temperature"])


def read_manifest(bundle_dir: Path) -> BundleManifest:
    """The manifest of a bundle.

    Raises:
        FileNotFoundError: the folder holds no bundle.
    """
    return parse_manifest((bundle_dir / MANIFEST).read_text(encoding="utf-8"))


def parse_manifest(text: str) -> BundleManifest:
    """The manifest in the text of a ``manifest.json``.

    Raises:
        ValueError: a member is not a file of the bundle, or a value is impossible.
    """
    values = json.loads(text)
    members = tuple(BundledMember(**member) for member in values["members"])
    for member in members:
        if Path(member.file).name != member.file:
            raise ValueError(f"{member.file!r} is not a file of the bundle")
    return BundleManifest(
        name=values["name"],
        members=members,
        temperature=float(values["temperature"]),
        genres=tuple(values["genres"]),
        shape=(values["shape"][0], values["shape"][1]),
        transform=MelConfig.model_validate(values["transform"]) if values["transform"] else None,
        features_version=values.get("features_version"),
        min_duration_s=float(values["min_duration_s"]),
    )


def load_predictor(path: Path, name: str) -> Predictor:
    """Load one trained model.

    Args:
        path: a network's ``.keras`` or a classifier's ``.skops``.
        name: of the model in ``params.yaml``; a classifier is read by its module.

    Raises:
        ValueError: a classifier has no module of that name.
    """
    return _load_classifier(path, name) if path.suffix == CLASSIFIER_SUFFIX else _load_network(path)


def _manifest(models: Path, name: str, data: SpectrogramStore) -> BundleManifest:
    members, temperature = [EnsembleMember(name, 1.0, 1.0)], 1.0
    if name == ENSEMBLE:
        members, temperature = read_ensemble(models)
    return BundleManifest(
        name=name,
        members=tuple(
            BundledMember(
                **asdict(member),
                file=f"{member.name}{model_file(models, member.name).suffix}",
            )
            for member in members
        ),
        temperature=temperature,
        genres=data.genres,
        shape=data.shape,
        transform=data.transform,
        features_version=data.features_version,
        min_duration_s=data.min_duration_s,
    )


def _write_bundle(bundle_dir: Path, manifest: BundleManifest, models: Path) -> None:
    bundle_dir.mkdir()
    for member in manifest.members:
        shutil.copyfile(model_file(models, member.name), bundle_dir / member.file)
    values = asdict(manifest) | {"transform": manifest.transform.model_dump() if manifest.transform else None}
    (bundle_dir / MANIFEST).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _check_features_version(manifest: BundleManifest) -> None:
    if manifest.transform is not None and manifest.features_version != FEATURES_VERSION:
        raise MusicGenreError(
            f"the model {manifest.name} was trained on features of version {manifest.features_version}, and this code"
            f" makes version {FEATURES_VERSION}: train it again, or use the release that trained it"
        )


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
