"""Figures checked against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from music_genre.evaluation import metrics as evaluation

GENRES = ("Folk", "Pop", "Rock")
LABEL = np.array([0, 0, 1, 1, 2, 2])
ANSWERS = np.array(
    [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]], np.float32
)


def test_accuracy_lies_in_its_interval_and_the_interval_narrows_with_more_clips() -> None:
    few, many = evaluation.summary(LABEL, ANSWERS), evaluation.summary(np.tile(LABEL, 100), np.tile(ANSWERS, (100, 1)))
    assert few["accuracy"] == pytest.approx(5 / 6)
    assert few["accuracy_low"] < 5 / 6 < few["accuracy_high"] < 1
    assert many["accuracy_high"] - many["accuracy_low"] < 0.1 < few["accuracy_high"] - few["accuracy_low"]


def test_800_clips_give_the_interval_that_is_known_for_them() -> None:
    label = np.zeros(800, int)
    answers = np.tile([[0.0, 1.0]], (800, 1))
    answers[:360] = [[1.0, 0.0]]
    figures = evaluation.summary(label, answers)
    assert figures["accuracy_high"] - figures["accuracy_low"] == pytest.approx(2 * 0.034, abs=0.001)


def test_the_worst_mistakes_are_the_surest_wrong_answers() -> None:
    label = np.array([0, 1, 1, 2, 0])
    answers = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.8, 0.2, 0], [0.2, 0.2, 0.6], [0.1, 0.3, 0.6]])
    table = evaluation.predictions(np.arange(5), label, answers, GENRES)
    assert evaluation.worst_mistakes(table, 2)["track_id"].tolist() == [2, 1]
    assert evaluation.worst_mistakes(table, 9)["track_id"].tolist() == [2, 1, 4]


def test_log_loss_is_the_mean_surprise() -> None:
    expected = -np.log([0.8, 0.2, 0.8, 0.8, 0.4, 0.8]).mean()
    assert evaluation.summary(LABEL, ANSWERS)["log_loss"] == pytest.approx(expected, abs=1e-5)


def test_a_calibrated_answer_has_no_calibration_error_and_a_boaster_has() -> None:
    label = np.array([0] * 8 + [1] * 2)
    assert evaluation.expected_calibration_error(label, np.tile([[0.8, 0.2]], (10, 1))) == pytest.approx(0)
    assert evaluation.expected_calibration_error(label, np.tile([[1.0, 0.0]], (10, 1))) == pytest.approx(0.2)


def test_a_genre_that_never_occurs_still_has_a_row() -> None:
    table = evaluation.per_class(np.array([0, 0]), ANSWERS[:2], GENRES)
    assert table["genre"].tolist() == list(GENRES)
    assert table["support"].tolist() == [2, 0, 0]
    assert table.loc[0, "recall"] == 0.5


def test_confusion_rows_are_actual_genres() -> None:
    table = evaluation.predictions(np.arange(6), LABEL, ANSWERS, GENRES)
    np.testing.assert_array_equal(evaluation.confusion(table, GENRES), [[1, 1, 0], [0, 2, 0], [0, 0, 2]])


def test_a_model_does_not_differ_from_itself_and_does_from_a_guesser() -> None:
    random = np.random.default_rng(0)
    actual = random.choice(list(GENRES), 300)
    good, guess = np.where(random.random(300) < 0.8, actual, "Pop"), random.choice(list(GENRES), 300)
    assert evaluation.macro_f1_difference(actual, good, good, 0) == (0, 0)
    low, high = evaluation.macro_f1_difference(actual, good, guess, 0)
    assert 0.2 < low < high


def test_the_quick_macro_f1_is_the_librarys() -> None:
    random = np.random.default_rng(1)
    actual, predicted = random.integers(0, 4, 100), random.integers(0, 5, 100)
    expected = f1_score(actual, predicted, average="macro", zero_division=0)
    assert evaluation._macro_f1(actual, predicted, 6) == pytest.approx(expected)


def test_predictions_name_genres() -> None:
    table = evaluation.predictions(np.array([5]), np.array([2]), ANSWERS[4:5], GENRES)
    pd.testing.assert_frame_equal(
        table,
        pd.DataFrame({"track_id": [5], "actual": ["Rock"], "predicted": ["Rock"], "confidence": [0.4]}),
        atol=1e-6,
        check_dtype=False,
    )


def test_macro_f1_lies_in_its_interval_and_the_interval_is_the_same_each_time() -> None:
    label, answers = np.tile(LABEL, 30), np.tile(ANSWERS, (30, 1))
    first, again = evaluation.summary(label, answers), evaluation.summary(label, answers)
    assert first["macro_f1_low"] < first["macro_f1"] < first["macro_f1_high"]
    assert first == again


def test_the_brier_score_is_the_squared_distance_from_the_truth() -> None:
    figures = evaluation.summary(np.array([0, 1]), np.array([[0.8, 0.2], [0.6, 0.4]]))
    assert figures["brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)


def test_reliability_sets_confidence_beside_accuracy() -> None:
    bins = evaluation.reliability(np.array([0, 0, 0, 1]), np.tile([[0.8, 0.2]], (4, 1)))
    assert bins.to_dict("records") == [
        {"confidence": pytest.approx(0.8), "accuracy": pytest.approx(0.75), "share": 1.0}
    ]


def test_the_surest_answers_come_first_in_coverage() -> None:
    right = np.linspace(0.6, 1, 10)
    answers = np.stack([right, 1 - right], axis=1)
    label = np.array([1] * 5 + [0] * 5)  # the unsure half is wrong
    table = evaluation.coverage(label, answers)
    assert table["coverage"].tolist() == pytest.approx([n / 10 for n in range(1, 11)])
    assert table["accuracy"].tolist() == pytest.approx([1.0] * 5 + [5 / n for n in range(6, 11)])
    assert (np.diff(table["threshold"]) < 0).all()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(1.0, 0.9), (0.75, 0.7), (0.6, 0.6), (0.5, 0.6)],
    ids=["none wrong", "one of four", "ties stay together", "all"],
)
def test_the_threshold_keeps_most_answers_that_reach_the_accuracy(asked: float, expected: float) -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.7, 0.6])
    label = np.array([0, 1, 0, 0, 1])  # right, wrong, right, right, wrong
    answers = np.stack([confidence, 1 - confidence], axis=1)
    assert evaluation.confident_from(label, answers, asked) == pytest.approx(expected)


def test_a_model_that_is_wrong_where_it_is_surest_is_never_confident() -> None:
    assert evaluation.confident_from(np.array([1, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), 0.5) == 1


def test_mcnemar_looks_only_at_clips_that_one_model_alone_names() -> None:
    label = np.zeros(100, int)
    first, second = label.copy(), label.copy()
    first[:2], second[10:20] = 1, 1
    figures = evaluation.mcnemar(label, first, second)
    assert (figures["first_only"], figures["second_only"], figures["difference"]) == (10, 2, pytest.approx(0.08))
    assert figures["p_value"] == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert evaluation.mcnemar(label, first, first)["p_value"] == 1
