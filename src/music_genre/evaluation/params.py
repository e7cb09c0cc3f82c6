"""The section ``evaluation`` of ``params.yaml``."""

from __future__ import annotations

from music_genre.config import ParamsModel, PositiveFraction


class EvaluationParams(ParamsModel):
    """The section ``evaluation``.

    Args:
        target_selective_accuracy: accuracy that the predictions called confident must reach on validation.
    """

    target_selective_accuracy: PositiveFraction
