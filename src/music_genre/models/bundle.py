"""A model as it travels: a bundle, which is a folder of trained members, the encoders that they need, and
``manifest.json`` with weights and temperatures, the genres in label order and the transform. ``models.packing`` makes
one of trained models.

The registry stores bundles and the service loads one. Nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from music_genre.config import SECTION_NAME
from music_genre.encoders.description import NETWORK, EncoderConfig
from music_genre.encoders.encoder import Encoder
from music_genre.encoders.sessions import count_parameters
from music_genre.errors import MusicGenreError
from music_genre.features.params import FEATURES_VERSION, SPECTROGRAMS, MelConfig
from music_genre.features.store import ClipStore, SpectrogramStore
from music_genre.models.ensemble import EnsembleMember, combine
from music_genre.models.predictors import PREDICT_BATCH_SIZE, load_predictor
from music_genre.models.serialization import NETWORK_SUFFIX

MANIFEST = "manifest.json"
ENCODERS = "encoders"  # the folder of those of a bundle, and of ``models``

# What a model takes of n clips, by the ``input`` of its members: of ``spectrograms`` (n, frames, n_mels) float32 dB; of
# an encoder, under its name, its windows of audio (n, windows, window_length) float32.
ClipInputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class BundledMember(EnsembleMember):
    """A member of a bundle.

    Args:
        file: what answers.
        input: what it takes: ``spectrograms``, or the name of an encoder of the bundle.
        trained: what ``file`` was exported from, for explanations; empty where ``file`` is what was trained.
    """

    file: str
    input: str = SPECTROGRAMS
    trained: str = ""

    @property
    def network(self) -> str:
        """The ``.keras`` of a network; empty of other models."""
        return next((file for file in (self.trained, self.file) if file.endswith(NETWORK_SUFFIX)), "")


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
        encoders: by name, what is known of each that a member needs.
    """

    name: str
    members: tuple[BundledMember, ...]
    temperature: float
    genres: tuple[str, ...]
    shape: tuple[int, int]
    transform: MelConfig | None
    features_version: int | None
    min_duration_s: float
    encoders: Mapping[str, EncoderConfig] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the members take, each once."""
        return tuple(dict.fromkeys(member.input for member in self.members))

    @property
    def tags(self) -> tuple[str, ...]:
        """What the encoders' own outputs are about, in the order of ``inputs``."""
        return tuple(tag for name in self.inputs if name in self.encoders for tag in self.encoders[name].tags)


@dataclass(frozen=True)
class Answer:
    """What a model says about n clips.

    Args:
        probabilities: (n, classes) float32 in label order.
        tags: (n, tags) float32: how likely each of the manifest's ``tags`` is.
    """

    probabilities: np.ndarray
    tags: np.ndarray


