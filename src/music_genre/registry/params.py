"""The section ``registry`` of ``params.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from music_genre.config import ParamsModel, read_yaml, validate

ZeroToOne = Annotated[float, Field(ge=0, le=1)]


class GateParams(ParamsModel):
    """What the selected model must reach to pass the gate.

    Metrics are those on validation; one fails its threshold only where its whole 95 % interval lies beyond it.

    Args:
        min_macro_f1: lowest macro-F1.
        min_class_recall: lowest recall of any genre.
        max_ece: highest expected calibration error, beyond what a calibrated model shows by chance on as few clips.
        max_macro_f1_below_baseline: how far macro-F1 may be below the classical baseline's on the same clips.
        max_macro_f1_drop: how far macro-F1 may be below the champion's on the same clips.
        max_feature_skew_db: largest difference between features by the model's transform and the stored ones.
        max_export_difference_ppm: largest difference of a probability, in parts per million, between a model in
            ONNX, which answers, and as it was trained.
        max_size_mb: largest size of the bundle.
        max_latency_ms: longest forward pass of one clip on the machine that registers.
    """

    min_macro_f1: ZeroToOne
    min_class_recall: ZeroToOne
    max_ece: ZeroToOne
    max_macro_f1_below_baseline: ZeroToOne
    max_macro_f1_drop: ZeroToOne
    max_feature_skew_db: Annotated[float, Field(ge=0)]
    max_export_difference_ppm: Annotated[float, Field(ge=0)]
    max_size_mb: Annotated[float, Field(gt=0)]
    max_latency_ms: Annotated[float, Field(gt=0)]


class RegistryParams(ParamsModel):
    """The section ``registry``.

    Args:
        name: of the registered model, as both MLflow and BentoML take it.
        max_macro_f1_cost: how much lower macro-F1 of a smaller model may be than the best one's, one standard error
            included, so that the smaller one is selected.
        gate: thresholds of the gate.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=63)]
    max_macro_f1_cost: ZeroToOne
    gate: GateParams


class _RegistrySection(ParamsModel):
    model_config = ConfigDict(extra="ignore")

    registry: RegistryParams


def load_registry_params(path: Path) -> RegistryParams:
    """The section ``registry`` alone: ``load_params`` imports all data sets and models for the others.

    Raises:
        MusicGenreError: see ``load_params``, of this section.
    """
    return validate(_RegistrySection, read_yaml(path), path).registry
