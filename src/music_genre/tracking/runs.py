"""MLflow runs: one for each trained model, known by the digest of the model's bundle.

Run ids differ from store to store; the digest does not. So a model that DVC restores from its cache is found under its
old run, and a store that has lost the run gets a new one from the model's files, without training.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import numpy as np
import pandas as pd
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from music_genre.errors import MusicGenreError
from music_genre.features.store import SpectrogramStore
from music_genre.tracking import DIGEST_TAG
from music_genre.tracking.models import RunRef, log_trained
from music_genre.tracking.provenance import (
    EXPERIMENT_TAG,
    GIT_COMMIT_TAG,
    GIT_DIRTY_TAG,
    PATCH_FILE,
    RunProvenance,
    params_digest,
)
from music_genre.tracking.run_params import flatten
from music_genre.tracking.store import STORE_FILE, store_root, store_uri

EXPERIMENT = "music-genre"
# MLflow's page shows the experiment as training, not as traces of language models. Its shared view `metrics` shows what
# choices are made on, validation, the best first; MLflow sorts columns by their names.
VIEW_METRICS = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "ece")
VIEW_TAG = "mlflow.sharedViewState.metrics"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "One run for each trained model. Metrics on test are added by `music-genre register`.",
    VIEW_TAG: json.dumps(
        {
            "selectedColumns": [f"metrics.`validation_{name}`" for name in VIEW_METRICS],
            "orderByKey": "metrics.`validation_macro_f1`",
            "orderByAsc": False,
        }
    ),
}
SERVER_TIMEOUT_S = 10  # a tracking server that has not answered by then is reported as down

T = TypeVar("T")


def connect(root: Path) -> MlflowClient:
    """Use the store of the project at ``root``; it is created with its experiment where it does not exist.

    Raises:
        MusicGenreError: the server that ``MLFLOW_TRACKING_URI`` names does not answer.
    """
    folder = store_root(root)
    uri = store_uri(root)
    if uri.startswith("http"):
        _check_server(uri)
    mlflow.set_tracking_uri(uri)
    (folder / ".cache").mkdir(exist_ok=True)
    # Two processes that create the store at the same time would disturb each other.
    with FileLock(folder / ".cache/mlflow.lock"):
        if uri == f"sqlite:///{folder / STORE_FILE}":
            _create_store(folder / STORE_FILE, folder / ".cache" / STORE_FILE)
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            artifacts = (folder / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
        elif experiment.tags.get(VIEW_TAG) != EXPERIMENT_TAGS[VIEW_TAG]:
            client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, EXPERIMENT_TAGS[VIEW_TAG])
    mlflow.set_experiment(EXPERIMENT)
    return client


def _create_store(file: Path, temporary: Path) -> None:
    """Create a database that does not exist, whole or not at all: MLflow makes its tables one by one; one that lacks
    some because the process was killed can never be opened again.
    """
    if file.exists():
        return
    temporary.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{temporary}").search_experiments()
    temporary.replace(file)


def _check_server(uri: str) -> None:
    """Make sure that the server answers, before hours of training that it is to record.

    Raises:
        MusicGenreError: it does not.
    """
    # MLflow's client would retry for minutes; values that the user has set are left alone.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=SERVER_TIMEOUT_S)
    except requests.RequestException as error:
        raise MusicGenreError(
            f"MLFLOW_TRACKING_URI names {uri}, where no server answers ({type(error).__name__});"
            " start it, or unset the variable to record in mlflow.db"
        ) from error


class BestEffortLogger:
    """Logs to the open run while the store answers. Once the store is lost it says so and logs nothing more, so that a
    training goes on and its model is not lost.
    """

    def __init__(self) -> None:
        self.lost = False

    def log_epoch(self, row: dict[str, float]) -> None:
        """Log a row of ``history.csv``."""
        self.attempt(lambda: log_epoch(row))

    def log_duration(self, seconds: float) -> None:
        """Log how long the training took in this process; one that was interrupted before took longer."""
        self.attempt(lambda: mlflow.log_metric("training_seconds", seconds))

    def log_model(self, models: Path, name: str, data: SpectrogramStore, data_digest: str) -> RunRef | None:
        """Log a trained model as ``log_trained`` does; None where the store is lost."""
        return self.attempt(lambda: log_trained(models, name, data, data_digest))

    def attempt(self, write: Callable[[], T]) -> T | None:
        """The result of ``write``; None where the store is lost or ``write`` finds out that it is."""
        if self.lost:
            return None
        try:
            return write()
        except (MlflowException, OSError) as error:
            self.lost = True
            reason = " ".join(str(error).split())[:300]
            print(
                f"The tracking store is lost: {reason}\nTraining goes on without it. When the store is back,"
                " `music-genre register` logs what models/ holds.",
                file=sys.stderr,
            )
            return None


@contextmanager
def best_effort_run(name: str, params: dict[str, Any], provenance: RunProvenance) -> Iterator[BestEffortLogger]:
    """A run as ``run`` opens it, for work that goes on where the store is lost. Yields its logger."""
    logger, stack = BestEffortLogger(), ExitStack()
    logger.attempt(lambda: stack.enter_context(run(name, params, provenance)))
    try:
        yield logger
    except BaseException:
        with suppress(MlflowException, OSError):
            stack.__exit__(*sys.exc_info())
        raise
    logger.attempt(stack.close)
    if logger.lost:
        # MLflow would otherwise log whatever comes next to the run that it could not end.
        with suppress(MlflowException, OSError):
            mlflow.end_run("FAILED")


@contextmanager
def run(name: str, params: dict[str, Any], provenance: RunProvenance) -> Iterator[None]:
    """A run of the experiment, open inside the block; its status is FAILED where the block raises.

    Args:
        name: of the model.
        params: nested values, logged under dotted names.
        provenance: of the run.
    """
    tags = {"model": name, "params_digest": params_digest(params), **provenance.tags}
    if "recipe" in params:
        tags["recipe"] = str(params["recipe"])
    system = find_spec("psutil") is not None
    description = _run_description(name, tags)
    with mlflow.start_run(run_name=name, tags=tags, description=description, log_system_metrics=system):
        mlflow.log_params(flatten(params))
        if provenance.patch:
            mlflow.log_text(provenance.patch, PATCH_FILE)
        yield


def _run_description(name: str, tags: dict[str, str]) -> str:
    """Markdown for the head of the run's page."""
    recipe = f", recipe {tags['recipe']}," if "recipe" in tags else ""
    commit = f" at commit `{tags[GIT_COMMIT_TAG][:12]}`" if GIT_COMMIT_TAG in tags else ""
    changes = f" with the changes in `{PATCH_FILE}`" if tags.get(GIT_DIRTY_TAG) == "true" else ""
    experiment = f", in the experiment `{tags[EXPERIMENT_TAG]}`" if EXPERIMENT_TAG in tags else ""
    return (
        f"**{name}**{recipe} trained on `{tags['data_source']}`{commit}{changes}{experiment}. Steps are epochs."
        " `music-genre register` adds plots and tables: `evaluation` and `interpretation` among the artifacts."
    )


