"""What ``reports/evaluation`` and ``reports/metrics`` hold: one writer and one reader of their files.

``<model>/`` has ``metrics.json``, ``per_class.csv``, ``predictions.csv``, the data of DVC's plots (``confusion.csv``,
``calibration_curve.csv`` and ``risk_coverage.csv``, all of test, and ``history.csv``) and ``plots/``. Beside the models
lie the tables that compare them: ``comparison.csv``, ``mcnemar.csv``, ``risk_coverage.csv``. The folder of the ensemble
has four tables more, about its members and its calibration.

Sums on another processor differ in their last bit, and training makes more of it: probabilities then differ in their
second or third digit, predicted genres seldom. So git has what follows from predicted genres, and DVC has the rest.
``reports/metrics/<model>.json`` is the part of ``metrics.json`` that is in git, short enough for `dvc metrics show`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
import pandas as pd

from music_genre.evaluation import metrics
from music_genre.features.store import SpectrogramStore
from music_genre.files import read_csv

EVALUATED_SPLITS = ("validation", "test")
METRICS, PER_CLASS, PREDICTIONS = "metrics.json", "per_class.csv", "predictions.csv"
CONFUSION, CALIBRATION_CURVE, HISTORY = "confusion.csv", "calibration_curve.csv", "history.csv"
COMPARISON, MCNEMAR, RISK_COVERAGE = "comparison.csv", "mcnemar.csv", "risk_coverage.csv"
CALIBRATION, TOP_CONFUSIONS = "calibration.csv", "top_confusions.csv"  # these and the next two: of the ensemble
PREDICTIONS_BY_MODEL, AGREEMENT_BY_GENRE = "predictions_by_model.csv", "agreement_by_genre.csv"
DIGITS = 4  # of figures in git: finer differences mean nothing on some thousand clips
SUMMARY_METRICS, SUMMARY_SPLITS = ("accuracy", "macro_f1"), {"test": "test", "validation": "val"}  # by its short name
COMPARED_METRICS = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "log_loss",
    "brier",
    "ece",
)


@dataclass(frozen=True)
class ModelPredictions:
    """What a model predicts for the evaluated splits.

    Args:
        probabilities: by split, (n, classes) float32 in the order of the split's clips.
        n_parameters: trained numbers in the model.
    """

    probabilities: Mapping[str, np.ndarray]
    n_parameters: int

    def write(self, path: Path) -> None:
        """Store as npz; the same predictions are the same bytes under every Python, unlike with ``np.savez``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(path, "w") as archive:
            for name, array in {"n_parameters": np.array(self.n_parameters), **self.probabilities}.items():
                member = io.BytesIO()
                np.save(member, array, allow_pickle=False)
                archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue())

    @classmethod
    def read(cls, path: Path) -> ModelPredictions:
        """What ``write`` wrote.

        Raises:
            FileNotFoundError: nothing was written.
        """
        with np.load(path, allow_pickle=False) as arrays:
            return cls({split: arrays[split] for split in EVALUATED_SPLITS}, int(arrays["n_parameters"]))


@dataclass(frozen=True)
class ModelResult:
    """A model's evaluation, as read from its folder.

    Args:
        name: of the model.
        n_parameters: trained numbers in it.
        metrics: by split, ``metrics.json``.
        per_class: columns split, genre, precision, recall, f1, support.
        predictions: columns track_id, split, actual, predicted, confidence.
    """

    name: str
    n_parameters: int
    metrics: Mapping[str, Mapping[str, float]]
    per_class: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def validation_predictions(self) -> pd.DataFrame:
        """The predictions for validation's clips."""
        return self.predictions[self.predictions["split"] == "validation"]

    @property
    def validation(self) -> Mapping[str, float]:
        """The metrics on validation."""
        return self.metrics["validation"]

    @property
    def validation_genres(self) -> pd.DataFrame:
        """The rows of ``per_class`` of the genres that validation has clips of."""
        return self.per_class[(self.per_class["split"] == "validation") & (self.per_class["support"] > 0)]


