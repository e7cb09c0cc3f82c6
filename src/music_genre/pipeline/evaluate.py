"""Measure one model on validation and test: ``data/predictions/<name>.npz``, ``reports/evaluation/<name>/`` and
``reports/metrics/<name>.json``.
"""

from __future__ import annotations

import shutil
import sys

from music_genre.evaluation import results
from music_genre.evaluation.plots import plot_evaluation, plot_learning_curves, save_figure
from music_genre.evaluation.results import EVALUATED_SPLITS, ModelPredictions, read_history
from music_genre.features.store import SpectrogramStore
from music_genre.models.bundle import ModelBundle
from music_genre.models.packing import temporary_bundle
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    params = load_params(project.params)
    reports = project.evaluation / name
    if name not in params.trained:
        results.write_nothing(reports, project.metrics_summary(name), project.predictions(name))
        print(f"{name} is left out: it was not trained")
        return
    data = SpectrogramStore.open(project.spectrograms)
    with temporary_bundle(project.models, name, data) as folder:
        bundle = ModelBundle(folder)
        predictions = ModelPredictions(
            {split: bundle.predict_split(data, split) for split in EVALUATED_SPLITS}, bundle.n_parameters
        )
    predictions.write(project.predictions(name))
    target = params.evaluation.target_selective_accuracy
    values = results.write_result(reports, project.metrics_summary(name), data, predictions, target)
    plot_evaluation(reports, name, data, predictions)
    # A copy for DVC's plots, beside the others.
    shutil.copyfile(project.history(name), reports / results.HISTORY)
    history = read_history(reports)
    if len(history) > 1:
        save_figure(plot_learning_curves(history, f"{name}: learning curves"), reports / "plots/learning_curves.png")
    for split, metrics in values.items():
        print(f"{name}, {split}: accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['macro_f1']:.3f}")


if __name__ == "__main__":
    main()
