"""Find the model to serve, the registry's champion or a bento's own, and check that it can be served."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from music_genre.audio.signal import AudioSignal
from music_genre.errors import AudioError, MusicGenreError
from music_genre.inference.predictor import extract_clip_batch, threshold_from_tags
from music_genre.models.bundle import MANIFEST, BundleManifest, parse_manifest
from music_genre.paths import ProjectPaths
from music_genre.registry.history import CHALLENGER, CHAMPION
from music_genre.registry.shadow import ShadowStats
from music_genre.service.environment import BENTO_ROOT, in_bento, service_settings
from music_genre.tracking import DATA_SOURCE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from music_genre.models.bundle import ModelBundle
    from music_genre.registry.resolver import RegisteredVersion, RegistrySnapshot

BUNDLE_DIR, VERSION_FILE = "bundle", "version.json"  # in BentoML's model: the bundle, and facts of the version
GENRE_CHANGES, CARD = "genre_changes", "card"  # beside a version's tags
WARM_UP_RATE_HZ = 44_100


@dataclass(frozen=True)
class ServedModel:
    """A registered version that is served.

    Args:
        name: of the registered model.
        version: its number.
        manifest_json: the text of ``manifest.json``, which processes can send to each other.
        metrics: macro-F1 on validation and test.
        confidence_threshold: the least confidence of a confident prediction.
        genre_changes: ``listing.genre_changes``.
        data_source: of the training data; empty where it is not known.
        card: the model card in Markdown; empty where there is none.
        manifest: the parsed ``manifest_json``.

    Raises:
        IncompatibleModelError: this code cannot read the manifest.
    """

    name: str
    version: str
    manifest_json: str
    metrics: dict[str, float]
    confidence_threshold: float
    genre_changes: dict[str, Any] | None = None
    data_source: str = ""
    card: str = ""
    manifest: BundleManifest = field(init=False, compare=False)

    def __post_init__(self) -> None:
        try:
            manifest = parse_manifest(self.manifest_json)
        except (ValidationError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _incompatible(self.name, self.version, error) from error
        object.__setattr__(self, "manifest", manifest)

    def to_payload(self) -> dict[str, Any]:
        """The arguments with which another process makes an equal ``ServedModel``, fit for JSON."""
        return {argument.name: getattr(self, argument.name) for argument in fields(self) if argument.init}


class IncompatibleModelError(MusicGenreError):
    """A version that this code can never serve."""


class RegistryClient:
    """The registry of the project; MLflow is imported only where a local store is not enough, or is written to."""

    def __init__(self) -> None:
        from music_genre.registry.params import load_registry_params

        project = ProjectPaths.find()
        self.root, self.name = project.root, load_registry_params(project.params).name

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client of the store."""
        from music_genre.tracking import runs

        return runs.connect(self.root)

    def snapshot(self) -> RegistrySnapshot:
        """The registered model as it is now."""
        from music_genre.registry import resolver, versions

        return resolver.read_registry(self.root, self.name) or versions.take_snapshot(self.client, self.name)

    def champion(self) -> RegisteredVersion:
        """The version with the alias ``champion``.

        Raises:
            MusicGenreError: there is none; the message says how to get one.
        """
        return self.snapshot().resolve(CHAMPION)

    def challenger(self) -> RegisteredVersion | None:
        """The version to run in shadow mode: the challenger; None where it is champion or shadow mode is off."""
        if not service_settings().shadow:
            return None
        registry = self.snapshot()
        number = registry.aliases.get(CHALLENGER)
        return None if number in (None, registry.aliases.get(CHAMPION)) else registry.resolve(CHALLENGER)

    def record_shadow(self, challenger: str, stats: ShadowStats) -> None:
        """Add statistics of shadow mode to those of a version."""
        from music_genre.registry import versions

        versions.record_shadow(self.client, self.name, challenger, stats)

    def download(self, version: RegisteredVersion) -> tuple[ServedModel, Path]:
        """A version, and the folder of its bundle on this machine.

        Raises:
            MusicGenreError: the store has lost its files.
            IncompatibleModelError: this code cannot read them.
        """
        from music_genre.registry import resolver, versions

        bundle_dir = resolver.local_bundle(version)
        if bundle_dir is None:  # elsewhere, or lost: MLflow downloads it, or says why it cannot
            _ = self.client
            bundle_dir = versions.download_bundle(version)
        return _served_model(self.name, version.version, bundle_dir, self.tags(version)), bundle_dir

    def tags(self, version: RegisteredVersion) -> dict[str, str]:
        """A version's tags, how its genres differ from those of the champion before it, and its card."""
        from music_genre.registry.listing import genre_changes

        changes = json.dumps(genre_changes(self.snapshot(), version))
        return {**version.tags, GENRE_CHANGES: changes, CARD: version.description}

    def roll_back_if_unhealthy(self) -> str | None:
        """Why the champion was rolled back; None where it was not."""
        from music_genre.registry.health import HealthLimits, roll_back_if_unhealthy
        from music_genre.registry.versions import registry_lock

        settings = service_settings()
        limits = HealthLimits(settings.rollback_max_error_share, settings.rollback_min_feedback_accuracy)
        if settings.request_log is None or not limits.any:
            return None
        with registry_lock(self.root):
            return roll_back_if_unhealthy(self.client, self.name, settings.request_log, limits)


