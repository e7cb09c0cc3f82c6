"""Which model answers: choose one, judge it, register it, promote it, roll it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from music_genre.errors import MusicGenreError
from music_genre.evaluation import macro_f1_difference
from music_genre.params import GateParams
from music_genre.tracking import DIGEST_TAG, RunPointer

CHAMPION, CHALLENGER = "champion", "challenger"
CANDIDATES = ("crnn", "parallel", "ensemble")
PASSED, REFUSED = "passed", "refused"
HISTORY_TAG = "champion_history"
ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Candidate:
    """A model that may be registered.

    Args:
        name: one of ``CANDIDATES``.
        parameters: trained figures in it; of two models that do as well, the smaller is the simpler.
        metrics: ``metrics.json``.
        predictions: of the validation split: columns track_id, actual, predicted.
    """

    name: str
    parameters: int
    metrics: Mapping[str, Mapping[str, float]]
    predictions: pd.DataFrame

    @property
    def validation_macro_f1(self) -> float:
        return self.metrics["validation"]["macro_f1"]


@dataclass(frozen=True)
class Criterion:
    """A line of the gate's verdict: what was found against what was asked."""

    name: str
    value: float | bool
    threshold: float | bool
    passed: bool


@dataclass(frozen=True)
class Registered:
    """A version as people list them; one that was registered by hand has no figures."""

    version: str
    aliases: list[str]
    model: str
    validation_macro_f1: float | None
    test_macro_f1: float | None
    verdict: str
    created: str


def choose(candidates: Sequence[Candidate], seed: int) -> Candidate:
    """The simplest model whose validation macro-F1 the best one does not beat beyond the 95 % interval of the paired
    difference.
    """
    best = max(candidates, key=lambda candidate: candidate.validation_macro_f1)
    truth = best.predictions.sort_values("track_id")
    for candidate in sorted(candidates, key=lambda candidate: candidate.parameters):
        answers = candidate.predictions.sort_values("track_id")
        low, _ = macro_f1_difference(
            truth["actual"].to_numpy(), truth["predicted"].to_numpy(), answers["predicted"].to_numpy(), seed
        )
        if candidate is best or low <= 0:
            return candidate
    return best


def judge(candidate: Candidate, data_quality: bool, gate: GateParams) -> list[Criterion]:
    """The gate, on validation figures alone."""
    macro_f1 = candidate.validation_macro_f1
    return [
        Criterion("validation_macro_f1", macro_f1, gate.macro_f1, macro_f1 >= gate.macro_f1),
        Criterion("data_quality", data_quality, True, data_quality),
    ]


def register(
    client: MlflowClient,
    name: str,
    digest: str,
    pointer: RunPointer,
    candidate: Candidate,
    criteria: Sequence[Criterion],
) -> ModelVersion:
    """Register a model once: a digest that is there already keeps its version and is judged anew.

    ``challenger`` is the newest version that passed, if any; ``champion`` the first one, until another is promoted. A
    refused model gets a version and no alias.
    """
    verdict = PASSED if all(criterion.passed for criterion in criteria) else REFUSED
    if not _exists(client, name):
        client.create_registered_model(
            name, description="Names the genre of a piece of music from its mel spectrogram."
        )
    tags = {
        DIGEST_TAG: digest,
        "model": candidate.name,
        "verdict": verdict,
        "criteria": json.dumps([asdict(criterion) for criterion in criteria]),
        "validation_macro_f1": repr(candidate.validation_macro_f1),
        "test_macro_f1": repr(candidate.metrics["test"]["macro_f1"]),
    }
    version = find_version(client, name, digest)
    if version is None:
        version = client.create_model_version(
            name, f"models:/{pointer.model_id}", run_id=pointer.run_id, tags=tags, model_id=pointer.model_id
        )
    elif {key: version.tags.get(key) for key in tags} != tags:
        for key, value in tags.items():
            client.set_model_version_tag(name, version.version, key, value)
    passed = [other.version for other in _versions(client, name) if other.tags.get("verdict") == PASSED]
    if passed:
        client.set_registered_model_alias(name, CHALLENGER, str(passed[0]))
    elif _alias(client, name, CHALLENGER) is not None:
        client.delete_registered_model_alias(name, CHALLENGER)
    if verdict == PASSED and champion(client, name) is None:
        _crown(client, name, str(version.version), "the first to pass the gate")
    return client.get_model_version(name, version.version)


