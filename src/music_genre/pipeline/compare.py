"""Measure the ensemble and compare all models: ``reports/evaluation/ensemble/`` and the tables beside it."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pandas as pd

from music_genre.evaluation import metrics, model_comparison, plots, results
from music_genre.evaluation.plots import save_figure
from music_genre.evaluation.results import EVALUATED_SPLITS, ModelPredictions, read_result
from music_genre.features.store import SpectrogramStore
from music_genre.models.ensemble import combine, read_ensemble
from music_genre.models.registry import ENSEMBLE
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    predictions = {name: ModelPredictions.read(project.predictions(name)) for name in params.trained}
    predictions[ENSEMBLE] = ensemble_predictions(project.models, predictions)
    target, folder = params.evaluation.target_selective_accuracy, project.evaluation / ENSEMBLE
    results.write_result(folder, project.metrics_summary(ENSEMBLE), data, predictions[ENSEMBLE], target)
    plots.plot_evaluation(folder, ENSEMBLE, data, predictions[ENSEMBLE])
    write_calibration(folder, data, ensemble_predictions(project.models, predictions, calibrated=False), predictions)
    table = results.comparison_table(
        {
            name: (predictions[name].n_parameters, results.read_metrics(project.evaluation / name))
            for name in predictions
        }
    )
    table.to_csv(project.evaluation / results.COMPARISON, index=False)
    write_paired_tests(project.evaluation, data, predictions)
    write_risk_coverage(project, data, predictions)
    write_agreement(project, params.ensemble.members)
    print(table.round(3).to_string(index=False))


def ensemble_predictions(
    models: Path, predictions: dict[str, ModelPredictions], calibrated: bool = True
) -> ModelPredictions:
    """The ensemble's predictions, from its members' calibrated ones; in uncalibrated ones every temperature is 1."""
    members, temperature = read_ensemble(models)
    weights = [member.weight for member in members]
    # What a temperature did, its inverse undoes.
    temperatures = [1.0 if calibrated else 1 / member.temperature for member in members]
    probabilities = {
        split: combine(
            [predictions[member.name].probabilities[split] for member in members],
            weights,
            temperatures,
            temperature if calibrated else 1.0,
        )
        for split in EVALUATED_SPLITS
    }
    return ModelPredictions(probabilities, sum(predictions[member.name].n_parameters for member in members))


def write_calibration(
    folder: Path, data: SpectrogramStore, uncalibrated: ModelPredictions, predictions: dict[str, ModelPredictions]
) -> None:
    """Write what the temperatures did: ``calibration.csv`` and, of test, ``plots/temperatures.png``."""
    rows, curves = [], {}
    for state, of_state in (("before", uncalibrated), ("after", predictions[ENSEMBLE])):
        for split, probabilities in of_state.probabilities.items():
            scores = metrics.probability_scores(data.split(split).label, probabilities)
            rows.append({"calibration": state, "split": split, **scores})
        curves[f"{state} calibration"] = metrics.calibration_curve(
            data.split("test").label, of_state.probabilities["test"]
        )
    pd.DataFrame(rows).to_csv(folder / results.CALIBRATION, index=False)
    save_figure(plots.plot_calibration(curves, "ensemble, test"), folder / "plots/temperatures.png")


def write_paired_tests(evaluation: Path, data: SpectrogramStore, predictions: dict[str, ModelPredictions]) -> None:
    """Write whether any two models differ: ``mcnemar.csv``."""
    rows = []
    for split in EVALUATED_SPLITS:
        labels = data.split(split).label
        for first, second in combinations(predictions, 2):
            a, b = (predictions[name].probabilities[split].argmax(axis=1) for name in (first, second))
            rows.append({"split": split, "first": first, "second": second, **metrics.mcnemar(labels, a, b)})
    pd.DataFrame(rows).round({"difference": results.DIGITS, "p_value": 6}).to_csv(
        evaluation / results.MCNEMAR, index=False
    )


def write_risk_coverage(
    project: ProjectPaths, data: SpectrogramStore, predictions: dict[str, ModelPredictions]
) -> None:
    """Write how accurate models are where they are most confident: ``risk_coverage.csv``, of test as a plot."""
    tables = [
        metrics.risk_coverage(data.split(split).label, of_model.probabilities[split]).assign(model=name, split=split)
        for split in EVALUATED_SPLITS
        for name, of_model in predictions.items()
    ]
    table = pd.concat(tables)[["model", "split", "coverage", "threshold", "accuracy"]]
    table.to_csv(project.evaluation / results.RISK_COVERAGE, index=False)
    test = dict(list(table[table["split"] == "test"].groupby("model", sort=False)))
    figure = plots.plot_risk_coverage(test, "Test: most confident clips first")
    save_figure(figure, project.risk_coverage_plot)


def write_agreement(project: ProjectPaths, members: tuple[str, ...]) -> None:
    """Write where the ensemble's members agree and what their average gains: ``predictions_by_model.csv``,
    ``agreement_by_genre.csv`` (empty with one member), ``plots/agreement.png`` and ``top_confusions.csv``.

    Of more than two members, the first two are compared.
    """
    folder, names = project.evaluation / ENSEMBLE, (*members, ENSEMBLE)
    clips = model_comparison.join_predictions({n: read_result(project.evaluation, n).predictions for n in names})
    by_genre = pd.DataFrame(columns=["split", "genre", "clips"])
    if len(members) > 1:
        first, second = members[:2]
        clips.insert(3, "agreement", model_comparison.agreement(clips, first, second))
        by_genre = model_comparison.agreement_by_genre(clips, first, second, ENSEMBLE)
        test = by_genre[by_genre["split"] == "test"]
        figure = plots.plot_agreement(test, first, second, "Test clips predicted correctly")
        save_figure(figure, folder / "plots/agreement.png")
    by_genre.round(results.DIGITS).to_csv(folder / results.AGREEMENT_BY_GENRE, index=False)
    clips.to_csv(folder / results.PREDICTIONS_BY_MODEL, index=False)
    test = clips[clips["split"] == "test"]
    ranked = [model_comparison.top_confusions(test, name).assign(model=name) for name in names]
    pd.concat(ranked).round(results.DIGITS).to_csv(folder / results.TOP_CONFUSIONS, index=False)


if __name__ == "__main__":
    main()
