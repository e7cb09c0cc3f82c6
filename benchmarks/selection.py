"""How often the gate's rule selects the right model, where the truth is known: five models of known accuracy, on as
many validation clips as people have. The reference is the rule of version 0.1: the smallest model whose macro-F1 is not
significantly below the best one's, on fixed floors.

A model's logits are those of a Gaussian classifier whose true class is shifted by as much as its accuracy asks for;
half of the noise is shared by all models, because they see the same clips. Each is then made over- or underconfident by
a factor that is lognormal with a deviation of 0.3, and calibrated on validation, as the pipeline does. Regret is the
difference of the accuracies of the best and the selected model, in points. "Refused" is the share of draws in which no
model is passed; every model here is a good one. Intervals are of the percentile bootstrap or normal, which takes a
hundredth of the time of the pipeline's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from timing import table, write

from music_genre.evaluation import metrics
from music_genre.evaluation.results import ModelResult
from music_genre.models.calibration import apply_temperature, calibrate
from music_genre.params import load_params
from music_genre.registry.criteria import metric_criteria
from music_genre.registry.selection import rank, validation_difference

N_DRAWS, N_CLASSES, N_MODELS = 1000, 8, 5
CLIPS, SPREADS = (20, 50, 100, 200, 800), (0.05, 0.1, 0.2)
CENTRE = 0.55  # accuracies are uniform within a spread about it
SHARED_NOISE = 0.5  # of the variance
MISCALIBRATION = 0.3
GENRES = tuple(f"genre {number}" for number in range(N_CLASSES))
REGISTRY = load_params(Path(__file__).parents[1] / "params.yaml").registry
GATE = REGISTRY.gate


@dataclass(frozen=True)
class Draw:
    """A draw of models and clips.

    Args:
        accuracy: (models,) the truth.
        size_mb: (models,) of each model, without regard to its accuracy.
        results: their evaluations.
    """

    accuracy: np.ndarray
    size_mb: dict[str, float]
    results: list[ModelResult]


def shifts() -> Callable[[np.ndarray], np.ndarray]:
    """From accuracies to the shifts of the true class's logit that have them."""
    grid = np.linspace(0.0, 5.0, 101)
    noise = np.random.default_rng(0).normal(size=(200_000, N_CLASSES))
    best_other = noise[:, 1:].max(axis=1)
    accuracy = [float(np.mean(noise[:, 0] + shift > best_other)) for shift in grid]
    return lambda wanted: np.interp(wanted, accuracy, grid)


def draw(rng: np.random.Generator, n_clips: int, spread: float, shift_of: Callable[[np.ndarray], np.ndarray]) -> Draw:
    """Models, and what they predict for clips."""
    accuracy = CENTRE + rng.uniform(-spread, spread, N_MODELS)
    labels, shared = np.arange(n_clips) % N_CLASSES, rng.normal(size=(n_clips, N_CLASSES))
    results, names = [], [f"model {number}" for number in range(N_MODELS)]
    for name, shift in zip(names, shift_of(accuracy), strict=True):
        own = rng.normal(size=shared.shape)
        logits = np.sqrt(SHARED_NOISE) * shared + np.sqrt(1 - SHARED_NOISE) * own
        logits[np.arange(n_clips), labels] += shift
        # Of such logits the softmax of ``shift`` times them is calibrated.
        scaled = shift * np.exp(rng.normal(0, MISCALIBRATION)) * logits
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        temperature = calibrate(probabilities, labels)
        results.append(evaluate(name, labels, apply_temperature(probabilities, temperature)))
    sizes = rng.permutation(N_MODELS) + 1.0
    return Draw(accuracy, dict(zip(names, sizes.tolist(), strict=True)), results)


def evaluate(name: str, labels: np.ndarray, probabilities: np.ndarray) -> ModelResult:
    """What the pipeline measures of a model on validation."""
    predictions = metrics.predictions(np.arange(len(labels)), labels, probabilities, GENRES)
    predicted = probabilities.argmax(axis=1)
    macro_f1, low, high = percentile_interval(labels, predicted)
    values = {"macro_f1": macro_f1, "macro_f1_low": low, "macro_f1_high": high}
    values |= metrics.probability_scores(labels, probabilities)
    per_class = metrics.per_class(labels, probabilities, GENRES).assign(split="validation")
    return ModelResult(name, 1, {"validation": values}, per_class, predictions.assign(split="validation"))


