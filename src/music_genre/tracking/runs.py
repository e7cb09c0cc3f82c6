"""MLflow: one run a trained model, found again by the digest of the model it made.

Run ids differ from store to store; digests do not. So a model that DVC restores from its cache meets its old run, and
a store that lacks the run gets it back from the model's files, without training.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.data.dataset import Dataset
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from music_genre.errors import MusicGenreError
from music_genre.evaluation.metrics import classification_metrics
from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.tracking.provenance import CHANGES, UNKNOWN, Origin, params_digest

EXPERIMENT = "music-genre"
COLUMNS = (
    "validation_macro_f1",
    "validation_ece",
    "test_accuracy",
    "test_accuracy_low",
    "test_accuracy_high",
    "test_macro_f1",
    "training_seconds",
)
ON_PAGE = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "A run a trained model. Test figures come with `music-genre register`; a sweep has none.",
    "mlflow.sharedViewState.figures": json.dumps({"selectedColumns": [f"metrics.`{name}`" for name in COLUMNS]}),
}
"""How MLflow's page shows the experiment: as training, not as traces of language models, and, asked for the view
``figures``, with these columns.
"""

DIGEST_TAG = "model_digest"
REQUIREMENTS = (
    "keras",
    "librosa",
    "mlflow",
    "numpy",
    "pydantic",
    "scikit-learn",
    "scipy",
    "skops",
    "soundfile",
    "soxr",
)
SERVER_SECONDS = 10
"""A tracking server answers within this time, or is taken for dead."""

TENSORFLOW = ("tensorflow-cpu", "tensorflow")


@dataclass(frozen=True)
class RunRef:
    """Where a model is in the tracking store: ``run.json``."""

    run_id: str
    model_id: str

    def write(self, path: Path) -> None:
        atomic_write_text(path, json.dumps({"run_id": self.run_id, "model_id": self.model_id}, indent=2) + "\n")


def atomic_write_text(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def lock(root: Path) -> FileLock:
    """Held by the one process of this checkout that changes the registry; let go when the process ends, however."""
    (_store_root(root) / ".cache").mkdir(exist_ok=True)
    return FileLock(_store_root(root) / ".cache/registry.lock")


def store_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else a SQLite file at DVC's root, which experiments in temporary copies share."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_store_root(root)}/mlflow.db"


def connect(root: Path) -> MlflowClient:
    """Use the store of the project at ``root``; made with its experiment where it does not exist, by one process at a
    time.

    Raises:
        MusicGenreError: the server that ``MLFLOW_TRACKING_URI`` names does not answer.
    """
    folder = _store_root(root)
    uri = store_uri(root)
    if uri.startswith("http"):
        _ask(uri)
    mlflow.set_tracking_uri(uri)
    (folder / ".cache").mkdir(exist_ok=True)
    with FileLock(folder / ".cache/mlflow.lock"):
        client = MlflowClient()
        if client.get_experiment_by_name(EXPERIMENT) is None:
            beside = (folder / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            client.create_experiment(EXPERIMENT, artifact_location=beside, tags=ON_PAGE)
    mlflow.set_experiment(EXPERIMENT)
    return client


def _ask(uri: str) -> None:
    """Make sure that a server answers, before hours are spent on what it is to record."""
    # Its client would try for minutes; each of these stands where somebody set it.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS)
    except requests.RequestException as error:
        raise MusicGenreError(
            f"MLFLOW_TRACKING_URI names {uri}, where no server answers ({type(error).__name__});"
            " start it, or unset the variable to record in mlflow.db"
        ) from error


class Recorder:
    """Writes to the open run as long as the store answers: a store that is lost costs the record, never the model."""

    def __init__(self) -> None:
        self.lost = False

    def __call__(self, write: Callable[[], Any]) -> None:
        """Do ``write``, unless the store was lost before."""
        if self.lost:
            return
        try:
            write()
        except (MlflowException, OSError) as error:
            self.lost = True
            reason = " ".join(str(error).split())[:300]
            print(
                f"The tracking store is lost: {reason}\nTraining goes on unrecorded. Once the store answers again,"
                " `music-genre register` records what models/ holds.",
                file=sys.stderr,
            )


@contextmanager
def recorded_run(name: str, params: dict[str, Any], origin: Origin) -> Iterator[Recorder]:
    """``run`` for work that must not be lost with the store: the block goes on without it."""
    recorder, opened = Recorder(), ExitStack()
    recorder(lambda: opened.enter_context(run(name, params, origin)))
    try:
        yield recorder
    except BaseException:
        with suppress(MlflowException, OSError):
            opened.__exit__(*sys.exc_info())
        raise
    if not recorder.lost:
        recorder(opened.close)
    if recorder.lost:
        # The fluent interface would go on with the run that it could not end.
        with suppress(MlflowException, OSError):
            mlflow.end_run("FAILED")


@contextmanager
def run(name: str, params: dict[str, Any], origin: Origin) -> Iterator[None]:
    """A run of the experiment, open while the block runs; failed where the block fails.

    Args:
        name: the model's.
        params: nested values, logged under dotted names.
        origin: of the checkout it starts in.
    """
    tags = {"model": name, "params_digest": params_digest(params), **origin.tags}
    if "recipe" in params:
        tags["recipe"] = str(params["recipe"])
    system = find_spec("psutil") is not None
    with mlflow.start_run(run_name=name, tags=tags, description=_note(name, tags), log_system_metrics=system):
        mlflow.log_params(flatten(params))
        if origin.changes:
            mlflow.log_text(origin.changes, CHANGES)
        yield


def _note(name: str, tags: dict[str, str]) -> str:
    """What a reader of the run's page is told first."""
    recipe = f", recipe {tags['recipe']}," if "recipe" in tags else ""
    commit = f" at commit `{tags['git_commit'][:12]}`" if "git_commit" in tags else ""
    changed = f" with the changes in `{CHANGES}`" if tags.get("git_dirty") == "true" else ""
    experiment = f", in the experiment `{tags['dvc_experiment']}`" if "dvc_experiment" in tags else ""
    return (
        f"**{name}**{recipe} made from `{tags['data_source']}`{commit}{changed}{experiment}. Steps are epochs; pictures"
        " and tables lie under Artifacts in `evaluation`, from `music-genre register` on."
    )


