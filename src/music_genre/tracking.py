"""MLflow: one run a trained model, found again by the digest of the model it made.

Run ids differ from store to store; digests do not. So a model that DVC restores from its cache meets its old run, and
a store that lacks the run gets it back from the model's files, without training.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
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
import yaml
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from music_genre import packed
from music_genre.errors import MusicGenreError
from music_genre.evaluation import summary
from music_genre.shards import Spectrograms

EXPERIMENT = "music-genre"
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's page open on runs and models, not on traces of language models."""

DIGEST_TAG = "model_digest"
EVALUATION_TAG = "evaluation_digest"
CHECKS_TAG = "data_checks"
REQUIREMENTS = ("keras", "librosa", "mlflow", "numpy", "pydantic", "scikit-learn", "scipy", "skops", "soundfile")
MADE_OF = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements")
"""What a model follows from, beside its data; what stages write is no change."""

SERVER_SECONDS = 10
"""A tracking server answers within this time, or is taken for dead."""

TENSORFLOW = ("tensorflow-cpu", "tensorflow")


@dataclass(frozen=True)
class RunPointer:
    """Where a model is in the tracking store: ``run.json``."""

    run_id: str
    model_id: str

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps({"run_id": self.run_id, "model_id": self.model_id}, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
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
            client.create_experiment(EXPERIMENT, artifact_location=beside, tags=MODEL_TRAINING)
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
def recorded_run(name: str, params: dict[str, Any], data: str, tags: dict[str, str]) -> Iterator[Recorder]:
    """``run`` for work that must not be lost with the store: the block goes on without it."""
    recorder, opened = Recorder(), ExitStack()
    recorder(lambda: opened.enter_context(run(name, params, data, tags)))
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
def run(name: str, params: dict[str, Any], data: str, tags: dict[str, str]) -> Iterator[None]:
    """A run of the experiment, open while the block runs; failed where the block fails.

    Args:
        name: the model's.
        params: nested values, logged under dotted names.
        data: DVC's digest of what the model is trained on.
        tags: see ``origin``.
    """
    named = {"model": name, "data_digest": data, "params_digest": _params_digest(params), **tags}
    if "recipe" in params:
        named["recipe"] = str(params["recipe"])
    with mlflow.start_run(run_name=name, tags=named, log_system_metrics=find_spec("psutil") is not None):
        mlflow.log_params(flatten(params))
        yield


def origin(root: Path, source: str) -> dict[str, str]:
    """Tags that say where a run comes from: data source, git commit, whether code or params differ from it, DVC's
    experiment.
    """
    tags = {"data_source": source}
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        tags["git_commit"] = commit
        tags["git_dirty"] = str(bool(_git(root, "status", "--porcelain", "--", *MADE_OF))).lower()
    if os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = os.environ["DVC_EXP_NAME"]
    return tags


def _git(root: Path, *arguments: str) -> str:
    """What git says, or nothing outside a repository."""
    try:
        done = subprocess.run(  # noqa: S603  # git, with arguments of our own
            ["git", *arguments],  # noqa: S607  # the one on PATH, as DVC does
            cwd=root,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _params_digest(params: dict[str, Any]) -> str:
    """Twelve digits that are the same for the same values."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:12]


def log_epoch(row: dict[str, float]) -> None:
    """A row of ``history.csv`` to the open run; what a model has no figure for is left out."""
    figures = {name: value for name, value in row.items() if name != "epoch" and np.isfinite(value)}
    mlflow.log_metrics(figures, step=int(row["epoch"]))


def log_history(history: pd.DataFrame) -> None:
    """Every row of a ``history.csv`` to the open run."""
    for row in history.to_dict("records"):
        log_epoch(row)


def log_trained(models: Path, name: str, data: Spectrograms) -> RunPointer:
    """Log a trained model to the open run: packed, with signature, input example and validation figures.

    Args:
        models: the folder of trained models.
        name: one of ``packed.NAMES``.
        data: what it was trained on.
    """
    validation = data.split("validation")
    with packed.packed_model(models, name, data) as folder:
        answers = packed.PackedModel(folder).predict_split(validation)
        return _log_model(folder, validation.read(np.arange(1)), summary(validation.label, answers))


def _log_model(folder: Path, example: np.ndarray, validation: dict[str, float]) -> RunPointer:
    """Log a packed folder with a real clip (1, frames, n_mels) float32 dB and the figures of the validation split."""
    packing, digest = packed.read_packing(folder), packed.digest(folder)
    package = Path(packed.__file__).parent
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *packing.shape))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(packing.genres)))]),
    )
    info = mlflow.pyfunc.log_model(
        name=packing.name,
        python_model=str(package / "mlflow_model.py"),
        artifacts={"packed": str(folder)},
        code_paths=[str(package)],
        signature=signature,
        input_example=example,
        pip_requirements=_requirements(),
        tags={DIGEST_TAG: digest},
    )
    mlflow.log_metrics(_named("validation", validation), model_id=info.model_id)
    # Last: a run with this tag is whole.
    mlflow.set_tag(DIGEST_TAG, digest)
    return RunPointer(info.run_id, info.model_id)


def find(client: MlflowClient, digest: str) -> RunPointer | None:
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
            return RunPointer(found.info.run_id, models[0].model_id)
    return None


def log_evaluation(client: MlflowClient, pointer: RunPointer, reports: Path) -> None:
    """Add a model's evaluation to its run, once: figures, per-class table, pictures.

    Args:
        client: of the connected store.
        pointer: the run.
        reports: ``reports/evaluation/<name>``.
    """
    metrics = json.loads((reports / "metrics.json").read_text(encoding="utf-8"))
    classes = pd.read_csv(reports / "per_class.csv")
    digest = packed.digest(reports)
    if client.get_run(pointer.run_id).data.tags.get(EVALUATION_TAG) == digest:
        return
    figures = {key: value for split, values in metrics.items() for key, value in _named(split, values).items()}
    for row in classes.to_dict("records"):
        figures |= {
            f"{row['split']}_{name}_{metric_name(row['genre'])}": row[name] for name in ("f1", "recall", "precision")
        }
    mlflow.log_metrics(figures, run_id=pointer.run_id, model_id=pointer.model_id)
    client.log_table(pointer.run_id, classes, "per_class.json")
    client.log_artifacts(pointer.run_id, str(reports), "evaluation")
    client.set_tag(pointer.run_id, EVALUATION_TAG, digest)


def log_checks(client: MlflowClient, pointer: RunPointer, summary: Path) -> None:
    """Add what the data checks said to a run: ``summary.json``, and the tag ``data_checks`` to filter by."""
    suites = json.loads(summary.read_text(encoding="utf-8"))["suites"].values()
    failed = [e["severity"] for suite in suites for e in suite["expectations"] if not e["success"]]
    verdict = ", ".join(f"{failed.count(severity)} {severity}" for severity in sorted(set(failed))) or "all hold"
    if client.get_run(pointer.run_id).data.tags.get(CHECKS_TAG) != verdict:
        client.log_artifact(pointer.run_id, str(summary), "data_quality")
        client.set_tag(pointer.run_id, CHECKS_TAG, verdict)


def data_digest(lock: Path) -> str:
    """DVC's digest of the spectrograms a model was trained on, as ``dvc.lock`` has it; ``unknown`` outside ``dvc
    repro``.
    """
    stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {}) if lock.is_file() else {}
    outs = {out["path"]: out["md5"] for out in stages.get("spectrograms", {}).get("outs", [])}
    return str(outs.get("data/spectrograms", "unknown"))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def metric_name(genre: str) -> str:
    """A genre as MLflow lets it be part of a metric's name; a slash would make a group of it."""
    return re.sub(r"[^\w\-. ]", "_", genre)


def _named(split: str, figures: dict[str, float]) -> dict[str, float]:
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