def log_epoch(row: dict[str, float]) -> None:
    """Log a row of ``history.csv`` to the open run, without the values that the model does not have (NaN)."""
    metrics = {name: value for name, value in row.items() if name != "epoch" and np.isfinite(value)}
    mlflow.log_metrics(metrics, step=int(row["epoch"]))


def restore_run(
    models: Path,
    name: str,
    params: dict[str, Any],
    provenance: RunProvenance,
    data: SpectrogramStore,
    history: pd.DataFrame | None,
) -> RunRef:
    """Create the run of a trained model again, from the model's files. It has today's commit and no duration.

    Args:
        models: the folder of trained models.
        name: of the model.
        params: that it was trained with.
        provenance: of the project now.
        data: what it was trained on.
        history: its ``history.csv``; None for a model that was not trained in epochs.
    """
    with run(name, params, provenance):
        mlflow.set_tag("restored", "true")
        if history is not None:
            for row in history.to_dict("records"):
                log_epoch(row)
        return log_trained(models, name, data, provenance.data_digest)


def find_run(client: MlflowClient, digest: str) -> RunRef | None:
    """The newest finished run of the model whose bundle has this digest; None where there is none."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs(
        [experiment.experiment_id],
        f"tags.{DIGEST_TAG} = '{digest}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    for finished in runs:
        models = mlflow.search_logged_models(
            [experiment.experiment_id], f"source_run_id = '{finished.info.run_id}'", output_format="list"
        )
        if models:
            return RunRef(finished.info.run_id, models[0].model_id)
    return None


def experiment_runs(client: MlflowClient) -> list[Run]:
    """Finished runs of DVC experiments, the best macro-F1 on validation first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found: list[Run] = client.search_runs(
        [experiment.experiment_id],
        f"tags.{EXPERIMENT_TAG} != '' AND attributes.status = 'FINISHED'",
        order_by=["metrics.validation_macro_f1 DESC"],
        max_results=1000,
    )
    return found


def list_experiments(client: MlflowClient) -> pd.DataFrame:
    """``experiment_runs`` as a table: columns experiment, model, validation_macro_f1, training_seconds, and the params
    in which the runs differ.
    """
    runs = experiment_runs(client)
    params = pd.DataFrame([finished.data.params for finished in runs])
    summary = pd.DataFrame(
        {
            "experiment": [finished.data.tags[EXPERIMENT_TAG] for finished in runs],
            "model": [finished.data.tags["model"] for finished in runs],
            "validation_macro_f1": [finished.data.metrics.get("validation_macro_f1") for finished in runs],
            "training_seconds": [finished.data.metrics.get("training_seconds") for finished in runs],
        }
    )
    return summary.join(params.loc[:, params.nunique() > 1])
