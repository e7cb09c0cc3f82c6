"""Measure every model on validation and test: ``reports/evaluation/``."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.evaluation import metrics as evaluation
from music_genre.evaluation import model_comparison as disagreement
from music_genre.evaluation import plots as figures
from music_genre.evaluation.model_comparison import COMPARED
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import ENSEMBLE, NAMES, NETWORKS, ModelBundle, temporary_bundle
from music_genre.params import ServingParams, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

JUDGED = ("validation", "test")
SHOWN = 8
"""Mistakes of a model that are drawn."""


@stage
def main(project: ProjectPaths) -> None:
    params, data, rows = load_params(project.params), SpectrogramStore.open(project.spectrograms), []
    answers: dict[str, dict[str, np.ndarray]] = {}
    for name in NAMES:
        with temporary_bundle(project.models, name, data) as folder:
            model = ModelBundle(folder)
        answers[name] = {split: model.predict_split(data.split(split)) for split in JUDGED}
        metrics = report(project.evaluation(name), data, answers[name], params.serving)
        draw(project.evaluation(name), name, data, answers[name], metrics["test"]["accuracy"])
        if name in NETWORKS:
            curves = figures.learning(pd.read_csv(project.history(name)), f"{name}: learning")
            figures.save(curves, project.evaluation(name) / "pictures/learning.png")
        rows += [
            {"model": name, "split": split, **found, "parameters": model.parameters} for split, found in metrics.items()
        ]
        if name == ENSEMBLE:
            before = {split: model.uncalibrated().predict_split(data.split(split)) for split in JUDGED}
            calibration(project.evaluation(name), data, before, answers[name])
    table = pd.DataFrame(rows)
    table.to_csv(project.comparison, index=False)
    compare(project.comparison.parent, data, answers)
    differ(project)
    print(table.round(3).to_string(index=False))


def differ(project: ProjectPaths) -> None:
    """Write, beside the ensemble's tables, where its networks differ and what their average gains: ``clips.csv``,
    ``by_genre.csv``, ``agreement.png``, and what is confused, ``confusions.csv``.
    """
    folder, names = project.evaluation(ENSEMBLE), (*COMPARED, ENSEMBLE)
    clips = disagreement.side_by_side({n: pd.read_csv(project.evaluation(n) / "predictions.csv") for n in names})
    clips.insert(3, "right", disagreement.who_is_right(clips, *COMPARED))
    clips.to_csv(folder / "clips.csv", index=False)
    genres = disagreement.by_genre(clips, *COMPARED, ENSEMBLE)
    genres.to_csv(folder / "by_genre.csv", index=False)
    test = genres[genres["split"] == "test"]
    figures.save(figures.agreement(test, *COMPARED, "Test clips named rightly"), folder / "pictures/agreement.png")
    ranked = [disagreement.confusions(clips[clips["split"] == "test"], name).assign(model=name) for name in names]
    pd.concat(ranked).to_csv(folder / "confusions.csv", index=False)


def calibration(
    folder: Path, data: SpectrogramStore, before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> None:
    """Write what the temperatures did: ``calibration.csv`` and, of test, ``calibration.png``."""
    rows, curves = [], {}
    for state, answers in (("before", before), ("after", after)):
        for split, probabilities in answers.items():
            found = evaluation.probability_scores(data.split(split).label, probabilities)
            rows.append({"calibration": state, "split": split, **found})
        curves[f"{state} calibration"] = evaluation.reliability(data.split("test").label, answers["test"])
    pd.DataFrame(rows).to_csv(folder / "calibration.csv", index=False)
    figures.save(figures.reliability(curves, "ensemble, test"), folder / "pictures/calibration.png")


def compare(folder: Path, data: SpectrogramStore, answers: dict[str, dict[str, np.ndarray]]) -> None:
    """Write whether the models differ, ``paired.csv``, and what they are worth where they are sure, ``coverage.csv``
    and, of test, ``coverage.png``.
    """
    paired, covered = [], []
    for split in JUDGED:
        label = data.split(split).label
        for first, second in combinations(answers, 2):
            one, other = (answers[name][split].argmax(axis=1) for name in (first, second))
            paired.append({"split": split, "first": first, "second": second, **evaluation.mcnemar(label, one, other)})
        covered += [
            evaluation.coverage(label, answers[name][split]).assign(model=name, split=split) for name in answers
        ]
    pd.DataFrame(paired).to_csv(folder / "paired.csv", index=False)
    table = pd.concat(covered)[["model", "split", "coverage", "threshold", "accuracy"]]
    table.to_csv(folder / "coverage.csv", index=False)
    test = dict(list(table[table["split"] == "test"].groupby("model", sort=False)))
    figures.save(figures.risk_coverage(test, "Test: the surest clips first"), folder / "coverage.png")


def report(
    folder: Path, data: SpectrogramStore, answers: dict[str, np.ndarray], serving: ServingParams
) -> dict[str, dict[str, float]]:
    """Write one model's metrics and tables; returns the metrics by split."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, classes, tables = {}, [], []
    for split, probabilities in answers.items():
        clips = data.split(split)
        metrics[split] = evaluation.summary(clips.label, probabilities)
        classes.append(evaluation.per_class(clips.label, probabilities, data.genres).assign(split=split))
        tables.append(
            evaluation.predictions(clips.track_id, clips.label, probabilities, data.genres).assign(split=split)
        )
    label = data.split("validation").label
    sure = evaluation.confident_from(label, answers["validation"], serving.confident_accuracy)
    told = metrics | {"validation": metrics["validation"] | {"confident_from": sure}}
    (folder / "metrics.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    per_class, predictions = pd.concat(classes), pd.concat(tables)
    per_class.insert(0, "split", per_class.pop("split"))
    predictions.insert(1, "split", predictions.pop("split"))
    per_class.to_csv(folder / "per_class.csv", index=False)
    predictions.to_csv(folder / "predictions.csv", index=False)
    return metrics


def draw(folder: Path, name: str, data: SpectrogramStore, answers: dict[str, np.ndarray], accuracy: float) -> None:
    """Draw one model's ``confusion.png`` and ``mistakes.png`` of test, and ``reliability.png``."""
    clips = data.split("test")
    table = evaluation.predictions(clips.track_id, clips.label, answers["test"], data.genres)
    title = f"{name}, test: {accuracy:.1%} of {len(clips)} clips"
    confusion = figures.confusion_matrix(evaluation.confusion(table, data.genres), data.genres, title)
    figures.save(confusion, folder / "pictures/confusion.png")
    curves = {split: evaluation.reliability(data.split(split).label, answers[split]) for split in JUDGED}
    figures.save(
        figures.reliability(curves, f"{name}: what its confidence is worth"), folder / "pictures/reliability.png"
    )
    worst = evaluation.worst_mistakes(table, SHOWN)
    mistakes = figures.mistakes(clips.read(worst.index.to_numpy()), worst, f"{name}, test: its surest mistakes")
    figures.save(mistakes, folder / "pictures/mistakes.png")


if __name__ == "__main__":
    main()
