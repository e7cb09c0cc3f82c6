"""What commands share: exit codes, the checkout's registry, and a model by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from music_genre.models.bundle import ModelBundle


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
    from music_genre.evaluation.results import METRICS, read_metrics
    from music_genre.features.store import SpectrogramStore
    from music_genre.inference import predictor
    from music_genre.models.packing import temporary_bundle
    from music_genre.params import load_params
    from music_genre.registry import versions
    from music_genre.registry.history import CHAMPION
    from music_genre.registry.versions import CHALLENGER

    names = load_params(project.params).model_names
    if model not in names:
        if not model.isdigit() and model not in (CHAMPION, CHALLENGER):
            raise MusicGenreError(
                f"no model {model!r}; there are {CHAMPION}, {CHALLENGER}, the numbers of `music-genre versions`,"
                f" and {', '.join(names)}"
            )
        client, name = connect(project)
        version = versions.resolve(client, name, model)
        yield versions.download_bundle(version), predictor.threshold_from_tags(version.tags)
        return
    evaluation, threshold = project.evaluation / model, predictor.DEFAULT_CONFIDENCE_THRESHOLD
    if (evaluation / METRICS).is_file():
        threshold = read_metrics(evaluation)["validation"].get("confidence_threshold", threshold)
    with temporary_bundle(project.models, model, SpectrogramStore.open(project.spectrograms)) as folder:
        yield folder, threshold


def load_model(model: str) -> tuple[ModelBundle, float]:
    """A model, loaded, and its confidence threshold; see ``bundle_dir``."""
    from music_genre.models.bundle import ModelBundle
    from music_genre.runtime import cores

    with bundle_dir(model) as (folder, confidence_threshold):
        return ModelBundle(folder, cores()), confidence_threshold


def connect(project: ProjectPaths) -> tuple[MlflowClient, str]:
    """The tracking store's client and the registered model's name."""
    from music_genre.params import load_params
    from music_genre.tracking import runs

    return runs.connect(project.root), load_params(project.params).registry.name


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
