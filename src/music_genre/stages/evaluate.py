"""Measure every model on validation and test: ``reports/evaluation/``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre import evaluation, figures
from music_genre.packed import NAMES, PackedModel, packed_model
from music_genre.project import Project
from music_genre.shards import Spectrograms
from music_genre.stages import stage

JUDGED = ("validation", "test")


@stage
def main(project: Project) -> None:
    data, rows = Spectrograms.open(project.spectrograms), []
    for name in NAMES:
        with packed_model(project.models, name, data) as folder:
            model = PackedModel(folder)
        answers = {split: model.predict_split(data.split(split)) for split in JUDGED}
        metrics = report(project.evaluation(name), name, data, answers)
        rows += [
            {"model": name, "split": split, **figures, "parameters": model.parameters}
            for split, figures in metrics.items()
        ]
    table = pd.DataFrame(rows)
    table.to_csv(project.comparison, index=False)
    print(table.round(3).to_string(index=False))


def report(folder: Path, name: str, data: Spectrograms, answers: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Write one model's metrics, tables and confusion matrix; returns the metrics by split."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, classes, tables = {}, [], []
    for split, probabilities in answers.items():
        clips = data.split(split)
        metrics[split] = evaluation.summary(clips.label, probabilities)
        classes.append(evaluation.per_class(clips.label, probabilities, data.genres).assign(split=split))
        tables.append(
            evaluation.predictions(clips.track_id, clips.label, probabilities, data.genres).assign(split=split)
        )
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    per_class, predictions = pd.concat(classes), pd.concat(tables)
    per_class.insert(0, "split", per_class.pop("split"))
    predictions.insert(1, "split", predictions.pop("split"))
    per_class.to_csv(folder / "per_class.csv", index=False)
    predictions.to_csv(folder / "predictions.csv", index=False)
    counts = evaluation.confusion(predictions[predictions["split"] == "test"], data.genres)
    title = f"{name}, test: {metrics['test']['accuracy']:.1%} of {counts.sum()} clips"
    figures.save(figures.confusion_matrix(counts, data.genres, title), folder / "confusion.png")
    return metrics


if __name__ == "__main__":
    main()
