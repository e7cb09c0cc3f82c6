"""The champions of a registered model, from when to when and why: a write-ahead log in the model's tags.

MLflow stores what an alias points at, not what it pointed at before, which a rollback has to know. So each change of
champion is an entry of its own, in a tag of the registered model. The alias and the entry are two writes to the store,
and a process can be killed between them. As in a database, the change is therefore written ahead: the pending entry
first, then the alias, then the entry itself. Whoever reads or changes the history next sees from the alias whether the
pending change took place, and completes it. An alias that was moved by hand is recognized in the same way: it differs
from the last entry, and no pending entry says why.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

    from music_genre.registry.resolver import RegistrySnapshot

CHAMPION, CHALLENGER = "champion", "challenger"  # aliases
HISTORY_TAG = "champion_"  # with the entry's number: one tag for all entries would outgrow what a store accepts
PENDING_TAG = "pending_champion"
ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class ChampionPeriod:
    """A version's time as champion.

    Args:
        version: its number.
        since: when it became champion; where the alias was moved by hand, when that was first noticed.
        until: when another replaced it; None for the current champion.
        reason: why it became champion.
    """

    version: str
    since: str
    until: str | None
    reason: str


def registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """A registered model with its aliases and tags; None where it does not exist."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise


def champion_periods(client: MlflowClient, name: str) -> list[ChampionPeriod]:
    """Every champion, the oldest first."""
    model = registered_model(client, name)
    return [] if model is None else periods_of(model)


def periods_of(model: RegisteredModel | RegistrySnapshot) -> list[ChampionPeriod]:
    """Every champion, the oldest first, by a registered model's aliases and tags."""
    entries = _history_entries(model)
    missing = _missing_entry(model, entries)
    entries += [missing] if missing else []
    ends = [*(entry["since"] for entry in entries[1:]), None]
    return [
        ChampionPeriod(entry["version"], entry["since"], until, entry["reason"])
        for entry, until in zip(entries, ends, strict=False)
        if entry["version"]
    ]


def set_champion(client: MlflowClient, name: str, version: str, reason: str) -> None:
    """Make a version champion: write the change ahead, move the alias, complete the history."""
    entry = {"version": version, "since": isoformat(datetime.now(UTC)), "reason": reason}
    client.set_registered_model_tag(name, PENDING_TAG, json.dumps(entry))
    client.set_registered_model_alias(name, CHAMPION, version)
    reconcile_history(client, name)


def reconcile_history(client: MlflowClient, name: str) -> None:
    """Add the last change of champion to the history where a killed process, or somebody by hand, left it out."""
    model = client.get_registered_model(name)
    entries = _history_entries(model)
    missing = _missing_entry(model, entries)
    if missing:
        client.set_registered_model_tag(name, f"{HISTORY_TAG}{len(entries) + 1:05}", json.dumps(missing))
    if PENDING_TAG in model.tags:
        client.delete_registered_model_tag(name, PENDING_TAG)


def interrupted_rollback(model: RegisteredModel) -> str | None:
    """The version that a killed process had already rolled back to, without completing the history."""
    pending: dict[str, str] = json.loads(model.tags.get(PENDING_TAG, "{}"))
    rolled_back = pending.get("reason", "").startswith(ROLLED_BACK)
    return pending["version"] if rolled_back and pending["version"] == str(model.aliases.get(CHAMPION)) else None


def previous_champion(periods: Sequence[ChampionPeriod], current: str | None, existing: Collection[str]) -> str | None:
    """The version that a rollback returns to.

    Args:
        periods: all champions, the oldest first.
        current: the version that is champion now, if any.
        existing: versions that have not been deleted.
    """
    succession: list[str] = []
    for period in periods:
        if period.reason.startswith(ROLLED_BACK) and period.version in succession:
            # What was rolled back is not returned to.
            succession = succession[: succession.index(period.version)]
        succession.append(period.version)
    while succession and (succession[-1] == current or succession[-1] not in existing):
        succession.pop()
    return succession[-1] if succession else None


def isoformat(moment: datetime) -> str:
    """A moment to the second, as the registry writes it."""
    return moment.isoformat(timespec="seconds")


def _history_entries(model: RegisteredModel | RegistrySnapshot) -> list[dict[str, str]]:
    return [json.loads(value) for key, value in sorted(model.tags.items()) if key.startswith(HISTORY_TAG)]


def _missing_entry(
    model: RegisteredModel | RegistrySnapshot, entries: Sequence[dict[str, str]]
) -> dict[str, str] | None:
    """The last change of champion, where the entries lack it."""
    current = str(model.aliases.get(CHAMPION, ""))
    if current == (entries[-1]["version"] if entries else ""):
        return None
    pending: dict[str, str] = json.loads(model.tags.get(PENDING_TAG, "{}"))
    if pending.get("version") == current:
        return pending
    reason = "alias moved by hand" if current else "alias removed by hand"
    return {"version": current, "since": isoformat(datetime.now(UTC)), "reason": reason}
