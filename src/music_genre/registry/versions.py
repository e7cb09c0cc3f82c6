"""Versions of the registered model: register, promote, roll back, resolve.

Alias ``champion`` is the version that is served, ``challenger`` the newest that passed the gate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.errors import GateRefusedError, MusicGenreError
from music_genre.registry import PASSED, REFUSED
from music_genre.registry.history import (
    CHALLENGER,
    CHAMPION,
    ROLLED_BACK,
    champion_periods,
    interrupted_rollback,
    previous_champion,
    reconcile_history,
    registered_model,
    set_champion,
)
from music_genre.registry.resolver import RegisteredVersion, RegistrySnapshot, missing_alias, missing_version
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats, read_shadow
from music_genre.tracking import BUNDLE_ARTIFACT, DATA_SOURCE_TAG, DIGEST_TAG
from music_genre.tracking.store import store_root

if TYPE_CHECKING:  # reading needs none of them, and they take seconds to import
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from music_genre.evaluation.results import ModelResult
    from music_genre.registry.gate import GateResult
    from music_genre.tracking.models import RunRef

FORCED_TAG = "forced"
GENRES_TAG = "genres"  # that a version predicts, in label order, as JSON
MAX_REASON_CHARS = 500  # an entry of the history must fit into a tag of every store


def registry_lock(root: Path) -> FileLock:
    """A lock for the one process of the project at ``root`` that changes the registry; a killed process releases it."""
    from filelock import FileLock

    folder = store_root(root) / ".cache"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / "registry.lock")


def register(
    client: MlflowClient,
    name: str,
    digest: str,
    ref: RunRef,
    result: ModelResult,
    gate: GateResult,
    genres: Sequence[str] = (),
    description: str = "",
    data_source: str = "",
) -> ModelVersion:
    """Register a model once: a digest that is registered keeps its version and gets the new verdict.

    ``challenger`` becomes the newest version that passed; the first one becomes ``champion``, too. A refused model gets
    a version without an alias. Whenever the process is killed, every version has its verdict and aliases point at
    versions; the next call completes what is missing.

    Args:
        client: of the connected store.
        name: of the registered model.
        digest: of the model's bundle.
        ref: the model's run.
        result: its evaluation.
        gate: the verdict.
        genres: that it predicts, in label order.
        description: Markdown.
        data_source: ``data.source`` of what it was trained on.
    """
    if registered_model(client, name) is None:
        client.create_registered_model(name, description="Predicts the genre of music from its mel spectrogram.")
    reconcile_history(client, name)
    version, tags = find_version(client, name, digest), _tags(result, gate, genres, data_source)
    if version is None:
        # One transaction: the version appears with its verdict and description, or not at all.
        version = client.create_model_version(
            name,
            f"models:/{ref.model_id}",
            run_id=ref.run_id,
            tags={DIGEST_TAG: digest, **tags},
            description=description,
            model_id=ref.model_id,
        )
    else:
        _update_verdict(client, version, tags, description)
    _update_challenger_alias(client, name)
    if gate.verdict == PASSED and champion(client, name) is None:
        set_champion(client, name, str(version.version), "the first to pass the gate")
    return client.get_model_version(name, version.version)


def _tags(result: ModelResult, gate: GateResult, genres: Sequence[str], data_source: str) -> dict[str, str]:
    """A version's tags, in the order in which they are safely updated: the verdict last."""
    metrics = {
        f"{split}_{metric}": repr(value) for split, values in result.metrics.items() for metric, value in values.items()
    }
    return {
        "model": result.name,
        GENRES_TAG: json.dumps(list(genres)),
        DATA_SOURCE_TAG: data_source,
        **metrics,
        "criteria": json.dumps([criterion.to_dict() for criterion in gate.criteria]),
        "notes": json.dumps(list(gate.notes)),
        "verdict": gate.verdict,
    }


def _update_verdict(client: MlflowClient, version: ModelVersion, tags: Mapping[str, str], description: str) -> None:
    if tags["verdict"] == REFUSED:
        # Each tag is a write of its own: a version that no longer passes must first say so, then why.
        tags = {"verdict": REFUSED, **tags}
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)
    if description and version.description != description:
        client.update_model_version(version.name, version.version, description)


def _update_challenger_alias(client: MlflowClient, name: str) -> None:
    passed = [version.version for version in all_versions(client, name) if version.tags.get("verdict") == PASSED]
    current = challenger(client, name)
    if passed and current != str(passed[0]):
        client.set_registered_model_alias(name, CHALLENGER, str(passed[0]))
    elif not passed and current is not None:
        client.delete_registered_model_alias(name, CHALLENGER)


