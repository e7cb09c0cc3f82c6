"""Find the model that is to answer, and make sure that it can: the registry's champion, or what a bento has packed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.audio import AudioSignal
from music_genre.inference.predictor import clips_of, confident_from
from music_genre.models.bundle import DESCRIPTION, BundleManifest, parse_manifest
from music_genre.paths import ProjectPaths
from music_genre.registry.shadow import ShadowStats

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from music_genre.models.bundle import ModelBundle

BENTO = Path(__file__).parents[3]
"""Of code that was packed in a bento: the bento."""


PACKED, FACTS = "packed", "version.json"
"""In a bento's model: the packed folder, and what the registry said about the version."""


@dataclass(frozen=True)
class Loaded:
    """A version that is served.

    Args:
        name: of the registered model.
        version: of it.
        description: what ``packed.json`` says, as text: services hand it to each other.
        metrics: macro-F1 on validation and test.
        sure_from: answers below this confidence are not sure.
        packing: ``description``, read.
    """

    name: str
    version: str
    description: str
    metrics: dict[str, float]
    sure_from: float
    manifest: BundleManifest = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packing", _read(self.name, self.version, self.description))

    def told(self) -> dict[str, Any]:
        """What another process needs to make the same ``Loaded``."""
        return {name: getattr(self, name) for name in ("name", "version", "description", "metrics", "sure_from")}


class UnusableError(MusicGenreError):
    """A version that this code cannot serve, today or tomorrow."""


class Registry:
    """The checkout's registry, whose champion is served in development."""

    def __init__(self) -> None:
        from music_genre.params import load_params
        from music_genre.settings import load_settings
        from music_genre.tracking import runs as tracking

        project = ProjectPaths.find()
        params = load_params(project.params)
        self.client, self.name = tracking.connect(project.root), params.registry.name
        self.shadow = load_settings(project.root).shadow

    def champion(self) -> ModelVersion:
        """What the alias points at.

        Raises:
            MusicGenreError: there is no champion; the message says how to make one.
        """
        from music_genre.registry import versions as registry

        return registry.resolve(self.client, self.name, registry.CHAMPION)

    def challenger(self) -> ModelVersion | None:
        """What is to answer in the champion's shadow, if anything."""
        from music_genre.registry import versions as registry

        if not self.shadow:
            return None
        number = registry.challenger(self.client, self.name)
        if number is None or number == registry.champion(self.client, self.name):
            return None
        return self.client.get_model_version(self.name, number)

    def keep(self, challenger: str, shadow: ShadowStats) -> None:
        """Write down what a challenger showed."""
        from music_genre.registry import versions as registry

        registry.record_shadow(self.client, self.name, challenger, shadow)

    def fetch(self, version: ModelVersion) -> tuple[Loaded, Path]:
        """A version, and its packed folder on this machine."""
        from music_genre.registry import versions as registry

        folder = registry.packed_folder(version)
        return _loaded(self.name, str(version.version), folder, version.tags), folder


def find() -> tuple[Loaded, Path]:
    """The version to serve and its packed folder: the bento's where the code lies in one, else the champion of the
    checkout's registry.

    Raises:
        MusicGenreError: there is none, or this code cannot use it; the message says why and what to do.
    """
    if in_bento():
        return packed_in(BENTO)
    registry = Registry()
    return registry.fetch(registry.champion())


def in_bento() -> bool:
    """Whether this code was packed in a bento, model and all."""
    return (BENTO / "bento.yaml").is_file()


def packed_in(bento: Path) -> tuple[Loaded, Path]:
    """The model that a bento carries, and where it lies."""
    import bentoml

    (model,) = bentoml.Bento.from_path(str(bento)).info.all_models
    beside = bento / "models" / model.tag.path()
    stored = Path(beside if beside.is_dir() else bentoml.models.get(model.tag).path)
    facts = json.loads((stored / FACTS).read_text(encoding="utf-8"))
    folder = stored / PACKED
    return _loaded(model.tag.name, facts["version"], folder, facts["tags"]), folder


def ready(loaded: Loaded, folder: Path) -> ModelBundle:
    """Load a version and let it answer once, from sound to probabilities.

    Raises:
        UnusableError: it cannot; the message says why.
    """
    from music_genre.models.bundle import ModelBundle

    rehearse(loaded)
    try:
        model = ModelBundle(folder)
        answers = model.predict(np.zeros((1, *loaded.manifest.shape), np.float32))
    except Exception as error:  # whatever a file of unknown origin makes the libraries say
        raise _unusable(loaded.name, loaded.version, error) from error
    if answers.shape != (1, len(loaded.manifest.genres)) or not np.isfinite(answers).all():
        raise _unusable(loaded.name, loaded.version, "its answer has not one probability a genre")
    return model


def rehearse(loaded: Loaded) -> None:
    """Make the features of some noise: shows that a version's transform can be made, and imports what that takes.

    Raises:
        UnusableError: it cannot be made, or gives another shape than the model takes.
    """
    transform = loaded.manifest.transform
    if transform is None:
        return
    seconds = max(loaded.manifest.min_duration_s, 0.1) + transform.n_fft / transform.sample_rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * 44_100)).astype(np.float32)
    try:
        made = clips_of(AudioSignal(noise, 44_100), loaded.manifest).mel.shape[1:]
    except (AudioError, ValueError, MemoryError) as error:
        raise _unusable(loaded.name, loaded.version, error) from error
    if made != loaded.manifest.shape:
        raise _unusable(loaded.name, loaded.version, f"its transform gives {made}, it takes {loaded.manifest.shape}")


def _loaded(name: str, version: str, folder: Path, tags: dict[str, str]) -> Loaded:
    try:
        description = (folder / DESCRIPTION).read_text(encoding="utf-8")
        metrics = {key: float(value) for key, value in tags.items() if key.endswith("_macro_f1")}
        return Loaded(name, version, description, metrics, confident_from(tags))
    except (OSError, ValueError) as error:
        raise _unusable(name, version, error) from error


def _read(name: str, version: str, description: str) -> BundleManifest:
    try:
        return parse_manifest(description)
    except (ValidationError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _unusable(name, version, error) from error


def _unusable(name: str, version: str, reason: object) -> UnusableError:
    words = " ".join(str(reason).split())[:300]
    return UnusableError(f"{name} version {version} cannot be served by this code: {words}")
