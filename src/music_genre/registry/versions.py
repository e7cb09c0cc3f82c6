"""Which model answers: register one with its verdict, promote it, roll it back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from music_genre.errors import MusicGenreError
from music_genre.registry.gate import PASSED, REFUSED, GateResult
from music_genre.registry.shadow import SHADOW_TAG, ShadowStats, read_shadow
from music_genre.tracking.runs import DIGEST_TAG, RunRef

CHAMPION, CHALLENGER = "champion", "challenger"
HISTORY_TAG, BEGUN_TAG, FORCED_TAG = "champion_", "begun", "forced"
ROLLED_BACK, BY_HAND = "rolled back", "alias moved by hand"
LONGEST_REASON = 500


@dataclass(frozen=True)
class Reign:
    """A version's time as champion.

    Args:
        version: its number.
        since: when it began, or was first seen where the alias was moved by hand.
        until: when it ended; None while it lasts.
        reason: why it became champion.
    """

    version: str
    since: str
    until: str | None
    reason: str


@dataclass(frozen=True)
class Registered:
    """A version as people list them; one that was registered by hand has no figures.

    Args:
        failed: the gate's criteria that it did not meet.
        forced: why it was made champion although the gate had refused it; None where it was not.
        shadow: how it did beside a champion, where it answered unseen.
    """

    version: str
    aliases: list[str]
    model: str
    validation_macro_f1: float | None
    test_macro_f1: float | None
    verdict: str
    created: str
    failed: list[str]
    forced: str | None
    shadow: ShadowStats | None


def register(
    client: MlflowClient, name: str, digest: str, pointer: RunRef, judged: GateResult, description: str = ""
) -> ModelVersion:
    """Register a model once: a digest that is there already keeps its version and is judged anew.

    ``challenger`` is the newest version that passed, if any; ``champion`` the first one, until another is promoted. A
    refused model gets a version and no alias. Whatever moment the process is killed at, a version has its verdict,
    aliases point at versions, and the next call completes what is missing.
    """
    _ensure(client, name)
    _settle(client, name)
    version = find_version(client, name, digest)
    if version is None:
        # One transaction: the version appears with its verdict and its card, or not at all.
        version = client.create_model_version(
            name,
            f"models:/{pointer.model_id}",
            run_id=pointer.run_id,
            tags={DIGEST_TAG: digest, **_verdict_tags(judged)},
            description=description,
            model_id=pointer.model_id,
        )
    else:
        _judge_anew(client, version, judged, description)
    _point_challenger(client, name)
    if judged.verdict == PASSED and champion(client, name) is None:
        _crown(client, name, str(version.version), "the first to pass the gate")
    return client.get_model_version(name, version.version)


def measured(version: ModelVersion | None, criterion: str) -> float | None:
    """What a version showed when it was measured, if it passed: one model needs no second measurement."""
    criteria = json.loads(version.tags.get("criteria", "[]")) if version else []
    return next((float(c["value"]) for c in criteria if c["name"] == criterion and c["passed"]), None)


def _verdict_tags(judged: GateResult) -> dict[str, str]:
    """In the order that keeps a version safe while they are written: what it is, why, and last the verdict."""
    figures = {
        f"{split}_{name}": repr(value)
        for split, values in judged.candidate.metrics.items()
        for name, value in values.items()
    }
    return {
        "model": judged.candidate.name,
        **figures,
        "criteria": json.dumps([asdict(criterion) for criterion in judged.criteria]),
        "notes": json.dumps(judged.notes),
        "verdict": judged.verdict,
    }


def _judge_anew(client: MlflowClient, version: ModelVersion, judged: GateResult, description: str) -> None:
    tags = _verdict_tags(judged)
    if judged.verdict == REFUSED:
        # A version that is no longer trusted says so before it says why.
        tags = {"verdict": tags["verdict"], **tags}
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)
    if description and version.description != description:
        client.update_model_version(version.name, version.version, description)


def _point_challenger(client: MlflowClient, name: str) -> None:
    passed = [other.version for other in _versions(client, name) if other.tags.get("verdict") == PASSED]
    current = challenger(client, name)
    if passed and current != str(passed[0]):
        client.set_registered_model_alias(name, CHALLENGER, str(passed[0]))
    elif not passed and current is not None:
        client.delete_registered_model_alias(name, CHALLENGER)


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
    if force_reason and len(force_reason) > LONGEST_REASON:
        raise MusicGenreError(f"a reason of {len(force_reason)} characters; at most {LONGEST_REASON} are kept")
    chosen = version or challenger(client, name)
    if chosen is None:
        raise MusicGenreError(f"{name} has no challenger: no version has passed the gate; name one with --version")
    found = _version(client, name, chosen)
    if found.tags.get("verdict") != PASSED and not force_reason:
        raise MusicGenreError(
            f"version {chosen} was refused by the gate ({', '.join(_failed(found)) or 'no verdict'});"
            " --force --reason TEXT promotes it all the same"
        )
    _settle(client, name)
    if force_reason:
        client.set_model_version_tag(name, chosen, FORCED_TAG, force_reason)
    if champion(client, name) != chosen:
        _crown(client, name, chosen, f"forced: {force_reason}" if force_reason else "promoted")
    return chosen


def rollback(client: MlflowClient, name: str) -> str:
    """Give ``champion`` back to the version that held it before; again, to the one before that. Returns the version.

    Raises:
        MusicGenreError: nobody held it before.
    """
    there = {str(version.version) for version in _versions(client, name)} if _exists(client, name) else set()
    if there:
        begun = json.loads(client.get_registered_model(name).tags.get(BEGUN_TAG, "{}"))
        _settle(client, name)
        if begun and begun["reason"].startswith(ROLLED_BACK) and begun["version"] == champion(client, name):
            # A process was killed while it rolled back: this call ends that one and goes no further.
            return str(begun["version"])
    line: list[str] = []
    for reign in history(client, name):
        if reign.reason.startswith(ROLLED_BACK) and reign.version in line:
            line = line[: line.index(reign.version)]
        line.append(reign.version)
    current = champion(client, name)
    # A version that was deleted since cannot be gone back to.
    while line and (line[-1] == current or line[-1] not in there):
        line.pop()
    if not line:
        raise MusicGenreError(f"{name} has no earlier champion to go back to")
    _crown(client, name, line[-1], f"{ROLLED_BACK} from version {current}")
    return line[-1]


def champion(client: MlflowClient, name: str) -> str | None:
    """The version that is served, if any."""
    return _alias(client, name, CHAMPION)


def challenger(client: MlflowClient, name: str) -> str | None:
    """The newest version that passed the gate, if any."""
    return _alias(client, name, CHALLENGER)


def record_shadow(client: MlflowClient, name: str, version: str, later: ShadowStats) -> None:
    """Add what a challenger showed in a champion's shadow to what is known of it."""
    known = read_shadow(_version(client, name, version).tags)
    total = known.merge(later) if known else later
    client.set_model_version_tag(name, version, SHADOW_TAG, total.model_dump_json())


