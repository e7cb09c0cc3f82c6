"""Temperature scaling: probabilities that are right as often as they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CALIBRATION = "calibration.json"  # beside a trained model
EPS = 1e-7  # probabilities are clipped to this before a logarithm is taken


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) probabilities to the power 1 / temperature, normalized: below 1 sharpens, above 1 softens.

    Temperature scaling (Guo et al., ICML 2017), applied to log-probabilities.
    """
    logits = np.log(np.clip(probabilities, EPS, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    """The temperature in [1/8, 8] with the least log loss.

    Args:
        probabilities: (n, classes).
        labels: (n,) int64, the true classes.
        smoothing: fraction of a target that is spread over the other classes, so that a few answers that are all right
            do not make the next ones certain: Platt (1999) takes 1 / (n + 2).
    """
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        logs = np.log(np.clip(scaled, EPS, 1))
        true = logs[np.arange(len(labels)), labels]
        others = (logs.sum(axis=1) - true) / max(1, logs.shape[1] - 1)
        return float(-((1 - smoothing) * true + smoothing * others).mean())

    bound = float(np.log(8))
    return float(np.exp(minimize_scalar(log_loss, bounds=(-bound, bound), method="bounded").x))


def calibrate(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that calibrates a model on validation's clips: smoothed as by Platt, because these may be few.
    Arguments as for ``fit_temperature``.
    """
    return fit_temperature(probabilities, labels, 1 / (len(labels) + 2))


def write_temperature(folder: Path, temperature: float) -> None:
    """Store the temperature of a trained model's probabilities in its folder."""
    (folder / CALIBRATION).write_text(json.dumps({"temperature": temperature}) + "\n", encoding="utf-8")


def read_temperature(folder: Path) -> float:
    """What ``write_temperature`` stored.

    Raises:
        FileNotFoundError: nothing was stored.
    """
    return float(json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))["temperature"])