def align_predictions(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What two models predict for the clips that both predicted: (n,) actual genres, predictions of either.

    Args:
        first: predictions of one model: columns track_id, actual, predicted.
        second: of the other.
    """
    both = first.merge(second, on="track_id", suffixes=("", "_second"), validate="one_to_one").sort_values("track_id")
    return both["actual"].to_numpy(), both["predicted"].to_numpy(), both["predicted_second"].to_numpy()


def read_result(evaluation: Path, name: str) -> ModelResult:
    """A model's evaluation from ``reports/evaluation``."""
    comparison, folder = read_csv(evaluation / COMPARISON), evaluation / name
    return ModelResult(
        name,
        int(comparison.loc[comparison["model"] == name, "parameters"].iloc[0]),
        read_metrics(folder),
        read_csv(folder / PER_CLASS),
        read_csv(folder / PREDICTIONS),
    )


def read_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """``metrics.json`` of a model's folder."""
    values: dict[str, dict[str, float]] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return values


def read_summary(text: str) -> dict[str, dict[str, float]]:
    """The content of ``reports/metrics/<model>.json``, under the names of ``metrics.json``; empty if none."""
    values = json.loads(text) if text else {}
    return {split: values[short] for split, short in SUMMARY_SPLITS.items() if short in values}


def read_history(folder: Path) -> pd.DataFrame:
    """``history.csv`` of a model's folder: a row for each epoch."""
    return read_csv(folder / HISTORY)


def write_result(
    folder: Path, summary: Path, data: SpectrogramStore, predictions: ModelPredictions, target_accuracy: float
) -> dict[str, dict[str, float]]:
    """Write a model's metrics, tables and the data of its plots.

    Args:
        folder: ``reports/evaluation/<name>``.
        summary: ``reports/metrics/<name>.json``.
        data: what was predicted.
        predictions: of the model.
        target_accuracy: accuracy that the predictions called confident must reach on validation.

    Returns:
        ``metrics.json``: metrics by split; validation's have the ``confidence_threshold``, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values, per_class, tables = {}, [], []
    for split, probabilities in predictions.probabilities.items():
        clips = data.split(split)
        values[split] = metrics.classification_metrics(clips.label, probabilities)
        per_class.append(metrics.per_class(clips.label, probabilities, data.genres).assign(split=split))
        table = metrics.predictions(clips.track_id, clips.label, probabilities, data.genres)
        tables.append(table.assign(split=split))
    labels, probabilities = data.split("validation").label, predictions.probabilities["validation"]
    values["validation"]["confidence_threshold"] = metrics.confidence_threshold(labels, probabilities, target_accuracy)
    (folder / METRICS).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    write_summary(summary, values)
    every = pd.concat(tables)[["track_id", "split", "actual", "predicted", "confidence"]]
    every.to_csv(folder / PREDICTIONS, index=False)
    every.loc[every["split"] == "test", ["actual", "predicted"]].to_csv(folder / CONFUSION, index=False)
    pd.concat(per_class)[["split", "genre", "precision", "recall", "f1", "support"]].round(DIGITS).to_csv(
        folder / PER_CLASS, index=False
    )
    # DVC's plots cannot tell the splits of one file apart, so these have test alone, as `confusion.csv` has.
    labels, probabilities = data.split("test").label, predictions.probabilities["test"]
    metrics.calibration_curve(labels, probabilities).to_csv(folder / CALIBRATION_CURVE, index=False)
    metrics.risk_coverage(labels, probabilities).to_csv(folder / RISK_COVERAGE, index=False)
    return values


def write_summary(path: Path, values: Mapping[str, Mapping[str, float]]) -> None:
    """Write a model's summary; ``values`` are ``metrics.json``."""
    summary = {
        short: {key: round(values[split][key], DIGITS) for key in SUMMARY_METRICS}
        for split, short in SUMMARY_SPLITS.items()
        if split in values
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def write_nothing(folder: Path, summary: Path, predictions: Path) -> None:
    """Empty files in place of those of a model that was not trained: a stage must leave its outs.

    Args:
        folder: ``reports/evaluation/<name>``.
        summary: ``reports/metrics/<name>.json``.
        predictions: the file of ``ModelPredictions``.
    """
    write_summary(summary, {})
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    predictions.parent.mkdir(parents=True, exist_ok=True)
    for file in (predictions, *(folder / name for name in (PREDICTIONS, PER_CLASS))):
        file.write_bytes(b"")
    (folder / METRICS).write_text("{}\n", encoding="utf-8")
    for name, header in (
        (CONFUSION, "actual,predicted"),
        (CALIBRATION_CURVE, "confidence,accuracy"),
        (RISK_COVERAGE, "coverage,accuracy"),
        (HISTORY, "epoch,val_accuracy"),
    ):
        (folder / name).write_text(header + "\n", encoding="utf-8")


def comparison_table(results: Mapping[str, tuple[int, Mapping[str, Mapping[str, float]]]]) -> pd.DataFrame:
    """``comparison.csv``: a row for each model and split.

    Args:
        results: by model, its number of parameters and its metrics by split.
    """
    rows = [
        {"model": name, "split": split, **{key: by_split[split][key] for key in COMPARED_METRICS}, "parameters": count}
        for name, (count, by_split) in results.items()
        for split in EVALUATED_SPLITS
    ]
    return pd.DataFrame(rows)
