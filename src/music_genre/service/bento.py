"""Copy the champion into BentoML's model store when a bento is built, so that the bento contains it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from bentoml.exceptions import BentoMLException, NotFound
from bentoml.models import BentoModel

from music_genre.errors import MusicGenreError
from music_genre.files import folder_sha256
from music_genre.inference.predictor import CONFIDENCE_THRESHOLD_TAG
from music_genre.service.served_model import BUNDLE_DIR, CARD, GENRE_CHANGES, VERSION_FILE, RegistryClient
from music_genre.tracking import DATA_SOURCE_TAG

if TYPE_CHECKING:
    from music_genre.registry.resolver import RegisteredVersion

# Other tags of a version may name the machine that registered it.
EXPORTED_TAGS = ("validation_macro_f1", "test_macro_f1", CONFIDENCE_THRESHOLD_TAG, GENRE_CHANGES, DATA_SOURCE_TAG, CARD)


class ChampionBentoModel(BentoModel):  # type: ignore[misc]  # BentoML has no types
    """The service's model as BentoML asks for it: ``bentoml build`` gets the champion of the registry.

    ``bentoml serve`` asks for nothing: the services load the model themselves.
    """

    def to_info(self, alias: str | None = None) -> Any:
        """Copy the champion into BentoML's store, and describe it.

        Raises:
            BentoMLException: there is none, or its files are lost; `bentoml build` prints the reason in one line.
        """
        try:
            registry = RegistryClient()
            version = registry.champion()
            _, bundle_dir = registry.download(version)
        except MusicGenreError as error:
            raise BentoMLException(str(error)) from error
        return BentoModel(save_to_bento_store(version, registry.tags(version), bundle_dir)).to_info(alias)

    def resolve(self, base_path: Any = None, global_model_store: Any = None) -> None:
        """Give ``bentoml serve`` nothing."""


def save_to_bento_store(version: RegisteredVersion, tags: Mapping[str, str], bundle_dir: Path) -> bentoml.Tag:
    """Copy a registered version with its tags into BentoML's store, in place of another model with the same tag.

    Returns:
        ``<name>:v<version>``.
    """
    tag = bentoml.Tag(version.name, f"v{version.version}")
    facts = {
        "version": str(version.version),
        "digest": folder_sha256(bundle_dir),
        "tags": {name: tags[name] for name in EXPORTED_TAGS if name in tags},
    }
    if _stored_facts(tag) != facts:
        with suppress(NotFound):
            bentoml.models.delete(tag)
        with bentoml.models.create(tag, labels={"project": version.name}) as model:
            shutil.copytree(bundle_dir, Path(model.path) / BUNDLE_DIR)
            (Path(model.path) / VERSION_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return tag


def _stored_facts(tag: bentoml.Tag) -> Any:
    """The facts of the model with this tag in BentoML's store; None where there is none, or not one of this service."""
    try:
        return json.loads((Path(bentoml.models.get(tag).path) / VERSION_FILE).read_text(encoding="utf-8"))
    except (NotFound, OSError, ValueError):
        return None
