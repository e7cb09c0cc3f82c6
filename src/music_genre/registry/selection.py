"""Select among models by their predictions for validation's clips, however few these are.

Absence of evidence is no evidence: that one model is not *significantly* better than another says little on some dozen
clips. So the best model is selected, and a smaller one in its place only where it is shown to be about as good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from music_genre.evaluation.metrics import macro_f1_difference
from music_genre.evaluation.results import ModelResult, align_predictions


class Selection(NamedTuple):
    """A selected model.

    Args:
        result: its evaluation.
        reason: why it is this one, in words.
    """

    result: ModelResult
    reason: str


def rank(
    results: Sequence[ModelResult], size_mb: Mapping[str, float], max_macro_f1_cost: float, seed: int
) -> Iterator[Selection]:
    """Every model, in the order in which they are tried: the selected one, then the one that is selected of the rest.

    Args:
        results: the models' evaluations.
        size_mb: of each model's bundle.
        max_macro_f1_cost: what a smaller model may cost.
        seed: of the bootstrap.
    """
    rest = list(results)
    while rest:
        selection = select(rest, size_mb, max_macro_f1_cost, seed)
        yield selection if len(rest) == len(results) else selection._replace(reason=f"of the rest, {selection.reason}")
        rest = [result for result in rest if result is not selection.result]


def select(
    results: Sequence[ModelResult], size_mb: Mapping[str, float], max_macro_f1_cost: float, seed: int
) -> Selection:
    """The model that is best by the evidence, or a smaller one that is shown to be about as good.

    The best is the one with the lowest log loss among those whose macro-F1 is within one standard error of the highest:
    log loss tells models apart with fewer clips, because it uses how sure they are. The smallest model replaces it
    whose macro-F1 is lower by at most ``max_macro_f1_cost``, one standard error included. Both errors are of paired
    differences. Where models are equally large, the better one stays.

    Args:
        results: at least one.
        size_mb: of each model's bundle.
        max_macro_f1_cost: what a smaller model may cost.
        seed: of the bootstrap.
    """
    highest = max(results, key=lambda result: (result.validation["macro_f1"], -result.validation["log_loss"]))
    within = [result for result in results if result is highest or _is_within(highest, result, seed)]
    best = min(within, key=lambda result: result.validation["log_loss"])
    smaller = sorted((r for r in results if size_mb[r.name] < size_mb[best.name]), key=lambda r: size_mb[r.name])
    for result in smaller:
        cost, error = validation_difference(best, result, seed)
        if cost + error <= max_macro_f1_cost:
            reason = (
                f"it is smaller than {best.name} ({size_mb[result.name]:.2f} MB, not {size_mb[best.name]:.2f}) and"
                f" costs {cost:.3f} macro-F1, {max_macro_f1_cost:g} at most with one standard error ({error:.3f})"
            )
            return Selection(result, reason)
    if best is highest:
        is_alone = all(r.validation["macro_f1"] < best.validation["macro_f1"] for r in results if r is not best)
        return Selection(best, f"it has the highest macro-F1{'' if is_alone else ' and the lowest log loss'}")
    difference, error = validation_difference(highest, best, seed)
    reason = (
        f"its macro-F1 is within one standard error ({error:.3f}) of {highest.name}'s, which is {difference:.3f}"
        " higher, and its log loss is lower"
    )
    return Selection(best, reason)


def validation_difference(first: ModelResult, second: ModelResult, seed: int) -> tuple[float, float]:
    """How far macro-F1 on validation of ``first`` lies above that of ``second``, and the standard error of that."""
    actual, a, b = align_predictions(first.validation_predictions, second.validation_predictions)
    return macro_f1_difference(actual, a, b, seed)


def _is_within(highest: ModelResult, result: ModelResult, seed: int) -> bool:
    difference, error = validation_difference(highest, result, seed)
    return difference <= error
