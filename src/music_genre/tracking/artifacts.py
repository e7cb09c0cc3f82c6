"""What is added to a model's run once the model was evaluated: metrics, tables, plots, data checks, model card.

Each is logged once: a tag holds the digest of what was logged, and what has not changed is left alone.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag

from music_genre.evaluation.results import PER_CLASS, read_metrics
from music_genre.features.store import SpectrogramStore
from music_genre.files import file_sha256, folder_sha256, read_csv, sha256
from music_genre.tracking.models import RunRef, dataset, with_prefix

EVALUATION_TAG = "evaluation_digest"
INTERPRETATION_TAG = "interpretation_digest"
SUMMARY_PLOTS_TAG = "summary_plots_digest"
DATA_CHECKS_TAG = "data_checks"
CARD_TAG = "card_digest"
PER_CLASS_TABLE = "evaluation/per_class.json"


@dataclass(frozen=True)
class RunFiles:
    """The files of reports that belong to a model's run.

    Args:
        evaluation: ``reports/evaluation/<name>``.
        interpretation: ``reports/interpretation/<name>``; a model that cannot be interpreted has no such folder.
        summary_plots: plots of all models and of the data; those that do not exist are left out.
        data_checks: ``summary.json`` of the data checks.
    """

    evaluation: Path
    interpretation: Path
    summary_plots: Sequence[Path]
    data_checks: Path


def log_artifacts(client: MlflowClient, run: RunRef, files: RunFiles, data: SpectrogramStore, data_digest: str) -> None:
    """Add the evaluation, the interpretation, summary plots and data checks to a model's run.

    Args:
        client: of the connected store.
        run: the model's.
        files: of the model.
        data: what was evaluated on.
        data_digest: DVC's, of ``data``.
    """
    log_evaluation(client, run, files.evaluation, data, data_digest)
    log_interpretation(client, run, files.interpretation)
    log_summary_plots(client, run, files.summary_plots)
    log_data_checks(client, run, files.data_checks)


def log_evaluation(client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore, data_digest: str) -> None:
    """Add metrics, data sets, the per-class table and the files of ``reports`` to a run.

    Args:
        client: of the connected store.
        run: the model's.
        reports: ``reports/evaluation/<name>``.
        data: what was evaluated on.
        data_digest: DVC's, of ``data``.
    """
    digest, logged = folder_sha256(reports), client.get_run(run.run_id).data
    if logged.tags.get(EVALUATION_TAG) == digest:
        return
    per_class = read_csv(reports / PER_CLASS)
    names = metric_names(per_class["genre"].unique())
    for split, values in read_metrics(reports).items():
        metrics = with_prefix(split, values) | _per_class_metrics(split, per_class, names)
        # Some were logged after training: a second point of the same value would only clutter a metric's history.
        new = {name: value for name, value in metrics.items() if not _is_logged(logged.metrics, name, value)}
        split_dataset = dataset(data, split, data_digest)
        mlflow.log_metrics(new, run_id=run.run_id, model_id=run.model_id, dataset=split_dataset)
        entity = split_dataset._to_mlflow_entity()
        client.log_inputs(run.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", split)])])
    client.log_artifacts(run.run_id, str(reports), "evaluation")
    if EVALUATION_TAG in logged.tags:
        # log_table would append the rows to the table that is there.
        client.log_text(run.run_id, per_class.to_json(orient="split", index=False), PER_CLASS_TABLE)
    else:
        client.log_table(run.run_id, per_class, PER_CLASS_TABLE)
    client.set_tag(run.run_id, EVALUATION_TAG, digest)


def _is_logged(logged: Mapping[str, float], name: str, value: float) -> bool:
    return name in logged and math.isclose(logged[name], value, rel_tol=1e-6, abs_tol=1e-6)


def _per_class_metrics(split: str, per_class: pd.DataFrame, names: dict[str, str]) -> dict[str, float]:
    """The per-class table of a split as metrics, which MLflow compares between runs: ``test_f1_Rock``."""
    return {
        f"{split}_{metric}_{names[row['genre']]}": row[metric]
        for row in per_class[per_class["split"] == split].to_dict("records")
        for metric in ("f1", "recall", "precision")
    }


def metric_names(genres: Sequence[str]) -> dict[str, str]:
    """Each genre as a part of a metric's name, with ``_`` for every character that MLflow does not allow there or would
    group metrics by (``/``). Where that makes two genres equal (R&B, R+B), each gets a few digits of its digest.
    """
    names = {genre: re.sub(r"[^\w\-. ]", "_", genre) for genre in genres}
    count = Counter(name.casefold() for name in names.values())
    return {
        genre: name if count[name.casefold()] == 1 else f"{name}_{sha256(genre)[:6]}" for genre, name in names.items()
    }


def log_interpretation(client: MlflowClient, run: RunRef, folder: Path) -> None:
    """Add the plots and tables of ``reports/interpretation/<name>`` to a run, where there are any."""
    if not folder.is_dir():
        return
    digest = folder_sha256(folder)
    if _changed(client, run, INTERPRETATION_TAG, digest):
        client.log_artifacts(run.run_id, str(folder), "interpretation")
        client.set_tag(run.run_id, INTERPRETATION_TAG, digest)


def log_summary_plots(client: MlflowClient, run: RunRef, plots: Sequence[Path]) -> None:
    """Add plots of all models and of the data to a run; those that do not exist are left out."""
    existing = [path for path in plots if path.is_file()]
    digest = sha256(*(file_sha256(path) for path in existing))
    if _changed(client, run, SUMMARY_PLOTS_TAG, digest):
        for path in existing:
            client.log_artifact(run.run_id, str(path), "summary_plots")
        client.set_tag(run.run_id, SUMMARY_PLOTS_TAG, digest)


def log_data_checks(client: MlflowClient, run: RunRef, summary: Path) -> None:
    """Add ``summary.json`` of the data checks to a run, and the tag ``data_checks`` to filter runs by."""
    suites = json.loads(summary.read_text(encoding="utf-8"))["suites"].values()
    failed = Counter(e["severity"] for suite in suites for e in suite["expectations"] if not e["success"])
    outcome = ", ".join(f"{failed[severity]} {severity}" for severity in sorted(failed)) or "all passed"
    if _changed(client, run, DATA_CHECKS_TAG, outcome):
        client.log_artifact(run.run_id, str(summary), "data_quality")
        client.set_tag(run.run_id, DATA_CHECKS_TAG, outcome)


def log_card(client: MlflowClient, run: RunRef, markdown: str, html: str) -> None:
    """Add a model's card to its run: ``model_card.md`` and ``model_card.html``."""
    digest = sha256(html)
    if _changed(client, run, CARD_TAG, digest):
        client.log_text(run.run_id, markdown, "model_card.md")
        client.log_text(run.run_id, html, "model_card.html")
        client.set_tag(run.run_id, CARD_TAG, digest)


def _changed(client: MlflowClient, run: RunRef, tag: str, value: str) -> bool:
    return bool(client.get_run(run.run_id).data.tags.get(tag) != value)