def percentile_interval(labels: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Macro-F1 with its 95 % interval."""
    cells, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    resampled = np.random.default_rng(0).multinomial(len(labels), counts / len(labels), size=500)
    times = np.vstack([counts, resampled])
    values = metrics.macro_f1_of_counts(metrics.resampled_confusion(*cells, N_CLASSES, times))
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return float(values[0]), float(low), float(high)


def rule_of_0_1(drawn: Draw) -> tuple[int, bool]:
    """The model that version 0.1 selected, and whether its gate passed it."""

    def passes(result: ModelResult) -> bool:
        validation, recall = result.validation, result.validation_genres["recall"].min()
        return bool(validation["macro_f1"] >= GATE.min_macro_f1 and recall >= GATE.min_class_recall) and bool(
            validation["ece"] <= GATE.max_ece
        )

    eligible = [result for result in drawn.results if passes(result)] or drawn.results
    best = max(eligible, key=lambda result: result.validation["macro_f1"])
    for result in sorted(eligible, key=lambda result: drawn.size_mb[result.name]):
        if result is best or not is_significant(best, result):
            return drawn.results.index(result), passes(result)
    raise AssertionError


def is_significant(best: ModelResult, other: ModelResult) -> bool:
    """Whether the paired 95 % interval of the difference lies above 0."""
    difference, error = validation_difference(best, other, 0)
    return difference - 1.96 * error > 0


def present_rule(drawn: Draw) -> tuple[int, bool]:
    """The model that the gate selects, and whether it passes."""
    baseline, first = drawn.results[0], None
    for result, _ in rank(drawn.results, drawn.size_mb, REGISTRY.max_macro_f1_cost, 0):
        first = result if first is None else first
        if all(criterion.passed for criterion in metric_criteria(result, GATE)) and (
            result is baseline or not is_significant(baseline, result)
        ):
            return drawn.results.index(result), True
    return drawn.results.index(first), False


def measure(work: tuple[float, int, int]) -> list[list[str]]:
    """A row for each rule: spread of the accuracies, clips, draws."""
    spread, n_clips, n_draws = work
    rng, shift_of = np.random.default_rng((n_clips, int(1000 * spread))), shifts()
    draws = [draw(rng, n_clips, spread, shift_of) for _ in range(n_draws)]
    rows, of_reference = [], 0.0
    for name, rule in (("0.1", rule_of_0_1), ("present", present_rule)):
        selected = [rule(drawn) for drawn in draws]
        chosen = list(zip(draws, selected, strict=True))
        regret = 100 * np.array([drawn.accuracy.max() - drawn.accuracy[number] for drawn, (number, _) in chosen])
        of_reference = of_reference or regret.mean()
        shares = (
            np.mean(regret == 0),
            np.mean(regret <= 2),
            np.mean([drawn.accuracy.argmin() == number for drawn, (number, _) in chosen]),
            np.mean([not passed for _, (_, passed) in chosen]),
        )
        error = 1.96 * regret.std() / np.sqrt(n_draws)
        cells = [f"{100 * CENTRE:.0f} ± {100 * spread:.0f}", str(n_clips), name, f"{regret.mean():.2f} ± {error:.2f}"]
        rows.append([*cells, f"{regret.mean() / of_reference:.2f}", *(f"{share:.1%}" for share in shares)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    clips, spreads, n_draws = (CLIPS[:1], SPREADS[:1], 10) if quick else (CLIPS, SPREADS, N_DRAWS)
    work = [(spread, n_clips, n_draws) for spread in spreads for n_clips in clips]
    with Pool() as pool:
        rows = [row for rows in pool.imap(measure, work) for row in rows]
    header = ("accuracies, %", "clips", "rule", "regret, points", "times 0.1", "best", "within 2", "worst", "refused")
    write("selection", f"{N_DRAWS:,} draws each.", table(header, rows), quick=quick)


if __name__ == "__main__":
    main()
