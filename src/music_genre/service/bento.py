"""Put the champion into BentoML's model store when a bento is built, so that the bento carries it."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from bentoml.exceptions import NotFound
from bentoml.models import BentoModel

from music_genre.inference.predictor import CONFIDENT_TAG
from music_genre.models.bundle import digest
from music_genre.service.served_model import FACTS, PACKED, Registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

KEPT_TAGS = ("validation_macro_f1", "test_macro_f1", CONFIDENT_TAG)
"""What a bento says about its model; other tags may tell of the machine that registered it."""


class Champion(BentoModel):  # type: ignore[misc]  # theirs
    """The model of the service as BentoML asks for it: ``bentoml build`` gets the registry's champion, and ``bentoml
    serve`` nothing, for the inner service loads what it serves itself.
    """

    def to_info(self, alias: str | None = None) -> Any:
        registry = Registry()
        version = registry.champion()
        _, folder = registry.fetch(version)
        return BentoModel(store(version, folder)).to_info(alias)

    def resolve(self, base_path: Any = None, global_model_store: Any = None) -> None:
        return None


def store(version: ModelVersion, folder: Path) -> bentoml.Tag:
    """A registered version in BentoML's store, as ``<name>:v<version>``; made anew where another model has that tag.

    Args:
        version: of the registry.
        folder: its packed folder.
    """
    tag = bentoml.Tag(version.name, f"v{version.version}")
    facts = {
        "version": str(version.version),
        "digest": digest(folder),
        "tags": {name: version.tags[name] for name in KEPT_TAGS if name in version.tags},
    }
    if _stored(tag) != facts:
        with suppress(NotFound):
            bentoml.models.delete(tag)
        with bentoml.models.create(tag, labels={"project": version.name}) as model:
            shutil.copytree(folder, Path(model.path) / PACKED)
            (Path(model.path) / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return tag


def _stored(tag: bentoml.Tag) -> Any:
    """The facts of what has this tag; None where nothing has, or nothing of ours."""
    try:
        return json.loads((Path(bentoml.models.get(tag).path) / FACTS).read_text(encoding="utf-8"))
    except (NotFound, OSError, ValueError):
        return None
