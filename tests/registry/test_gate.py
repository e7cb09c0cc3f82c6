"""The gate: which model is tried first, and whether it passes by its metrics, its data, its size and its features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from music_genre.evaluation.results import ModelResult
from music_genre.registry.criteria import Criterion, CriterionName, apply_threshold
from music_genre.registry.gate import GateResult, Measurements, evaluate_gate, read_gate
from music_genre.registry.params import GateParams, RegistryParams

SEED = 7
SIZE_MB = {"parallel": 0.5, "crnn": 1.0, "baseline": 2.0, "ensemble": 3.0}


@pytest.fixture
def judge(gate_params: GateParams) -> Callable[..., GateResult]:
    """Judges models, with everything but their metrics as it should be."""

    def run(
        *results: ModelResult,
        baselines: Sequence[str] = (),
        data_quality: bool = True,
        size_mb: float = 1.0,
        feature_skew_db: float | None = 0.0,
        export_difference_ppm: float | None = None,
        **thresholds: float,
    ) -> GateResult:
        gate = gate_params.model_copy(update=thresholds)
        params = RegistryParams(name="music-genre", max_macro_f1_cost=0.02, gate=gate)
        sizes = SIZE_MB if len(results) > 1 else {results[0].name: size_mb}
        differences = (
            {} if export_difference_ppm is None else {result.name: export_difference_ppm for result in results}
        )
        measured = Measurements(sizes, data_quality, feature_skew_db, differences)
        return evaluate_gate(results, baselines, measured, params, SEED)

    return run


@pytest.mark.parametrize(("macro_f1", "passed"), [(0.31, True), (0.3, True), (0.2999, False)])
def test_macro_f1_has_a_minimum(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult], macro_f1: float, passed: bool
) -> None:
    gate = judge(make_result("crnn", macro_f1=macro_f1))
    assert gate.criteria[0] == Criterion("min_macro_f1", macro_f1, 0.3, passed, macro_f1, macro_f1, 120)
    assert gate.failed == ([] if passed else ["min_macro_f1"])
    assert gate.verdict == ("passed" if passed else "refused")


def test_minimum_fails_only_where_the_whole_interval_is_below_it(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    few, many = (make_result("crnn", wrong=range(n // 2), n_clips=n) for n in (21, 1200))
    assert few.validation["macro_f1"] < 0.55
    assert judge(few, min_macro_f1=0.55).failed == []
    assert judge(many, min_macro_f1=0.55).failed == ["min_macro_f1"]


def test_recall_of_none_of_a_few_clips_is_no_fact_about_a_genre(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    # Every third clip is Folk; all of them are wrong.
    few = judge(make_result("crnn", wrong=range(0, 15, 3), n_clips=15), min_class_recall=0.05)
    assert few.failed == []
    criterion = few.criteria[1]
    assert (criterion.value, criterion.low, criterion.n_clips) == (0, 0, 5)
    assert criterion.high == pytest.approx(0.43, abs=0.01)
    assert few.notes[-1] == "recall below 0.05: Folk 0 of 5"
    many = judge(make_result("crnn", wrong=range(0, 240, 3), n_clips=240), min_class_recall=0.05)
    assert many.failed == ["min_class_recall"]


def test_genre_that_is_the_most_certain_to_be_below_the_minimum_counts(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    result = make_result("crnn", wrong=range(0, 60, 3))
    result.per_class.loc[len(result.per_class)] = ["validation", "Blues", 0.0, 1]
    criterion = judge(result, min_class_recall=0.7).criteria[1]
    assert (criterion.value, criterion.n_clips) == (0.5, 40)
    assert not criterion.passed


def test_recall_of_a_genre_without_validation_clips_does_not_count(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    result = make_result("crnn")
    result.per_class.loc[len(result.per_class)] = ["validation", "Blues", 0.0, 0]
    assert judge(result, min_class_recall=0.6).failed == []


def test_calibration_error_has_a_maximum_beyond_what_chance_shows(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    few, many = make_result("crnn", n_clips=12), make_result("crnn", n_clips=1200)
    for result in (few, many):
        result.validation["ece"] = 0.26  # type: ignore[index]
    assert judge(few).failed == []
    assert judge(many).failed == ["max_ece"]


def test_model_that_is_certainly_worse_than_the_baseline_is_refused(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    network = make_result("crnn", wrong=range(60), log_loss=0.9)
    baseline = make_result("baseline", wrong=range(10), log_loss=0.3)
    gate = judge(network, baseline, baselines=["baseline"])
    assert gate.model == "baseline"
    of_network = next(candidate for candidate in gate.candidates if candidate.name == "crnn")
    assert of_network.failed == ["max_macro_f1_below_baseline"]
    assert "max_macro_f1_below_baseline" not in {criterion.name for criterion in gate.criteria}
    criterion = next(c for c in of_network.criteria if c.name == "max_macro_f1_below_baseline")
    assert "macro-F1 against the baseline's: 0.4167" in str(criterion)
    assert str(criterion).endswith(" lower] on 120 clips (not certainly lower)")


def test_model_that_is_better_than_the_baseline_is_told_so_in_words(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    network, baseline = make_result("crnn", wrong=range(10), log_loss=0.1), make_result("baseline", wrong=range(60))
    text = str(judge(network, baseline, baselines=["baseline"]))
    assert "  passed  macro-F1 against the baseline's: 0.4167" in text
    assert "higher" in text
    assert "-" not in text.split("baseline's")[1].split("\n")[0]


def test_next_candidate_is_tried_where_the_first_is_refused(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    first, second = make_result("ensemble", wrong=range(5), log_loss=0.1), make_result("crnn", wrong=range(20))
    gate = judge(second, first, max_size_mb=2)
    assert (gate.model, gate.verdict) == ("crnn", "passed")
    assert [candidate.name for candidate in gate.candidates] == ["ensemble", "crnn"]
    assert gate.notes[0] == "ensemble was tried first and fails max_size_mb"


def test_first_candidate_is_refused_where_none_passes(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    first, second = make_result("ensemble", wrong=range(5), log_loss=0.1), make_result("crnn", wrong=range(20))
    gate = judge(second, first, max_size_mb=0.1)
    assert (gate.model, gate.verdict) == ("ensemble", "refused")
    assert gate.notes == ["no candidate meets every criterion", "ensemble is selected: it has the highest macro-F1"]


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


@pytest.mark.parametrize(
    ("difference", "failed"),
    [(0.4, []), (10, []), (11, ["max_export_difference_ppm"]), (3e5, ["max_export_difference_ppm"])],
)
def test_network_in_onnx_must_answer_as_the_trained_one(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult], difference: float, failed: list[str]
) -> None:
    assert judge(make_result("crnn"), export_difference_ppm=difference).failed == failed


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
    assert str(criterion) == "passed  macro-F1 against the champion's: equal (not certainly lower)"
    assert apply_threshold(CriterionName.MAX_ECE, 0.123456, gate_params).value == 0.12
    # Half a step of float16 is not skew.
    assert apply_threshold(CriterionName.MAX_FEATURE_SKEW_DB, 0.03125, gate_params).value == 0.0


def test_gate_is_read_as_it_was_written_and_knows_its_evaluations(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult], tmp_path: Path
) -> None:
    results = make_result("crnn", wrong=range(9)), make_result("ensemble")
    gate = judge(*results, feature_skew_db=0.6)
    gate.write(tmp_path / "gate.json")
    read = read_gate(tmp_path / "gate.json")
    assert read == gate
    assert read.is_of(results)
    assert not read.is_of([results[0], make_result("ensemble", wrong=range(30))])
    assert not read.is_of(results[:1])


def test_text_has_a_line_for_each_criterion_with_its_bound(
    make_result: Callable[..., ModelResult], judge: Callable[..., GateResult]
) -> None:
    text = str(judge(make_result("crnn", macro_f1=0.25), size_mb=1.234, data_quality=False))
    assert text.splitlines()[0] == "gate: crnn refused"
    assert "  FAILED  macro-F1 on validation 0.25 [0.25, 0.25] on 120 clips (at least 0.3)" in text
    assert "  passed  size of the model in MB 1.23 (at most 50)" in text
    assert "  FAILED  data checks\n" in text