def resolve_model() -> tuple[ServedModel, Path]:
    """The version to serve and the folder of its bundle: the bento's own, or the champion of the project's registry.

    Raises:
        MusicGenreError: there is none, or this code cannot serve it; the message says why and what to do.
    """
    if in_bento():
        return load_from_bento(BENTO_ROOT)
    registry = RegistryClient()
    return registry.download(registry.champion())


def load_from_bento(bento_dir: Path) -> tuple[ServedModel, Path]:
    """The version that a bento contains, and the folder of its bundle."""
    import bentoml

    (model,) = bentoml.Bento.from_path(str(bento_dir)).info.all_models
    included = bento_dir / "models" / model.tag.path()  # in a container; else it is in BentoML's model store
    stored = Path(included if included.is_dir() else bentoml.models.get(model.tag).path)
    facts = json.loads((stored / VERSION_FILE).read_text(encoding="utf-8"))
    bundle_dir = stored / BUNDLE_DIR
    return _served_model(model.tag.name, facts["version"], bundle_dir, facts["tags"]), bundle_dir


@dataclass(frozen=True)
class LoadedModel:
    """A version, ready to predict."""

    served: ServedModel
    bundle: ModelBundle

    @property
    def manifest(self) -> BundleManifest:
        return self.served.manifest

    @property
    def version(self) -> str:
        return self.served.version


def load_and_warm_up(served: ServedModel, bundle_dir: Path) -> LoadedModel:
    """Load a version and let it predict once, from audio to probabilities.

    Raises:
        IncompatibleModelError: it cannot; the message says why.
    """
    from music_genre.models.bundle import ModelBundle, example_inputs

    warm_up_features(served)
    try:
        model = ModelBundle(bundle_dir)  # in one thread: the workers share the cores
        probabilities = model.predict(example_inputs(served.manifest))
    except Exception as error:  # the libraries may raise anything for a file of unknown origin
        raise _incompatible(served.name, served.version, error) from error
    if probabilities.shape != (1, len(served.manifest.genres)) or not np.isfinite(probabilities).all():
        raise _incompatible(served.name, served.version, "it does not predict one finite probability a genre")
    return LoadedModel(served, model)


def warm_up_features(served: ServedModel) -> None:
    """Make the features of noise once: this imports what they need, and shows that the version's transform works.

    Raises:
        IncompatibleModelError: it does not, or makes features of another shape than the model takes.
    """
    transform = served.manifest.transform
    if transform is None:
        return
    seconds = max(served.manifest.min_duration_s, 0.1) + transform.n_fft / transform.sample_rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * WARM_UP_RATE_HZ)).astype(np.float32)
    try:
        shape = extract_clip_batch(AudioSignal(noise, WARM_UP_RATE_HZ), served.manifest).mel.shape[1:]
    except (AudioError, ValueError, MemoryError) as error:
        raise _incompatible(served.name, served.version, error) from error
    if shape != served.manifest.shape:
        reason = f"its transform gives {shape}, it takes {served.manifest.shape}"
        raise _incompatible(served.name, served.version, reason)


def _served_model(name: str, version: str, bundle_dir: Path, tags: dict[str, str]) -> ServedModel:
    """A version by its bundle and its tags."""
    try:
        manifest_json = (bundle_dir / MANIFEST).read_text(encoding="utf-8")
        metrics = {key: float(value) for key, value in tags.items() if key.endswith("_macro_f1")}
        changes, about = (
            json.loads(tags.get(GENRE_CHANGES, "null")),
            (tags.get(DATA_SOURCE_TAG, ""), tags.get(CARD, "")),
        )
        return ServedModel(name, version, manifest_json, metrics, threshold_from_tags(tags), changes, *about)
    except (OSError, ValueError) as error:
        raise _incompatible(name, version, error) from error


def _incompatible(name: str, version: str, reason: object) -> IncompatibleModelError:
    text = " ".join(str(reason).split())[:300]
    return IncompatibleModelError(f"{name} version {version} cannot be served by this code: {text}")
