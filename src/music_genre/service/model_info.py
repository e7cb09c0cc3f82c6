"""The served model as ``GET /model`` describes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from music_genre.features.params import MelConfig
from music_genre.inference.batch import MAX_DURATION_S
from music_genre.service.schemas import PROBABILITIES
from music_genre.service.served_model import LoadedModel, ServedModel
from music_genre.service.uploads import MAX_BYTES
from music_genre.service.web import links_report


class ModelInfo(BaseModel):
    """The model that is served."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])
    genres: list[str] = Field(examples=[list(PROBABILITIES)])
    transform: MelConfig | None = Field(description="How spectrograms are made of audio.")
    metrics: dict[str, float] = Field(examples=[{"validation_macro_f1": 0.52, "test_macro_f1": 0.49}])
    feedback: bool = Field(description="Whether the service takes feedback.")
    confidence_threshold: float = Field(description="The least confidence of a confident prediction.", examples=[0.62])
    data_source: str | None = Field(
        description="What it was trained on, `data.source` of its params; `sample` is synthesized audio.",
        examples=["fma"],
    )
    challenger: str | None = Field(description="The version in shadow mode.", examples=["4"])
    card: bool = Field(description="Whether `GET /model/card` has a model card.")
    report: bool = Field(description="Whether `GET /report` shows the project's last run, without a key.")
    min_duration_seconds: float = Field(description="Of a recording.", examples=[10.0])
    max_duration_seconds: float = Field(description="Of a recording.", examples=[MAX_DURATION_S])
    max_bytes: int = Field(description="Of a request.", examples=[MAX_BYTES])


def build_model_info(served: ServedModel, feedback: bool, challenger: LoadedModel | None) -> dict[str, Any]:
    """The description of the served model as the API returns it."""
    transform = served.manifest.transform
    return {
        "name": served.name,
        "version": served.version,
        "genres": served.manifest.genres,
        "transform": transform.model_dump() if transform else None,
        "metrics": served.metrics,
        "feedback": feedback,
        "confidence_threshold": served.confidence_threshold,
        "data_source": served.data_source or None,
        "challenger": challenger.version if challenger else None,
        "card": bool(served.card),
        "report": links_report(),
        "min_duration_seconds": served.manifest.min_duration_s,
        "max_duration_seconds": MAX_DURATION_S,
        "max_bytes": MAX_BYTES,
    }