def history(client: MlflowClient, name: str) -> list[Reign]:
    """Who was champion, from when to when and why, oldest first; an alias that was moved by hand is part of it."""
    if not _exists(client, name):
        return []
    model = client.get_registered_model(name)
    entries = _written(model)
    unwritten = _unwritten(model, entries)
    entries += [unwritten] if unwritten else []
    ends = [*(entry["since"] for entry in entries[1:]), None]
    return [
        Reign(entry["version"], entry["since"], until, entry["reason"])
        for entry, until in zip(entries, ends, strict=False)
        if entry["version"]
    ]


def _written(model: RegisteredModel) -> list[dict[str, str]]:
    """One tag a change of champion: a single one would outgrow what a store takes."""
    return [json.loads(value) for key, value in sorted(model.tags.items()) if key.startswith(HISTORY_TAG)]


def _unwritten(model: RegisteredModel, entries: list[dict[str, str]]) -> dict[str, str] | None:
    """The last change of champion where the history lacks it: a process was killed, or somebody moved the alias."""
    current = str(model.aliases.get(CHAMPION, ""))
    if current == (entries[-1]["version"] if entries else ""):
        return None
    begun: dict[str, str] = json.loads(model.tags.get(BEGUN_TAG, "{}"))
    if begun.get("version") == current:
        return begun
    return {"version": current, "since": _now(), "reason": BY_HAND if current else "alias removed by hand"}


def _crown(client: MlflowClient, name: str, version: str, reason: str) -> None:
    """Say what is about to be done, do it, write it down: a process that is killed in between leaves what the next
    one needs to finish.
    """
    begun = {"version": version, "since": _now(), "reason": reason}
    client.set_registered_model_tag(name, BEGUN_TAG, json.dumps(begun))
    client.set_registered_model_alias(name, CHAMPION, version)
    _settle(client, name)


def _settle(client: MlflowClient, name: str) -> None:
    """Bring the written history up to the alias."""
    model = client.get_registered_model(name)
    entries = _written(model)
    unwritten = _unwritten(model, entries)
    if unwritten:
        client.set_registered_model_tag(name, f"{HISTORY_TAG}{len(entries) + 1:05}", json.dumps(unwritten))
    if BEGUN_TAG in model.tags:
        client.delete_registered_model_tag(name, BEGUN_TAG)


def _ensure(client: MlflowClient, name: str) -> None:
    if not _exists(client, name):
        client.create_registered_model(
            name, description="Names the genre of a piece of music from its mel spectrogram."
        )


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
            failed=_failed(found),
            forced=found.tags.get(FORCED_TAG),
            shadow=read_shadow(found.tags),
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


def _failed(version: ModelVersion) -> list[str]:
    """The criteria that a version did not meet."""
    return [c["name"] for c in json.loads(version.tags.get("criteria", "[]")) if not c["passed"]]


def _figure(version: ModelVersion, tag: str) -> float | None:
    value = version.tags.get(tag)
    return None if value is None else float(value)


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
