"""The registered model as a local SQLite store has it, read without MLflow, whose import takes seconds.

Whatever is not plain here is left to MLflow: a store of another kind or with another layout of tables, one that is
locked or damaged, files that are elsewhere or lost.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from music_genre.errors import MusicGenreError
from music_genre.tracking import BUNDLE_ARTIFACT
from music_genre.tracking.store import store_uri

TABLES_REVISION = "dc11669786a5"  # of MLflow's tables that are read here; those of another are left to MLflow
LOCKED_S = 1.0  # a store that is locked for longer is left to MLflow, which waits longer
SQLITE = "sqlite:///"
# Each can send MLflow to other tables or rows than those of the tracking store's default workspace.
REGISTRY_VARIABLES = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_WORKSPACE",
    "MLFLOW_WORKSPACE_STORE_URI",
)

REVISION = "SELECT version_num FROM alembic_version"
MODEL_TAGS = "SELECT key, value FROM registered_model_tags WHERE workspace = 'default' AND name = ?"
ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE workspace = 'default' AND name = ?"
VERSIONS = """
    SELECT version, creation_time, coalesce(nullif(storage_location, ''), source), coalesce(description, '')
    FROM model_versions
    WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal' ORDER BY version DESC
"""
VERSION_TAGS = "SELECT version, key, value FROM model_version_tags WHERE workspace = 'default' AND name = ?"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registered model.

    Args:
        name: of the registered model.
        version: its number.
        creation_timestamp: milliseconds since 1970.
        tags: of the version.
        location: address of the logged model; None where it was not read.
        description: Markdown: the model card.
    """

    name: str
    version: str
    creation_timestamp: int
    tags: Mapping[str, str]
    location: str | None = None
    description: str = ""


@dataclass(frozen=True)
class RegistrySnapshot:
    """The registered model at one moment; without versions where nothing was registered.

    Args:
        name: of the registered model.
        aliases: the version that each points at.
        tags: of the registered model.
        versions: the newest first.
    """

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    versions: tuple[RegisteredVersion, ...]

    def resolve(self, version_or_alias: str) -> RegisteredVersion:
        """The version with a number, or with an alias.

        Raises:
            MusicGenreError: there is none; the message says what to do.
        """
        is_number = version_or_alias.isdigit()
        number = version_or_alias.lstrip("0") if is_number else self.aliases.get(version_or_alias)
        if number is None:
            raise missing_alias(self.name, version_or_alias)
        for version in self.versions:
            if version.version == number:
                return version
        raise missing_version(self.name, version_or_alias if is_number else number)


def missing_alias(name: str, alias: str) -> MusicGenreError:
    """That no version of a model has an alias, and what to do."""
    return MusicGenreError(
        f"{name} has no {alias}: `dvc repro` trains and registers a model,"
        " `music-genre promote` makes a version that passed the gate champion"
    )


def missing_version(name: str, version: str) -> MusicGenreError:
    """That a model has no such version, and what to do."""
    return MusicGenreError(f"{name} has no version {version}; `music-genre versions` lists them")


def read_registry(root: Path, name: str) -> RegistrySnapshot | None:
    """The registered model in the store of the project at ``root``; None where only MLflow can read it.

    Nothing is written: where there is no store as yet, none is made.
    """
    file = _store_file(root)
    if file is None:
        return None
    if not file.exists() and file.parent.is_dir():
        return RegistrySnapshot(name, {}, {}, ())
    try:
        address = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_S, isolation_level=None)) as store:
            return _read_snapshot(store, name)
    except sqlite3.Error:
        return None


def local_bundle(version: RegisteredVersion) -> Path | None:
    """The folder of a version's bundle, which another program must not change; None where only MLflow can find it."""
    address = urlsplit(version.location or "")
    folder = Path(unquote(address.path))
    if address.scheme not in ("", "file") or address.netloc or not folder.is_absolute():
        return None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        logged = YAML(typ="safe").load((folder / "MLmodel").read_text(encoding="utf-8"))
        bundle = folder / logged["flavors"]["python_function"]["artifacts"][BUNDLE_ARTIFACT]["path"]
    except (OSError, ValueError, TypeError, LookupError, YAMLError):
        return None
    return bundle if bundle.is_dir() else None


def _store_file(root: Path) -> Path | None:
    """The file of the store, where it is a local SQLite database that has the registry, too."""
    uri = store_uri(root)
    path = uri.removeprefix(SQLITE)
    is_elsewhere = any(os.environ.get(name) for name in REGISTRY_VARIABLES)
    if is_elsewhere or not uri.startswith(SQLITE) or "?" in path or path in ("", ":memory:"):
        return None
    return Path(path)


def _read_snapshot(store: sqlite3.Connection, name: str) -> RegistrySnapshot | None:
    store.execute("BEGIN")  # all that is read is of the same moment
    if store.execute(REVISION).fetchall() != [(TABLES_REVISION,)]:
        return None
    tags: dict[int, dict[str, str]] = {}
    for version, key, value in store.execute(VERSION_TAGS, (name,)):
        tags.setdefault(version, {})[key] = value
    versions = tuple(
        RegisteredVersion(name, str(version), created, tags.get(version, {}), location, description)
        for version, created, location, description in store.execute(VERSIONS, (name,))
    )
    aliases = {alias: str(version) for alias, version in store.execute(ALIASES, (name,))}
    return RegistrySnapshot(name, aliases, dict(store.execute(MODEL_TAGS, (name,))), versions)
