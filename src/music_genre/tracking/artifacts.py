"""What a model's run is completed by once the model was evaluated, each thing once: figures, tables, pictures, data
checks, card.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag

from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.tracking import runs as tracking
from music_genre.tracking.runs import RunRef

EVALUATION_TAG = "evaluation_digest"
EXPLANATION_TAG = "explanation_digest"
OVERVIEW_TAG = "overview_digest"
CHECKS_TAG = "data_checks"
CARD_TAG = "card_digest"


def log_evaluation(client: MlflowClient, pointer: RunRef, reports: Path, data: SpectrogramStore, digest: str) -> None:
    """Add a model's evaluation to its run, once: figures by data set, per-class table, pictures.

    Args:
        client: of the connected store.
        pointer: the run.
        reports: ``reports/evaluation/<name>``.
        data: what was evaluated on.
        digest: DVC's, of ``data``.
    """
    metrics = json.loads((reports / "metrics.json").read_text(encoding="utf-8"))
    classes = pd.read_csv(reports / "per_class.csv")
    evaluated = packed.digest(reports)
    if client.get_run(pointer.run_id).data.tags.get(EVALUATION_TAG) == evaluated:
        return
    for split, figures in metrics.items():
        named = tracking.named(split, figures) | _by_genre(split, classes[classes["split"] == split])
        dataset = tracking.dataset(data, split, digest)
        mlflow.log_metrics(named, run_id=pointer.run_id, model_id=pointer.model_id, dataset=dataset)
        entity = dataset._to_mlflow_entity()
        client.log_inputs(pointer.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", split)])])
    client.log_table(pointer.run_id, classes, "per_class.json")
    client.log_artifacts(pointer.run_id, str(reports), "evaluation")
    client.set_tag(pointer.run_id, EVALUATION_TAG, evaluated)


def _by_genre(split: str, classes: pd.DataFrame) -> dict[str, float]:
    """A per-class table as metrics, which the page of several runs lays side by side."""
    return {
        f"{split}_{figure}_{metric_name(row['genre'])}": row[figure]
        for row in classes.to_dict("records")
        for figure in ("f1", "recall", "precision")
    }


def log_explanation(client: MlflowClient, pointer: RunRef, explanation: Path) -> None:
    """Add what explains a model to its run, once: sheets, maps and tables; a model that nothing explains has none.

    Args:
        client: of the connected store.
        pointer: the run.
        explanation: ``reports/explain/<name>``.
    """
    if not explanation.is_dir():
        return
    digest = packed.digest(explanation)
    if client.get_run(pointer.run_id).data.tags.get(EXPLANATION_TAG) != digest:
        client.log_artifacts(pointer.run_id, str(explanation), "explain")
        client.set_tag(pointer.run_id, EXPLANATION_TAG, digest)


def log_overview(client: MlflowClient, pointer: RunRef, pictures: Sequence[Path]) -> None:
    """Add pictures of all models and of what they learnt from to a run, once; one that was not drawn is left out."""
    drawn = [path for path in pictures if path.is_file()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in drawn)).hexdigest()
    if client.get_run(pointer.run_id).data.tags.get(OVERVIEW_TAG) != digest:
        for path in drawn:
            client.log_artifact(pointer.run_id, str(path), "overview")
        client.set_tag(pointer.run_id, OVERVIEW_TAG, digest)


def log_checks(client: MlflowClient, pointer: RunRef, summary: Path) -> None:
    """Add what the data checks said to a run: ``summary.json``, and the tag ``data_checks`` to filter by."""
    suites = json.loads(summary.read_text(encoding="utf-8"))["suites"].values()
    failed = [e["severity"] for suite in suites for e in suite["expectations"] if not e["success"]]
    verdict = ", ".join(f"{failed.count(severity)} {severity}" for severity in sorted(set(failed))) or "all hold"
    if client.get_run(pointer.run_id).data.tags.get(CHECKS_TAG) != verdict:
        client.log_artifact(pointer.run_id, str(summary), "data_quality")
        client.set_tag(pointer.run_id, CHECKS_TAG, verdict)


def log_card(client: MlflowClient, pointer: RunRef, text: str, page: str) -> None:
    """Add a model's card to its run, once: ``model_card.md`` and ``model_card.html``."""
    digest = hashlib.sha256(page.encode()).hexdigest()
    if client.get_run(pointer.run_id).data.tags.get(CARD_TAG) != digest:
        client.log_text(pointer.run_id, text, "model_card.md")
        client.log_text(pointer.run_id, page, "model_card.html")
        client.set_tag(pointer.run_id, CARD_TAG, digest)


def metric_name(genre: str) -> str:
    """A genre as MLflow lets it be part of a metric's name; a slash would make a group of it."""
    return re.sub(r"[^\w\-. ]", "_", genre)
