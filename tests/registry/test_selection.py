"""Which model is selected: the best by the evidence, or a smaller one that is shown to be about as good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from music_genre.evaluation.results import ModelResult
from music_genre.registry.selection import Selection, rank, select

SEED = 7
SIZE_MB = {"parallel": 0.5, "crnn": 1.0, "baseline": 2.0, "ensemble": 3.0}


def selected(*results: ModelResult, cost: float = 0.02) -> Selection:
    return select(results, SIZE_MB, cost, SEED)


def test_smaller_model_that_is_shown_to_be_about_as_good_is_selected(make_result: Callable[..., ModelResult]) -> None:
    small = make_result("crnn", wrong=range(121), n_clips=1200, log_loss=0.4)
    large = make_result("ensemble", wrong=range(120), n_clips=1200, log_loss=0.3)
    for results in ((small, large), (large, small)):
        assert selected(*results).result is small
    assert selected(small, large).reason.startswith("it is smaller than ensemble (1.00 MB, not 3.00) and costs 0.00")


def test_smaller_model_is_not_selected_because_few_clips_cannot_tell_it_apart(
    make_result: Callable[..., ModelResult],
) -> None:
    # Of 21 clips 8 against 5 are wrong: not significant, and no reason to take the worse one.
    small = make_result("parallel", wrong=range(8), n_clips=21, log_loss=0.9)
    large = make_result("ensemble", wrong=range(5), n_clips=21, log_loss=0.8)
    assert selected(small, large).result is large
    assert selected(small, large).reason == "it has the highest macro-F1"


def test_equal_answers_for_few_clips_do_not_make_models_equally_good(make_result: Callable[..., ModelResult]) -> None:
    small = make_result("crnn", wrong=range(5), n_clips=21, log_loss=0.9)
    large = make_result("ensemble", wrong=range(5), n_clips=21, log_loss=0.8)
    assert selected(small, large).result is large


def test_log_loss_decides_among_models_whose_macro_f1_is_within_one_standard_error(
    make_result: Callable[..., ModelResult],
) -> None:
    surer = make_result("ensemble", wrong=range(6), n_clips=21, log_loss=0.5)
    highest = make_result("baseline", wrong=range(2, 7), n_clips=21, log_loss=0.9)
    selection = selected(highest, surer)
    assert selection.result is surer
    assert "of baseline's, which is 0.0" in selection.reason
    assert "its log loss is lower" in selection.reason


def test_reason_tells_of_equal_macro_f1(make_result: Callable[..., ModelResult]) -> None:
    surer, other = make_result("crnn", wrong=range(6), log_loss=0.4), make_result("parallel", wrong=range(6))
    assert selected(other, surer, cost=0.0).reason == "it has the highest macro-F1 and the lowest log loss"


def test_log_loss_does_not_outweigh_a_macro_f1_that_is_clearly_lower(make_result: Callable[..., ModelResult]) -> None:
    surer = make_result("ensemble", wrong=range(60), log_loss=0.1)
    highest = make_result("baseline", wrong=range(10), log_loss=0.9)
    assert selected(surer, highest).result is highest


def test_smallest_of_several_is_selected_that_are_about_as_good(make_result: Callable[..., ModelResult]) -> None:
    best = make_result("ensemble", wrong=range(100), n_clips=1200, log_loss=0.3)
    middle = make_result("crnn", wrong=range(102), n_clips=1200, log_loss=0.4)
    smallest = make_result("parallel", wrong=range(700), n_clips=1200, log_loss=0.9)
    assert selected(best, smallest, middle).result is middle
    assert selected(best, smallest, middle, cost=1.0).result is smallest


def test_worse_model_is_never_selected_for_being_larger_or_equally_large(
    make_result: Callable[..., ModelResult],
) -> None:
    best, worse = make_result("crnn", wrong=range(3), log_loss=0.3), make_result("ensemble", wrong=range(5))
    assert selected(worse, best, cost=1.0).result is best


def test_all_models_are_ranked_each_as_selected_among_the_rest(make_result: Callable[..., ModelResult]) -> None:
    results = [
        make_result(name, wrong=range(wrong), log_loss=wrong / 100)
        for name, wrong in (("parallel", 90), ("crnn", 50), ("baseline", 70), ("ensemble", 10))
    ]
    ranked = [selection.result.name for selection in rank(results, SIZE_MB, 0.02, SEED)]
    assert ranked == ["ensemble", "crnn", "baseline", "parallel"]


@pytest.mark.parametrize("seed", [1, 2])
def test_metrics_on_test_do_not_select(make_result: Callable[..., ModelResult], seed: int) -> None:
    small, large = make_result("crnn", wrong=range(60)), make_result("ensemble", wrong=range(10))
    small.metrics["test"]["macro_f1"], large.metrics["test"]["macro_f1"] = 0.99, 0.01
    assert select([small, large], SIZE_MB, 0.02, seed).result is large
