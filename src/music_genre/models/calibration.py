"""Temperature scaling: probabilities that are right as often as they say."""

from __future__ import annotations

import numpy as np

EPS = 1e-7  # probabilities are clipped to this before a logarithm is taken


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) probabilities to the power 1 / temperature, normalized: below 1 sharpens, above 1 softens.

    Temperature scaling (Guo et al., ICML 2017), applied to log-probabilities.
    """
    logits = np.log(np.clip(probabilities, EPS, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


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
