"""The checkout's registry and models, as commands find them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def packed_folder(wanted: str) -> Iterator[tuple[Path, float]]:
    """A model as it travels, and the least confidence of a sure answer.

    Args:
        wanted: ``champion``, ``challenger`` or a version's number; or a model as ``models/`` holds it, registered or
            not, by its name.

    Raises:
        MusicGenreError: there is none; the message says what to do.
    """
    from music_genre.features.store import SpectrogramStore
    from music_genre.inference import predictor as prediction
    from music_genre.models import bundle as packed
    from music_genre.params import load_params
    from music_genre.registry import versions as registry

    if wanted not in load_params(ProjectPaths.find().params).model_names:
        client, name = connect()
        version = registry.resolve(client, name, wanted)
        yield registry.packed_folder(version), prediction.confident_from(version.tags)
        return
    project = ProjectPaths.find()
    with ExitStack() as kept:
        try:
            data = SpectrogramStore.open(project.spectrograms)
            folder = kept.enter_context(packed.temporary_bundle(project.models, wanted, data))
        except FileNotFoundError as missing:
            raise MusicGenreError(
                f"{missing.filename} is missing: `dvc repro` makes it, `dvc pull` fetches it"
            ) from missing
        measured = project.evaluation / wanted / "metrics.json"
        figures = json.loads(measured.read_text(encoding="utf-8"))["validation"] if measured.is_file() else {}
        yield folder, figures.get("confidence_threshold", prediction.CONFIDENT)


def connect() -> tuple[MlflowClient, str]:
    """The tracking store's client and the registered model's name."""
    from music_genre.params import load_params
    from music_genre.tracking import runs as tracking

    project = ProjectPaths.find()
    return tracking.connect(project.root), load_params(project.params).registry.name
