"""Average of several models' calibrated probabilities, itself calibrated by one more temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EPS = 1e-7  # probabilities are clipped to this before a logarithm is taken


def average(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over models.

    Args:
        probabilities: (models, n, classes), rows sum to 1.
        weights: (models,), any positive scale.

    Returns:
        (n, classes), rows sum to 1.
    """
    return np.tensordot(weights / weights.sum(), probabilities, axes=1)


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) probabilities to the power 1 / temperature, normalized: below 1 sharpens, above 1 softens.

    Temperature scaling (Guo et al., ICML 2017), applied to log-probabilities.
    """
    logits = np.log(np.clip(probabilities, EPS, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def combine(
    probabilities: Sequence[np.ndarray], weights: Sequence[float], temperatures: Sequence[float], temperature: float
) -> np.ndarray:
    """(n, classes) float32 probabilities of an ensemble.

    Args:
        probabilities: (n, classes) of each member.
        weights: of each member.
        temperatures: of each member, before averaging.
        temperature: of the average.
    """
    calibrated = [apply_temperature(p, t) for p, t in zip(probabilities, temperatures, strict=True)]
    return apply_temperature(average(np.stack(calibrated), np.array(weights)), temperature).astype(np.float32)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [1/8, 8] with the least log loss.

    Args:
        probabilities: (n, classes).
        labels: (n,) int64, the true classes.
    """
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(scaled[np.arange(len(labels)), labels], EPS, 1)).mean())

    bound = float(np.log(8))
    return float(np.exp(minimize_scalar(log_loss, bounds=(-bound, bound), method="bounded").x))


def fit_temperatures(probabilities: Sequence[np.ndarray], labels: np.ndarray) -> tuple[list[float], float]:
    """The temperature of each model, and that of their equal-weight average: averages of calibrated models are
    underconfident.

    Args:
        probabilities: (n, classes) of each model.
        labels: (n,) int64, the true classes.
    """
    temperatures = [fit_temperature(own, labels) for own in probabilities]
    calibrated = [apply_temperature(p, t) for p, t in zip(probabilities, temperatures, strict=True)]
    return temperatures, fit_temperature(np.mean(calibrated, axis=0), labels)
