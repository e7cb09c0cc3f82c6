"""Metrics checked against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from music_genre.evaluation import metrics

GENRES = ("Folk", "Pop", "Rock")
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]], np.float32
)


def test_accuracy_lies_in_its_interval_and_the_interval_narrows_with_more_clips() -> None:
    few, many = (
        metrics.classification_metrics(LABELS, PROBABILITIES),
        metrics.classification_metrics(np.tile(LABELS, 100), np.tile(PROBABILITIES, (100, 1))),
    )
    assert few["accuracy"] == pytest.approx(5 / 6)
    assert few["accuracy_low"] < 5 / 6 < few["accuracy_high"] < 1
    assert many["accuracy_high"] - many["accuracy_low"] < 0.1 < few["accuracy_high"] - few["accuracy_low"]


def test_800_clips_give_the_interval_that_is_known_for_them() -> None:
    label = np.zeros(800, int)
    probabilities = np.tile([[0.0, 1.0]], (800, 1))
    probabilities[:360] = [[1.0, 0.0]]
    scores = metrics.classification_metrics(label, probabilities)
    assert scores["accuracy_high"] - scores["accuracy_low"] == pytest.approx(2 * 0.034, abs=0.001)


def test_top_errors_are_the_most_confident_ones() -> None:
    label = np.array([0, 1, 1, 2, 0])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.8, 0.2, 0], [0.2, 0.2, 0.6], [0.1, 0.3, 0.6]])
    table = metrics.predictions(np.arange(5), label, probabilities, GENRES)
    assert metrics.top_errors(table, 2)["track_id"].tolist() == [2, 1]
    assert metrics.top_errors(table, 9)["track_id"].tolist() == [2, 1, 4]


def test_log_loss_is_the_mean_negative_log_probability() -> None:
    expected = -np.log([0.8, 0.2, 0.8, 0.8, 0.4, 0.8]).mean()
    assert metrics.classification_metrics(LABELS, PROBABILITIES)["log_loss"] == pytest.approx(expected, abs=1e-5)


def test_ece_is_zero_where_confidence_equals_accuracy() -> None:
    label = np.array([0] * 8 + [1] * 2)
    assert metrics.expected_calibration_error(label, np.tile([[0.8, 0.2]], (10, 1))) == pytest.approx(0)
    assert metrics.expected_calibration_error(label, np.tile([[1.0, 0.0]], (10, 1))) == pytest.approx(0.2)


def test_a_genre_that_never_occurs_still_has_a_row() -> None:
    table = metrics.per_class(np.array([0, 0]), PROBABILITIES[:2], GENRES)
    assert table["genre"].tolist() == list(GENRES)
    assert table["support"].tolist() == [2, 0, 0]
    assert table.loc[0, "recall"] == 0.5


def test_confusion_rows_are_actual_genres() -> None:
    table = metrics.predictions(np.arange(6), LABELS, PROBABILITIES, GENRES)
    np.testing.assert_array_equal(metrics.confusion_matrix(table, GENRES), [[1, 1, 0], [0, 2, 0], [0, 0, 2]])


def test_a_model_does_not_differ_from_itself_and_does_from_a_guesser() -> None:
    random = np.random.default_rng(0)
    actual = random.choice(list(GENRES), 300)
    good, guess = np.where(random.random(300) < 0.8, actual, "Pop"), random.choice(list(GENRES), 300)
    assert metrics.macro_f1_difference_ci(actual, good, good, 0) == (0, 0)
    low, high = metrics.macro_f1_difference_ci(actual, good, guess, 0)
    assert 0.2 < low < high


def test_macro_f1_equals_scikit_learns() -> None:
    random = np.random.default_rng(1)
    actual, predicted = random.integers(0, 4, 100), random.integers(0, 5, 100)
    expected = f1_score(actual, predicted, average="macro", zero_division=0)
    assert metrics._macro_f1(actual, predicted, 6) == pytest.approx(expected)


def test_predictions_name_genres() -> None:
    table = metrics.predictions(np.array([5]), np.array([2]), PROBABILITIES[4:5], GENRES)
    pd.testing.assert_frame_equal(
        table,
        pd.DataFrame({"track_id": [5], "actual": ["Rock"], "predicted": ["Rock"], "confidence": [0.4]}),
        atol=1e-6,
        check_dtype=False,
    )


def test_macro_f1_lies_in_its_interval() -> None:
    scores = metrics.classification_metrics(np.tile(LABELS, 30), np.tile(PROBABILITIES, (30, 1)))
    assert scores["macro_f1_low"] < scores["macro_f1"] < scores["macro_f1_high"]


def test_interval_has_no_width_where_every_clip_is_correct() -> None:
    labels = np.tile(LABELS, 30)
    scores = metrics.classification_metrics(labels, np.eye(3)[labels])
    assert scores["macro_f1_low"] == scores["macro_f1"] == scores["macro_f1_high"] == 1


@pytest.mark.slow
def test_interval_covers_the_true_macro_f1_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        actual = rng.integers(0, 2, 150)
        predicted = np.where(rng.random(150) < 0.8, actual, 1 - actual)  # macro-F1 of many such clips is 0.8
        low, high = metrics.macro_f1_ci(actual, predicted)
        covered += low <= 0.8 <= high
    assert 52 <= covered <= 60


def test_brier_score_is_the_squared_distance_from_the_truth() -> None:
    scores = metrics.classification_metrics(np.array([0, 1]), np.array([[0.8, 0.2], [0.6, 0.4]]))
    assert scores["brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)


def test_calibration_curve_sets_confidence_beside_accuracy() -> None:
    bins = metrics.calibration_curve(np.array([0, 0, 0, 1]), np.tile([[0.8, 0.2]], (4, 1)))
    assert bins.to_dict("records") == [
        {"confidence": pytest.approx(0.8), "accuracy": pytest.approx(0.75), "fraction": 1.0}
    ]


def test_risk_coverage_begins_with_the_most_confident_clips() -> None:
    right = np.linspace(0.6, 1, 10)
    probabilities = np.stack([right, 1 - right], axis=1)
    label = np.array([1] * 5 + [0] * 5)  # the unsure half is wrong
    table = metrics.risk_coverage(label, probabilities)
    assert table["coverage"].tolist() == pytest.approx([n / 10 for n in range(1, 11)])
    assert table["accuracy"].tolist() == pytest.approx([1.0] * 5 + [5 / n for n in range(6, 11)])
    assert (np.diff(table["threshold"]) < 0).all()


@pytest.mark.parametrize(
    ("target", "expected"),
    [(1.0, 0.9), (0.75, 0.7), (0.6, 0.6), (0.5, 0.6)],
    ids=["none wrong", "one of four", "ties stay together", "all"],
)
def test_confidence_threshold_covers_most_clips_at_the_target_accuracy(target: float, expected: float) -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.7, 0.6])
    label = np.array([0, 1, 0, 0, 1])  # right, wrong, right, right, wrong
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert metrics.confidence_threshold(label, probabilities, target) == pytest.approx(expected)


def test_model_that_errs_where_most_confident_is_never_confident() -> None:
    assert metrics.confidence_threshold(np.array([1, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), 0.5) == 1


def test_mcnemar_counts_only_clips_that_one_model_alone_predicts_correctly() -> None:
    label = np.zeros(100, int)
    first, second = label.copy(), label.copy()
    first[:2], second[10:20] = 1, 1
    scores = metrics.mcnemar(label, first, second)
    assert (scores["first_only"], scores["second_only"], scores["difference"]) == (10, 2, pytest.approx(0.08))
    assert scores["p_value"] == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert metrics.mcnemar(label, first, first)["p_value"] == 1
