"""Find the model that is to answer: the registry's champion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from music_genre import registry, tracking
from music_genre.packed import Packing, read_packing
from music_genre.params import load_params
from music_genre.project import Project


@dataclass(frozen=True)
class Loaded:
    """A version that is served.

    Args:
        name: of the registered model.
        version: of it.
        folder: the packed model.
        packing: its description.
        metrics: macro-F1 on validation and test.
    """

    name: str
    version: str
    folder: Path
    packing: Packing
    metrics: dict[str, float]


def load() -> Loaded:
    """The champion of the checkout's registry.

    Raises:
        MusicGenreError: there is no champion; the message says how to make one.
    """
    project = Project.here()
    client, name = tracking.connect(project.root), load_params(project.params).registry.name
    version = registry.resolve(client, name, registry.CHAMPION)
    folder = registry.packed_folder(version)
    metrics = {key: float(value) for key, value in version.tags.items() if key.endswith("_macro_f1")}
    return Loaded(name, str(version.version), folder, read_packing(folder), metrics)
