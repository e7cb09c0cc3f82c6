"""The files of ``reports/evaluation``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.evaluation import metrics
from music_genre.evaluation.results import EVALUATED_SPLITS, ModelPredictions, read_metrics
from music_genre.features.store import SpectrogramStore
from music_genre.files import file_sha256

MODELS = ("baseline", "crnn", "parallel")
PREDICTIONS_DIGEST = "d92335526b4533531a9ce60525f8a3071ece4cf0aa8b0dc533409671bd2d058e"


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


def test_predictions_are_the_same_bytes_under_every_python(tmp_path: Path) -> None:
    # Else dvc.lock, which is in git, would change with the patch version of the interpreter.
    probabilities = {
        split: np.arange(6, dtype=np.float32).reshape(3, 2) + k for k, split in enumerate(EVALUATED_SPLITS)
    }
    ModelPredictions(probabilities, 7).write(tmp_path / "predictions.npz")
    assert file_sha256(tmp_path / "predictions.npz") == PREDICTIONS_DIGEST
    read = ModelPredictions.read(tmp_path / "predictions.npz")
    assert read.n_parameters == 7
    assert all(np.array_equal(read.probabilities[split], probabilities[split]) for split in EVALUATED_SPLITS)
