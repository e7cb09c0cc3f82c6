"""Evaluated models as they are compared, from a revision of the project or from an MLflow run."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from music_genre.errors import MusicGenreError
from music_genre.evaluation.results import (
    EVALUATED_SPLITS,
    METRICS,
    PER_CLASS,
    PREDICTIONS,
    read_metrics,
    read_summary,
)
from music_genre.files import read_csv
from music_genre.tracking import DATA_SOURCE_TAG
from music_genre.tracking.comparison import COMPARED_METRICS, EvaluatedRun
from music_genre.tracking.provenance import DATA_DIGEST_TAG, GIT_COMMIT_TAG, GIT_DIRTY_TAG, UNKNOWN
from music_genre.tracking.revisions import EVALUATION, SUMMARIES, Revision
from music_genre.tracking.run_params import active_params, logged_params

FILES = (METRICS, PER_CLASS, PREDICTIONS)


def read_revision(revision: Revision, model: str) -> EvaluatedRun:
    """A model of a revision, from what git keeps and DVC has in its cache.

    Raises:
        MusicGenreError: it was not evaluated.
    """
    notes: list[str] = []
    text = revision.read_kept(f"{EVALUATION}/{model}/{METRICS}")
    metrics = json.loads(text) if text else read_summary(revision.read(f"{SUMMARIES}/{model}.json"))
    if not metrics:
        raise MusicGenreError(f"{revision.label} has no {SUMMARIES}/{model}.json: `dvc repro` evaluates it")
    with TemporaryDirectory() as folder:
        file = Path(folder) / PER_CLASS
        file.write_text(revision.read(f"{EVALUATION}/{model}/{PER_CLASS}"), encoding="utf-8")
        per_class = _read_table(file)
    predictions = _read_table(revision.cached_file(f"{EVALUATION}/{model}/{PREDICTIONS}"))
    missing = [what for what, found in (("other metrics", text), ("predictions", predictions is not None)) if not found]
    if missing:
        where = "in DVC's cache: `dvc fetch --all-commits` brings" if revision.commit else "here: `dvc pull` brings"
        notes.append(f"its {' and '.join(missing)} are not {where} them from a remote")
    if revision.is_outdated(model):
        notes.append("its reports are older than its params or its model: `dvc repro` makes them anew")
    return EvaluatedRun(
        label=revision.label,
        model=model,
        params=active_params(revision.params, model),
        has_all_params=True,
        data_digest=revision.data_digest,
        metrics=metrics,
        per_class=per_class,
        predictions=predictions,
        notes=notes,
    )


def read_run(client: MlflowClient, root: Path, run: Run, label: str) -> EvaluatedRun:
    """A model of an MLflow run, with the params that its commit has where nothing else was changed.

    Args:
        client: of the connected store.
        root: of the project.
        run: of one model.
        label: what people know it by.
    """
    tags = run.data.tags
    model = tags.get("model", "unknown")
    commit = tags.get(GIT_COMMIT_TAG) if tags.get(GIT_DIRTY_TAG) == "false" else None
    at_commit = Revision(root, label, commit).params if commit else {}
    own = logged_params(run.data.params, model, tags.get(DATA_SOURCE_TAG))
    with TemporaryDirectory() as folder:
        files = _download(client, run.info.run_id, folder)
        metrics = read_metrics(files[METRICS].parent) if METRICS in files else _logged_metrics(run)
        per_class, predictions = (_read_table(files.get(name)) for name in (PER_CLASS, PREDICTIONS))
    missing = [name for name in FILES if name not in files]
    digest = tags.get(DATA_DIGEST_TAG, UNKNOWN)
    return EvaluatedRun(
        label=label,
        model=model,
        params=(active_params(at_commit, model) if at_commit else {}) | own,
        has_all_params=bool(at_commit),
        data_digest="" if digest == UNKNOWN else digest,
        metrics=metrics,
        per_class=per_class,
        predictions=predictions,
        notes=[f"its MLflow run has no {', '.join(missing)}"] if missing else [],
    )


def _download(client: MlflowClient, run_id: str, folder: str) -> dict[str, Path]:
    """Those of ``FILES`` that a run has, by name."""
    try:
        logged = {Path(file.path).name: file.path for file in client.list_artifacts(run_id, "evaluation")}
        return {name: Path(client.download_artifacts(run_id, logged[name], folder)) for name in FILES if name in logged}
    except (MlflowException, OSError):
        return {}


def _logged_metrics(run: Run) -> dict[str, dict[str, float]]:
    """The metrics of a run by split."""
    names = [name for metric, ends in COMPARED_METRICS.items() for name in (metric, *(ends or ()))]
    by_split = {
        split: {name: run.data.metrics[f"{split}_{name}"] for name in names if f"{split}_{name}" in run.data.metrics}
        for split in EVALUATED_SPLITS
    }
    return {split: values for split, values in by_split.items() if values}


def _read_table(file: Path | None) -> pd.DataFrame | None:
    """A table; None where there is none or its file is empty, as that of a model that was left out."""
    return read_csv(file) if file is not None and file.is_file() and file.stat().st_size else None
