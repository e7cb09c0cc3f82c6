"""The files of ``reports/evaluation``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from music_genre.evaluation import metrics
from music_genre.evaluation.results import ModelPredictions, read_metrics
from music_genre.features.store import SpectrogramStore

MODELS = ("baseline", "crnn", "parallel")


@pytest.mark.parametrize("name", MODELS)
def test_data_of_plots_is_of_test_alone(checkout: Path, name: str) -> None:
    folder = checkout / "reports/evaluation" / name
    labels = SpectrogramStore.open(checkout / "data/spectrograms").split("test").label
    probabilities = ModelPredictions.read(checkout / f"data/predictions/{name}.npz").probabilities["test"]
    for file, curve in (
        ("calibration_curve.csv", metrics.calibration_curve(labels, probabilities)),
        ("risk_coverage.csv", metrics.risk_coverage(labels, probabilities)),
    ):
        pd.testing.assert_frame_equal(pd.read_csv(folder / file), curve, check_dtype=False)
    assert len(pd.read_csv(folder / "confusion.csv")) == len(labels)


@pytest.mark.parametrize("name", [*MODELS, "ensemble"])
def test_risk_coverage_ends_with_the_accuracy_on_all_clips(checkout: Path, name: str) -> None:
    folder = checkout / "reports/evaluation" / name
    last = pd.read_csv(folder / "risk_coverage.csv").iloc[-1]
    assert (last["coverage"], last["accuracy"]) == (1, pytest.approx(read_metrics(folder)["test"]["accuracy"]))
