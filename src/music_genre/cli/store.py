"""The checkout's registry, as commands find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from music_genre.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from music_genre.packed import PackedModel


def load_model(wanted: str) -> tuple[PackedModel, float]:
    """The model behind ``champion``, ``challenger`` or a version number, and the least confidence of a sure answer."""
    from music_genre import registry
    from music_genre.packed import PackedModel
    from music_genre.prediction import confident_from

    version = find_version(wanted)
    return PackedModel(registry.packed_folder(version)), confident_from(version.tags)


def find_version(wanted: str) -> ModelVersion:
    """The registered version behind ``champion``, ``challenger`` or a number."""
    from music_genre import registry

    client, name = connect()
    return registry.resolve(client, name, wanted)


def connect() -> tuple[MlflowClient, str]:
    """The tracking store's client and the registered model's name."""
    from music_genre import tracking
    from music_genre.params import load_params

    project = Project.here()
    return tracking.connect(project.root), load_params(project.params).registry.name