def promote(
    client: MlflowClient, name: str, version: str | None, force_reason: str | None, reason: str = "promoted"
) -> str:
    """Make a version champion, and return it.

    Args:
        client: of the connected store.
        name: of the registered model.
        version: to promote; None: the challenger.
        force_reason: why a version that the gate refused is promoted nevertheless.
        reason: for the history, where it is not forced.

    Raises:
        GateRefusedError: the gate refused the version, or every one, and no reason is given.
        MusicGenreError: there is no such version, or the reason is too long.
    """
    if force_reason and len(force_reason) > MAX_REASON_CHARS:
        raise MusicGenreError(f"the reason has {len(force_reason)} characters; the maximum is {MAX_REASON_CHARS}")
    promoted = version or challenger(client, name)
    if promoted is None:
        error = GateRefusedError if all_versions(client, name) else MusicGenreError
        raise error(f"{name} has no challenger: no version has passed the gate; name one with --version")
    details = _get_version(client, name, promoted)
    if details.tags.get("verdict") != PASSED and not force_reason:
        raise GateRefusedError(
            f"version {promoted} did not pass the gate ({', '.join(failed_criteria(details)) or 'no verdict'});"
            " --force --reason TEXT promotes it nevertheless"
        )
    reconcile_history(client, name)
    if force_reason:
        client.set_model_version_tag(name, promoted, FORCED_TAG, force_reason)
    if champion(client, name) != promoted:
        set_champion(client, name, promoted, f"forced: {force_reason}" if force_reason else reason)
    return promoted


def rollback(client: MlflowClient, name: str, reason: str = "") -> str:
    """Make the previous champion champion again, and return it; a second rollback goes to the one before it.

    Args:
        client: of the connected store.
        name: of the registered model.
        reason: for the history.

    Raises:
        MusicGenreError: there is no previous champion.
    """
    model = registered_model(client, name)
    if model is not None:
        interrupted = interrupted_rollback(model)
        reconcile_history(client, name)
        if interrupted:
            # A process was killed during a rollback: this call completes that one and goes no further back.
            return interrupted
    current = champion(client, name)
    existing = {str(version.version) for version in all_versions(client, name)}
    previous = previous_champion(champion_periods(client, name), current, existing)
    if previous is None:
        raise MusicGenreError(f"{name} has no previous champion")
    set_champion(client, name, previous, f"{ROLLED_BACK} from version {current}{reason and f': {reason}'}")
    return previous


def champion(client: MlflowClient, name: str) -> str | None:
    """The version that is served; None where there is none."""
    return _alias(client, name, CHAMPION)


def challenger(client: MlflowClient, name: str) -> str | None:
    """The newest version that passed the gate; None where there is none."""
    return _alias(client, name, CHALLENGER)


def record_shadow(client: MlflowClient, name: str, version: str, stats: ShadowStats) -> None:
    """Add statistics of shadow mode to those that a version has."""
    recorded = read_shadow(_get_version(client, name, version).tags)
    total = recorded.merge(stats) if recorded else stats
    client.set_model_version_tag(name, version, SHADOW_TAG, total.model_dump_json())


def resolve(client: MlflowClient, name: str, version_or_alias: str) -> ModelVersion:
    """The version with a number, or with alias ``champion`` or ``challenger``.

    Raises:
        MusicGenreError: there is none; the message says what to do.
    """
    if version_or_alias.isdigit():
        return _get_version(client, name, version_or_alias)
    number = _alias(client, name, version_or_alias)
    if number is None:
        raise missing_alias(name, version_or_alias)
    return client.get_model_version(name, number)


def download_bundle(version: ModelVersion | RegisteredVersion) -> Path:
    """The folder of a version's bundle on this machine, downloaded where the store is elsewhere.

    Raises:
        MusicGenreError: the store has lost the model's files, or the version is of another program.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
        flavors = Model.load(str(folder)).flavors
    except (MlflowException, OSError) as error:
        raise MusicGenreError(
            f"the files of {version.name} version {version.version} could not be downloaded: {error}"
        ) from error
    artifact = flavors.get("python_function", {}).get("artifacts", {}).get(BUNDLE_ARTIFACT)
    if artifact is None:
        raise MusicGenreError(f"{version.name} version {version.version} has no bundle: another program logged it")
    return folder / str(artifact["path"])


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version of the model whose bundle has this digest; None where it is not registered."""
    return next((v for v in all_versions(client, name) if v.tags.get(DIGEST_TAG) == digest), None)


def all_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Every version, the newest first."""
    versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def take_snapshot(client: MlflowClient, name: str) -> RegistrySnapshot:
    """The registered model as MLflow reads it from a store of any kind."""
    model = registered_model(client, name)
    aliases = {alias: str(version) for alias, version in model.aliases.items()} if model else {}
    versions = tuple(
        RegisteredVersion(name, str(v.version), v.creation_timestamp, v.tags, None, v.description or "")
        for v in all_versions(client, name)
    )
    return RegistrySnapshot(name, aliases, model.tags if model else {}, versions)


def failed_criteria(version: ModelVersion | RegisteredVersion) -> list[str]:
    """The criteria that a version does not meet."""
    return [c["name"] for c in json.loads(version.tags.get("criteria", "[]")) if not c["passed"]]


def _get_version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        raise missing_version(name, version) from error


def _alias(client: MlflowClient, name: str, alias: str) -> str | None:
    model = registered_model(client, name)
    version = model.aliases.get(alias) if model else None
    return None if version is None else str(version)
