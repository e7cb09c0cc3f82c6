"""Averages, temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from music_genre.models.ensemble import average, calibrate, fit_temperature, with_temperature


def test_the_average_weighs_each_model() -> None:
    answers = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(average(answers, np.array([3.0, 1.0])), [[0.75, 0.25]])


@pytest.mark.parametrize(("temperature", "first"), [(1.0, 0.6), (0.5, 0.36 / 0.52), (1e6, 0.5)])
def test_temperature_sharpens_below_one_and_softens_above(temperature: float, first: float) -> None:
    assert with_temperature(np.array([[0.6, 0.4]]), temperature)[0, 0] == pytest.approx(first, abs=1e-4)


def test_temperature_never_changes_which_genre_wins() -> None:
    answers = np.random.default_rng(0).dirichlet(np.ones(8), 50)
    np.testing.assert_array_equal(with_temperature(answers, 0.3).argmax(axis=1), answers.argmax(axis=1))


def test_certainty_survives_a_temperature() -> None:
    assert np.isfinite(with_temperature(np.array([[1.0, 0.0]]), 0.125)).all()


@pytest.mark.parametrize("true_temperature", [0.5, 2.0])
def test_the_fitted_temperature_undoes_what_blurred_the_answers(true_temperature: float) -> None:
    random = np.random.default_rng(0)
    honest = random.dirichlet(np.ones(4), 5000)
    label = np.array([random.choice(4, p=row) for row in honest])
    blurred = with_temperature(honest, 1 / true_temperature)
    assert fit_temperature(blurred, label) == pytest.approx(true_temperature, rel=0.1)


def test_each_model_is_calibrated_before_the_average_and_the_average_after() -> None:
    random = np.random.default_rng(0)
    honest = random.dirichlet(np.ones(4), 4000)
    label = np.array([random.choice(4, p=row) for row in honest])
    boasting, humble = with_temperature(honest, 0.5), with_temperature(honest, 2.0)
    temperatures, last = calibrate([boasting, humble], label)
    np.testing.assert_allclose(temperatures, [2.0, 0.5], rtol=0.1)
    assert last == pytest.approx(1, rel=0.05)
