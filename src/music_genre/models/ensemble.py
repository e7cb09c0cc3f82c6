"""Average of several models' calibrated probabilities, itself calibrated by one more temperature; and its file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.models.calibration import apply_temperature
from music_genre.models.registry import ENSEMBLE


@dataclass(frozen=True)
class EnsembleMember:
    """One trained model in an average.

    Args:
        name: of the model.
        weight: of its probabilities in the average.
        temperature: of its probabilities, before they are averaged.
    """

    name: str
    weight: float
    temperature: float


def average(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over models.

    Args:
        probabilities: (models, n, classes), rows sum to 1.
        weights: (models,), any positive scale.

    Returns:
        (n, classes), rows sum to 1.
    """
    return np.tensordot(weights / weights.sum(), probabilities, axes=1)


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


def ensemble_file(models: Path) -> Path:
    """The file under ``models`` of the ensemble's members, weights and temperatures."""
    return models / ENSEMBLE / "ensemble.json"


def write_ensemble(models: Path, members: Sequence[EnsembleMember], temperature: float, genres: Sequence[str]) -> None:
    """Store an ensemble's members, the temperature of their average, and the genres in label order."""
    values = {"members": [asdict(member) for member in members], "temperature": temperature, "genres": list(genres)}
    path = ensemble_file(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_ensemble(models: Path) -> tuple[list[EnsembleMember], float]:
    """The ensemble's members and the temperature of their average, as ``write_ensemble`` stored them.

    Raises:
        MusicGenreError: nothing was stored.
    """
    file = ensemble_file(models)
    if not file.is_file():
        raise MusicGenreError(f"{file} is missing: `dvc repro` makes it, `dvc pull` fetches it")
    values = json.loads(file.read_text(encoding="utf-8"))
    return [EnsembleMember(**member) for member in values["members"]], float(values["temperature"])