class ModelBundle:
    """A loaded bundle, ready to predict.

    Args:
        bundle_dir: the folder.
        n_threads: that work at a network or an encoder.

    Raises:
        MusicGenreError: this code makes other features of the same audio than those that the model was trained on, or
            an encoder is not the one that the manifest describes.
    """

    def __init__(self, bundle_dir: Path, n_threads: int = 1) -> None:
        self.manifest = read_manifest(bundle_dir)
        _check_features_version(self.manifest)
        self._members = [
            load_predictor(bundle_dir / member.file, member.name, n_threads) for member in self.manifest.members
        ]
        encoders = {name: Encoder.open(bundle_dir / ENCODERS / name) for name in self.manifest.encoders}
        if {name: encoder.config for name, encoder in encoders.items()} != self.manifest.encoders:
            raise MusicGenreError(f"{bundle_dir / ENCODERS} holds other encoders than {MANIFEST} describes")
        self.encoders = {name: encoder.load(n_threads) for name, encoder in encoders.items()}
        self._networks = [encoder.folder / NETWORK for encoder in encoders.values()]

    @property
    def n_parameters(self) -> int:
        """Trained numbers in all members and encoders, as long as the folder is there."""
        return sum(member.n_parameters for member in self._members) + sum(map(count_parameters, self._networks))

    def predict_split(self, data: SpectrogramStore, split: str) -> np.ndarray:
        """(n, classes) probabilities of a split's clips, in order, from their stored features."""
        stores: dict[str, ClipStore] = {SPECTROGRAMS: data}
        stores |= {name: data.embeddings(name) for name in self.manifest.encoders}
        datasets = [stores[name].split(split) for name in self.manifest.inputs]
        batches = zip(*(clips.batches(PREDICT_BATCH_SIZE) for clips in datasets), strict=True)
        return np.concatenate([self.predict_features(dict(zip(self.manifest.inputs, b, strict=True))) for b in batches])

    def answer(self, inputs: ClipInputs) -> Answer:
        """What the model says about n clips."""
        encoded = {name: self._encode_and_tag(name, inputs[name]) for name in self.manifest.inputs}
        probabilities = self.predict_features({name: features for name, (features, _) in encoded.items()})
        return Answer(probabilities, np.concatenate([tags for _, tags in encoded.values()], axis=1))

    def predict(self, inputs: ClipInputs) -> np.ndarray:
        """(n, classes) float32 probabilities in label order."""
        return self.answer(inputs).probabilities

    def predict_features(self, features: ClipInputs) -> np.ndarray:
        """The same as ``predict`` where the encoders have done their part: (n, windows, dimension) float32."""
        members = self.manifest.members
        return combine(
            [own.predict(features[member.input]) for own, member in zip(self._members, members, strict=True)],
            [member.weight for member in members],
            [member.temperature for member in members],
            self.manifest.temperature,
        )

    def encode(self, name: str, clips: np.ndarray) -> np.ndarray:
        """(n, windows, dimension) embeddings of an encoder's windows of n clips; spectrograms as they are."""
        return self._encode_and_tag(name, clips)[0]

    def _encode_and_tag(self, name: str, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``encode``, and (n, tags) float32, means over a clip's windows."""
        if name == SPECTROGRAMS:
            return clips, np.empty((len(clips), 0), np.float32)
        n_clips, n_windows, length = clips.shape
        embeddings, tags = self.encoders[name].encode_and_tag(clips.reshape(n_clips * n_windows, length))
        by_clip = n_clips, n_windows
        return embeddings.reshape(*by_clip, embeddings.shape[1]), tags.reshape(*by_clip, tags.shape[1]).mean(axis=1)


def example_inputs(manifest: BundleManifest, n_windows: int = 1) -> dict[str, np.ndarray]:
    """A clip of each kind that a model takes: an empty spectrogram, ``n_windows`` of noise."""
    noise = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {SPECTROGRAMS: np.zeros((1, *manifest.shape), np.float32)}
    for name, encoder in manifest.encoders.items():
        inputs[name] = noise.normal(0, 0.1, (1, n_windows, encoder.window_length)).astype(np.float32)
    return {name: inputs[name] for name in manifest.inputs}


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
    members, encoders = tuple(BundledMember(**member) for member in values["members"]), values.get("encoders", {})
    for member in members:
        for file in filter(None, (member.file, member.trained)):
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not a file of the bundle")
        if member.input not in (SPECTROGRAMS, *encoders):
            raise ValueError(f"{member.name} takes {member.input!r}, which is no encoder of the bundle")
    for name in encoders:
        if not SECTION_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an encoder")
    return BundleManifest(
        name=values["name"],
        members=members,
        temperature=float(values["temperature"]),
        genres=tuple(values["genres"]),
        shape=(values["shape"][0], values["shape"][1]),
        transform=MelConfig.model_validate(values["transform"]) if values["transform"] else None,
        features_version=values.get("features_version"),
        min_duration_s=float(values["min_duration_s"]),
        encoders={name: EncoderConfig.model_validate_json(json.dumps(encoders[name])) for name in encoders},
    )


def _check_features_version(manifest: BundleManifest) -> None:
    if manifest.transform is not None and manifest.features_version != FEATURES_VERSION:
        raise MusicGenreError(
            f"the model {manifest.name} was trained on features of version {manifest.features_version}, and this code"
            f" makes version {FEATURES_VERSION}: train it again, or use the release that trained it"
        )
