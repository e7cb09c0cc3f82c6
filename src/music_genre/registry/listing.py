"""The versions of the registered model as people list them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from music_genre.registry.history import champion_periods, isoformat, previous_champion, registered_model
from music_genre.registry.shadow import ShadowStats, read_shadow
from music_genre.registry.versions import FORCED_TAG, GENRES_TAG, all_versions, failed_criteria
from music_genre.tracking.provenance import DATA_SOURCE_TAG


@dataclass(frozen=True)
class VersionInfo:
    """A version as it is listed; one that was registered by hand has neither metrics nor a verdict.

    Args:
        version: its number.
        aliases: that point at it.
        model: name of the model.
        validation_macro_f1: macro-F1 on validation.
        test_macro_f1: macro-F1 on test.
        verdict: ``passed``, ``refused`` or ``unknown``.
        created: when it was registered.
        failed: names of the criteria that it does not meet.
        forced: why it was promoted although the gate refused it; None where it was not.
        shadow: its statistics in shadow mode; None where it was not compared.
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


def list_versions(client: MlflowClient, name: str) -> list[VersionInfo]:
    """Every version, the newest first; empty where nothing was registered."""
    model = registered_model(client, name)
    if model is None:
        return []
    aliases: dict[str, list[str]] = {}
    for alias, version in sorted(model.aliases.items()):
        aliases.setdefault(str(version), []).append(alias)
    return [
        VersionInfo(
            version=str(version.version),
            aliases=aliases.get(str(version.version), []),
            model=version.tags.get("model", "unknown"),
            validation_macro_f1=_metric_tag(version, "validation_macro_f1"),
            test_macro_f1=_metric_tag(version, "test_macro_f1"),
            verdict=version.tags.get("verdict", "unknown"),
            created=isoformat(datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)),
            failed=failed_criteria(version),
            forced=version.tags.get(FORCED_TAG),
            shadow=read_shadow(version.tags),
        )
        for version in all_versions(client, name)
    ]


def genre_changes(client: MlflowClient, version: ModelVersion) -> dict[str, Any] | None:
    """How the genres of the champion differ from those of the champion before it: ``since`` that version, ``new`` and
    ``gone`` genres; None where they do not differ, or the versions do not say.
    """
    versions = {str(one.version): one for one in all_versions(client, version.name)}
    before = previous_champion(champion_periods(client, version.name), str(version.version), set(versions))
    if before is None:
        return None
    old, now = (json.loads(one.tags.get(GENRES_TAG, "[]")) for one in (versions[before], version))
    new, gone = new_and_gone(old, now)
    return {"since": before, "new": new, "gone": gone} if old and now and (new or gone) else None


def new_and_gone(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    """The genres that are only in the second list, and those that are only in the first."""
    return [genre for genre in now if genre not in before], [genre for genre in before if genre not in now]


def _metric_tag(version: ModelVersion, tag: str) -> float | None:
    value = version.tags.get(tag)
    return None if value is None else float(value)


def data_source(client: MlflowClient, version: ModelVersion) -> str:
    """The ``data.source`` of a version's training data, as its run has it; empty where that is lost."""
    try:
        return str(client.get_run(version.run_id).data.tags.get(DATA_SOURCE_TAG, "")) if version.run_id else ""
    except MlflowException:
        return ""