def promote(client: MlflowClient, name: str, version: str | None, force_reason: str | None) -> str:
    """Make a version champion; without one named, the challenger. Returns the version.

    Args:
        client: of the connected store.
        name: of the registered model.
        version: to promote.
        force_reason: why a version that failed the gate is promoted all the same.

    Raises:
        MusicGenreError: there is no such version, or it failed the gate and no reason is given.
    """
    chosen = version or _alias(client, name, CHALLENGER)
    if chosen is None:
        raise MusicGenreError(f"{name} has no challenger: no version has passed the gate; name one with --version")
    found = _version(client, name, chosen)
    if found.tags.get("verdict") != PASSED and not force_reason:
        failed = [c["name"] for c in json.loads(found.tags.get("criteria", "[]")) if not c["passed"]]
        raise MusicGenreError(
            f"version {chosen} was refused by the gate ({', '.join(failed) or 'no verdict'});"
            " --force --reason TEXT promotes it all the same"
        )
    if champion(client, name) != chosen:
        _crown(client, name, chosen, f"forced: {force_reason}" if force_reason else "promoted")
    return chosen


def rollback(client: MlflowClient, name: str) -> str:
    """Give ``champion`` back to the version that held it before; again, to the one before that. Returns the version.

    Raises:
        MusicGenreError: nobody held it before.
    """
    line: list[str] = []
    for entry in history(client, name):
        if entry["reason"].startswith(ROLLED_BACK):
            line = line[: line.index(entry["version"])]
        line.append(entry["version"])
    current = champion(client, name)
    while line and line[-1] == current:
        line.pop()
    if not line:
        raise MusicGenreError(f"{name} has no earlier champion to go back to")
    _crown(client, name, line[-1], f"{ROLLED_BACK} from version {current}")
    return line[-1]


def champion(client: MlflowClient, name: str) -> str | None:
    """The version that is served, if any."""
    return _alias(client, name, CHAMPION)


def history(client: MlflowClient, name: str) -> list[dict[str, str]]:
    """Who was made champion, when and why, oldest first; an alias that was moved by hand is part of it."""
    if not _exists(client, name):
        return []
    entries: list[dict[str, str]] = json.loads(client.get_registered_model(name).tags.get(HISTORY_TAG, "[]"))
    current = champion(client, name)
    if current is not None and (not entries or entries[-1]["version"] != current):
        entries.append({"version": current, "since": _now(), "reason": "alias moved by hand"})
    return entries


def versions(client: MlflowClient, name: str) -> list[Registered]:
    """Every version, newest first; none where nothing was ever registered."""
    if not _exists(client, name):
        return []
    aliases: dict[str, list[str]] = {}
    for alias, version in sorted(client.get_registered_model(name).aliases.items()):
        aliases.setdefault(str(version), []).append(alias)
    return [
        Registered(
            version=str(found.version),
            aliases=aliases.get(str(found.version), []),
            model=found.tags.get("model", "unknown"),
            validation_macro_f1=_figure(found, "validation_macro_f1"),
            test_macro_f1=_figure(found, "test_macro_f1"),
            verdict=found.tags.get("verdict", "unknown"),
            created=_stamp(datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)),
        )
        for found in _versions(client, name)
    ]


def resolve(client: MlflowClient, name: str, wanted: str) -> ModelVersion:
    """The version behind ``champion``, ``challenger`` or a number.

    Raises:
        MusicGenreError: there is none; the message says what to do.
    """
    if wanted.isdigit():
        return _version(client, name, wanted)
    number = _alias(client, name, wanted)
    if number is None:
        raise MusicGenreError(
            f"{name} has no {wanted}: `dvc repro` makes and registers a candidate,"
            " `music-genre promote` makes one that passed the gate champion"
        )
    return client.get_model_version(name, number)


def packed_folder(version: ModelVersion) -> Path:
    """A registered version's packed folder on this machine, fetched where the store is elsewhere.

    Raises:
        MusicGenreError: the store has lost the model's files.
    """
    import mlflow.artifacts

    try:
        folder = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}")
    except (MlflowException, OSError) as error:
        raise MusicGenreError(
            f"the files of {version.name} version {version.version} cannot be had: {error}"
        ) from error
    return Path(folder) / "artifacts/packed"


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version of the model with this digest, if it is registered."""
    return next((found for found in _versions(client, name) if found.tags.get(DIGEST_TAG) == digest), None)


def _crown(client: MlflowClient, name: str, version: str, reason: str) -> None:
    entries = [*history(client, name), {"version": version, "since": _now(), "reason": reason}]
    client.set_registered_model_alias(name, CHAMPION, version)
    client.set_registered_model_tag(name, HISTORY_TAG, json.dumps(entries))


def _exists(client: MlflowClient, name: str) -> bool:
    return bool(client.search_registered_models(f"name = '{name}'"))


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    found = client.search_model_versions(f"name = '{name}'", max_results=1000)
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def _version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        raise MusicGenreError(f"{name} has no version {version}; `music-genre versions` lists them") from error


def _alias(client: MlflowClient, name: str, alias: str) -> str | None:
    if not _exists(client, name):
        return None
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _figure(version: ModelVersion, tag: str) -> float | None:
    value = version.tags.get(tag)
    return None if value is None else float(value)


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
