"""What commands share: exit codes, the checkout's registry, and a model by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths
from music_genre.registry.history import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from music_genre.models.bundle import ModelBundle
    from music_genre.registry.resolver import RegistrySnapshot


class ExitCode(IntEnum):
    """How a command ended, where it is not 0, done; wrong usage is 2."""

    FAILED = 1  # with one line of reason on stderr
    REFUSED = 3  # by the gate; or drift was detected; or some files of several have no prediction


ModelOption = Annotated[
    str,
    typer.Option(
        "--model", metavar="WHICH", help="champion, challenger or a version; or a trained model by name, as crnn."
    ),
]


@contextmanager
def bundle_dir(model: str) -> Iterator[tuple[Path, float]]:
    """A model's bundle and its confidence threshold; the folder may be temporary.

    Args:
        model: ``champion``, ``challenger`` or a version's number; or the name of a model in ``models/``, registered or
            not.

    Raises:
        MusicGenreError: there is no such model; the message says what to do.
    """
    project = ProjectPaths.find()
    if model.isdigit() or model in (CHAMPION, CHALLENGER):
        yield _registered_bundle(project, model)
        return
    check_model_name(project, model)
    from music_genre.features.store import SpectrogramStore
    from music_genre.inference.predictor import DEFAULT_CONFIDENCE_THRESHOLD
    from music_genre.models.packing import temporary_bundle

    file, threshold = project.metrics(model), DEFAULT_CONFIDENCE_THRESHOLD
    if file.is_file():
        metrics = json.loads(file.read_text(encoding="utf-8"))
        threshold = metrics["validation"].get("confidence_threshold", threshold)
    with temporary_bundle(project.models, model, SpectrogramStore.open(project.spectrograms)) as folder:
        yield folder, threshold


def check_model_name(project: ProjectPaths, model: str) -> None:
    """Refuse what is no model that can be trained here.

    Raises:
        MusicGenreError: it is none; the message says which there are.
    """
    from music_genre.config import read_yaml

    values = read_yaml(project.params)
    sections = values.get("models") if isinstance(values, dict) else None
    names = (*sections, "ensemble") if isinstance(sections, dict) else ()
    if not names or model in names:  # only now: it imports every data set and model
        from music_genre.params import load_params

        names = load_params(project.params).model_names
    if model not in names:
        raise MusicGenreError(
            f"no model {model!r}; there are {CHAMPION}, {CHALLENGER}, the numbers of `music-genre versions`,"
            f" and {', '.join(map(str, names))}"
        )


def _registered_bundle(project: ProjectPaths, version_or_alias: str) -> tuple[Path, float]:
    """The folder of a registered version's bundle, and its confidence threshold."""
    from music_genre.registry.resolver import local_bundle

    version = open_registry(project).resolve(version_or_alias)
    folder = local_bundle(version)
    if folder is None:  # elsewhere, or lost: MLflow downloads it, or says why it cannot
        from music_genre.registry.versions import download_bundle

        connect(project)
        folder = download_bundle(version)
    from music_genre.inference.predictor import threshold_from_tags

    return folder, threshold_from_tags(version.tags)


def load_model(model: str) -> tuple[ModelBundle, float]:
    """A model, loaded, and its confidence threshold; see ``bundle_dir``."""
    with bundle_dir(model) as (folder, confidence_threshold):
        from music_genre.models.bundle import ModelBundle
        from music_genre.runtime import cores

        return ModelBundle(folder, cores()), confidence_threshold


def connect(project: ProjectPaths) -> tuple[MlflowClient, str]:
    """The tracking store's client and the registered model's name."""
    from music_genre.registry.params import load_registry_params
    from music_genre.tracking import runs

    name = load_registry_params(project.params).name
    return runs.connect(project.root), name


def open_registry(project: ProjectPaths) -> RegistrySnapshot:
    """The registered model as it is now, to read: at once from a local store, through MLflow from any other."""
    from music_genre.registry.params import load_registry_params
    from music_genre.registry.resolver import read_registry
    from music_genre.registry.versions import take_snapshot

    registry = read_registry(project.root, load_registry_params(project.params).name)
    return registry or take_snapshot(*connect(project))


def check_output(file: Path, suffix: str | None = None) -> None:
    """Refuse the name of a file that cannot be written, before anything is computed.

    Args:
        file: what a command is to write.
        suffix: the file's type, if only one is written.

    Raises:
        typer.BadParameter: the suffix is another.
        MusicGenreError: its folder does not exist, or it is a folder.
    """
    if suffix is not None and file.suffix != suffix:
        raise typer.BadParameter(f"takes the name of a {suffix} file", param_hint="'--output'")
    if not file.parent.is_dir():
        raise MusicGenreError(f"{file} cannot be written: {file.parent} is not a folder")
    if file.is_dir():
        raise MusicGenreError(f"{file} cannot be written: it is a folder")
