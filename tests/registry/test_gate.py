"""The gate: which model is selected, and whether it passes by its metrics, its data, its size and its features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from music_genre.evaluation.results import ModelResult
from music_genre.registry.gate import (
    Criterion,
    CriterionName,
    GateResult,
    apply_threshold,
    evaluate_gate,
    paired_difference_ci,
    read_gate,
    select_candidate,
)
from music_genre.registry.params import GateParams

SEED = 7


@pytest.fixture
def judge(gate_params: GateParams) -> Callable[..., GateResult]:
    """Judges one model, with everything but its metrics as it should be."""

    def run(
        result: ModelResult,
        *,
        data_quality: bool = True,
        size_mb: float = 1.0,
        feature_skew_db: float | None = 0.0,
        **thresholds: float,
    ) -> GateResult:
        params = gate_params.model_copy(update=thresholds)
        return evaluate_gate([result], result, params, data_quality, size_mb, feature_skew_db)

    return run


@pytest.fixture
def select(gate_params: GateParams) -> Callable[..., ModelResult]:
    return lambda *results: select_candidate(results, gate_params, SEED)


def test_smallest_model_is_selected_where_the_best_is_not_significantly_better(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    small, large = make_result("crnn", 10, wrong=range(12)), make_result("ensemble", 30, wrong=range(10))
    assert large.metrics["validation"]["macro_f1"] > small.metrics["validation"]["macro_f1"]
    assert select(large, small) is small
    assert select(small, large) is small


def test_best_model_is_selected_where_it_is_significantly_better(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    small, large = make_result("crnn", 10, wrong=range(60)), make_result("ensemble", 30, wrong=range(10))
    assert select(small, large) is large


def test_a_small_difference_on_the_same_clips_is_significant(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    # The intervals of the two overlap widely; paired, one model is right wherever the other is, and on 12 clips more.
    small, large = make_result("crnn", 10, wrong=range(40)), make_result("ensemble", 30, wrong=range(28))
    assert select(small, large) is large


def test_second_smallest_model_is_selected_where_only_the_smallest_is_worse(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    smallest = make_result("parallel", 10, wrong=range(70))
    middle, best = make_result("crnn", 20, wrong=range(11)), make_result("ensemble", 30, wrong=range(10))
    assert select(best, smallest, middle) is middle


def test_best_model_is_selected_where_it_is_the_smallest(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    best, worse = make_result("crnn", 10, wrong=range(3)), make_result("ensemble", 30, wrong=range(5))
    assert select(worse, best) is best


def test_only_candidate_is_selected_even_if_it_fails(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    only = make_result("crnn", 10, wrong=range(110))
    assert select(only) is only


def test_metrics_on_test_do_not_select(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    small, large = make_result("crnn", 10, wrong=range(60)), make_result("ensemble", 30, wrong=range(10))
    small.metrics["test"]["macro_f1"], large.metrics["test"]["macro_f1"] = 0.99, 0.01
    assert select(small, large) is large


def test_model_that_fails_on_metrics_is_selected_only_where_all_fail(
    make_result: Callable[..., ModelResult], select: Callable[..., ModelResult]
) -> None:
    small, large = make_result("crnn", 10), make_result("ensemble", 30)
    small.metrics["validation"]["ece"] = 0.6
    assert select(small, large) is large
    large.metrics["validation"]["ece"] = 0.7
    assert select(small, large) is small


def test_paired_difference_is_by_track_id_and_has_the_sign_of_the_first(
    make_result: Callable[..., ModelResult],
) -> None:
    better, worse = make_result("crnn", 1, wrong=range(10)), make_result("crnn", 2, wrong=range(60))
    low, high = paired_difference_ci(better.validation_predictions, worse.validation_predictions, SEED)
    assert 0 < low < high
    assert paired_difference_ci(better.validation_predictions, better.validation_predictions, SEED) == (0, 0)


@pytest.mark.parametrize(("macro_f1", "passed"), [(0.31, True), (0.3, True), (0.2999, False)])
def test_macro_f1_has_a_minimum(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult], macro_f1: float, passed: bool
) -> None:
    gate = judge(make_result("crnn", macro_f1=macro_f1))
    assert gate.criteria[0] == Criterion("min_macro_f1", macro_f1, 0.3, passed)
    assert gate.failed == ([] if passed else ["min_macro_f1"])
    assert gate.verdict == ("passed" if passed else "refused")


def test_recall_of_every_genre_has_a_minimum_and_the_note_names_the_genres_below_it(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    # Every third clip is Folk, and half of these are predicted incorrectly.
    gate = judge(make_result("crnn", wrong=range(0, 60, 3)), min_class_recall=0.6)
    assert gate.failed == ["min_class_recall"]
    assert gate.notes == ["no candidate meets the criteria on metrics", "recall below 0.6: Folk 0.500"]


def test_recall_of_a_genre_without_validation_clips_does_not_count(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    result = make_result("crnn")
    result.per_class.loc[len(result.per_class)] = ["validation", "Blues", 0.0, 0]
    assert judge(result, min_class_recall=0.6).failed == []


def test_calibration_error_has_a_maximum(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    result = make_result("crnn")
    result.metrics["validation"]["ece"] = 0.21
    assert judge(result).failed == ["max_ece"]


def test_data_that_failed_its_checks_is_refused(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    assert judge(make_result("crnn"), data_quality=False).failed == ["data_quality"]


def test_size_and_feature_skew_have_maxima(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    assert judge(make_result("crnn"), size_mb=50.1).failed == ["max_size_mb"]
    assert judge(make_result("crnn"), feature_skew_db=0.6).failed == ["max_feature_skew_db"]
    assert judge(make_result("crnn"), size_mb=50.0, feature_skew_db=0.5).failed == []


def test_feature_skew_that_was_not_measured_is_no_criterion(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    gate = judge(make_result("crnn"), feature_skew_db=None)
    assert "max_feature_skew_db" not in {criterion.name for criterion in gate.criteria}


def test_gate_ignores_metrics_on_test(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    result = make_result("crnn")
    result.metrics["test"]["macro_f1"] = 0.0
    assert judge(result).failed == []


def test_every_threshold_of_params_yaml_has_a_criterion_of_its_name() -> None:
    assert set(GateParams.model_fields) == {str(name) for name in CriterionName} - {"data_quality"}


def test_values_are_rounded_and_never_minus_zero(gate_params: GateParams) -> None:
    criterion = apply_threshold(CriterionName.MAX_MACRO_F1_DROP, -0.000001, gate_params)
    assert str(criterion.value) == "0.0"
    assert apply_threshold(CriterionName.MAX_ECE, 0.123456, gate_params).value == 0.1235
    # Half a step of float16 is not skew.
    assert apply_threshold(CriterionName.MAX_FEATURE_SKEW_DB, 0.03125, gate_params).value == 0.0


def test_candidates_are_listed_and_a_note_says_why_the_best_is_not_selected(
    make_result: Callable[..., ModelResult], gate_params: GateParams
) -> None:
    small, large = make_result("crnn", 10, wrong=range(12)), make_result("ensemble", 30, wrong=range(10))
    gate = evaluate_gate([small, large], small, gate_params, True, 1.0, 0.0)
    assert [(c.name, c.n_parameters, c.eligible) for c in gate.candidates] == [
        ("crnn", 10, True),
        ("ensemble", 30, True),
    ]
    assert gate.candidates[0].validation_macro_f1 == round(small.metrics["validation"]["macro_f1"], 4)
    assert gate.notes == ["crnn is selected: it is smaller, and ensemble is not significantly better"]


def test_gate_is_read_as_it_was_written(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult], tmp_path: Path
) -> None:
    gate = judge(make_result("crnn"), feature_skew_db=0.6)
    gate.write(tmp_path / "gate.json")
    assert read_gate(tmp_path / "gate.json") == gate


def test_text_has_a_line_for_each_criterion_with_its_bound(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    text = str(judge(make_result("crnn", macro_f1=0.25), size_mb=1.234, data_quality=False))
    assert text.splitlines()[0] == "gate: crnn refused"
    assert "  FAILED  macro-F1 on validation 0.25 (at least 0.3)" in text
    assert "  passed  size of the model in MB 1.23 (at most 50)" in text
    assert "  FAILED  data checks\n" in text
