"""Averages and temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.models.calibration import apply_temperature, calibrate, fit_temperature
from music_genre.models.ensemble import average


def calibrated_predictions(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) probabilities and labels drawn from them."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), n)
    return probabilities, np.array([rng.choice(4, p=row) for row in probabilities])


def test_average_weights_each_model() -> None:
    probabilities = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(average(probabilities, np.array([3.0, 1.0])), [[0.75, 0.25]])


@pytest.mark.parametrize(("temperature", "first"), [(1.0, 0.6), (0.5, 0.36 / 0.52), (1e6, 0.5)])
def test_temperature_sharpens_below_one_and_softens_above(temperature: float, first: float) -> None:
    assert apply_temperature(np.array([[0.6, 0.4]]), temperature)[0, 0] == pytest.approx(first, abs=1e-4)


def test_temperature_does_not_change_the_predicted_genre() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), 50)
    np.testing.assert_array_equal(apply_temperature(probabilities, 0.3).argmax(axis=1), probabilities.argmax(axis=1))


def test_temperature_of_a_certain_prediction_is_finite() -> None:
    assert np.isfinite(apply_temperature(np.array([[1.0, 0.0]]), 0.125)).all()


@pytest.mark.parametrize("true_temperature", [0.5, 2.0])
def test_fitted_temperature_recovers_calibrated_probabilities(true_temperature: float) -> None:
    probabilities, labels = calibrated_predictions(5000)
    miscalibrated = apply_temperature(probabilities, 1 / true_temperature)
    assert fit_temperature(miscalibrated, labels) == pytest.approx(true_temperature, rel=0.1)


def test_few_clips_that_are_all_right_do_not_make_a_model_certain() -> None:
    probabilities, labels = np.tile([[0.7, 0.2, 0.1]], (10, 1)), np.zeros(10, dtype=np.int64)
    assert fit_temperature(probabilities, labels) < 0.13
    confidence = apply_temperature(probabilities, calibrate(probabilities, labels)).max()
    assert 0.85 < confidence < 0.95  # 11 of 12, as Platt has it