def log_epoch(row: dict[str, float]) -> None:
    """A row of ``history.csv`` to the open run; what a model has no figure for is left out."""
    figures = {name: value for name, value in row.items() if name != "epoch" and np.isfinite(value)}
    mlflow.log_metrics(figures, step=int(row["epoch"]))


def log_duration(seconds: float) -> None:
    """How long the open run's training took in this process: one that was interrupted before took longer."""
    mlflow.log_metric("training_seconds", seconds)


def mark_restored() -> None:
    """Say that the open run was made again from a model's files: it knows the commit of now, and no duration."""
    mlflow.set_tag("restored", "true")


def log_history(history: pd.DataFrame) -> None:
    """Every row of a ``history.csv`` to the open run."""
    for row in history.to_dict("records"):
        log_epoch(row)


def log_trained(models: Path, name: str, data: SpectrogramStore, digest: str) -> RunRef:
    """Log a trained model to the open run: its data, and itself packed, with signature, input example and validation
    figures.

    Args:
        models: the folder of trained models.
        name: one of the models.
        data: what it was trained on.
        digest: DVC's, of ``data``.
    """
    mlflow.log_input(dataset(data, "training", digest), "training")
    validation, held_out = data.split("validation"), dataset(data, "validation", digest)
    mlflow.log_input(held_out, "validation")
    with packed.temporary_bundle(models, name, data) as folder:
        pointer = _log_model(folder, validation.read(np.arange(1)))
        answers = packed.ModelBundle(folder).predict_split(validation)
        figures = named("validation", classification_metrics(validation.label, answers))
        mlflow.log_metrics(figures, model_id=pointer.model_id, dataset=held_out)
        # Last: a run with this tag is whole.
        mlflow.set_tag(DIGEST_TAG, packed.digest(folder))
    return pointer


def _log_model(folder: Path, example: np.ndarray) -> RunRef:
    """Log a packed folder with a real clip (1, frames, n_mels) float32 dB."""
    packing = packed.read_manifest(folder)
    package = Path(packed.__file__).parents[1]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *packing.shape))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(packing.genres)))]),
    )
    info = mlflow.pyfunc.log_model(
        name=packing.name,
        python_model=str(package / "tracking/pyfunc.py"),
        artifacts={"packed": str(folder)},
        code_paths=[str(package)],
        signature=signature,
        input_example=example,
        pip_requirements=_requirements(),
        tags={DIGEST_TAG: packed.digest(folder)},
    )
    return RunRef(info.run_id, info.model_id)


def dataset(data: SpectrogramStore, split: str, digest: str) -> Dataset:
    """A split's clips as MLflow lists data sets: under DVC's digest, or MLflow's own where DVC has none."""
    rows = data.index.loc[data.index["split"] == split, ["track_id", "genre"]].astype(str)
    source = mlflow.data.sources.LocalArtifactDatasetSource(str(data.folder))
    known = None if digest == UNKNOWN else digest
    return mlflow.data.from_pandas(rows, source, targets="genre", name=f"spectrograms-{split}", digest=known)


def find(client: MlflowClient, digest: str) -> RunRef | None:
    """The newest finished run that made the model with this digest."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs(
        [experiment.experiment_id],
        f"tags.{DIGEST_TAG} = '{digest}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    for found in runs:
        models = mlflow.search_logged_models(
            [experiment.experiment_id], f"source_run_id = '{found.info.run_id}'", output_format="list"
        )
        if models:
            return RunRef(found.info.run_id, models[0].model_id)
    return None


def experiments(client: MlflowClient) -> pd.DataFrame:
    """Finished runs of DVC experiments, best macro-F1 on validation first: experiment, model, figures, and the params
    in which they differ.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs(
        [experiment.experiment_id],
        "tags.dvc_experiment != '' AND attributes.status = 'FINISHED'",
        order_by=["metrics.validation_macro_f1 DESC"],
        max_results=1000,
    )
    params = pd.DataFrame([found.data.params for found in runs])
    told = pd.DataFrame(
        {
            "experiment": [found.data.tags["dvc_experiment"] for found in runs],
            "model": [found.data.tags["model"] for found in runs],
            "validation_macro_f1": [found.data.metrics.get("validation_macro_f1") for found in runs],
            "training_seconds": [found.data.metrics.get("training_seconds") for found in runs],
        }
    )
    return told.join(params.loc[:, params.nunique() > 1])


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def named(split: str, figures: dict[str, float]) -> dict[str, float]:
    """A split's figures under the names of metrics."""
    return {f"{split}_{name}": value for name, value in figures.items()}


def _store_root(root: Path) -> Path:
    return Path(os.environ.get("DVC_ROOT") or root).absolute()


def _requirements() -> list[str]:
    """The installed versions that loading the model takes."""
    found = [f"{name}=={version(name)}" for name in REQUIREMENTS]
    for name in TENSORFLOW:
        try:
            return [*found, f"{name}=={version(name)}"]
        except PackageNotFoundError:
            continue
    return found
