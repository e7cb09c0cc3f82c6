"""The versions of the registered model as people list them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.registry.history import isoformat, registered_model
from music_genre.registry.shadow import ShadowStats, read_shadow
from music_genre.registry.versions import FORCED_TAG, all_versions, failed_criteria


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


def _metric_tag(version: ModelVersion, tag: str) -> float | None:
    value = version.tags.get(tag)
    return None if value is None else float(value)
