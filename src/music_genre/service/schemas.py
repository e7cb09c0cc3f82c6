"""What the API takes and gives, as its OpenAPI page shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from music_genre.features.mel import MelConfig

Code = Literal[
    "undecodable",
    "empty",
    "too_short",
    "too_long",
    "too_large",
    "too_slow",
    "silent",
    "unsupported",
    "unauthorized",
    "busy",
    "not_found",
    "not_allowed",
    "failed",
]

PROBABILITIES = {"Electronic": 0.04, "Folk": 0.06, "Hip-Hop": 0.19, "Rock": 0.71}


class ModelName(BaseModel):
    """Which model answered."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])


class Segment(BaseModel):
    """One part of a song."""

    start_seconds: float = Field(examples=[0.0])
    end_seconds: float = Field(examples=[29.7])
    genre: str = Field(examples=["Rock"])
    probabilities: dict[str, float] = Field(description="One a genre; they sum to 1.", examples=[PROBABILITIES])


class Answer(BaseModel):
    """A recording's genre."""

    genre: str = Field(examples=["Rock"])
    confidence: float = Field(ge=0, le=1, description="Calibrated probability of `genre`.", examples=[0.71])
    confident: bool = Field(description="False where the answer is little better than a guess.", examples=[True])
    probabilities: dict[str, float] = Field(description="One a genre; they sum to 1.", examples=[PROBABILITIES])
    seconds: float = Field(description="Length of the recording.", examples=[30.0])
    segments: list[Segment] = Field(default_factory=list, description="Only with `timeline=true`.")
    model: ModelName


class Description(BaseModel):
    """The model that answers."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])
    genres: list[str] = Field(examples=[list(PROBABILITIES)])
    transform: MelConfig | None = Field(description="What makes spectrograms of audio.")
    metrics: dict[str, float] = Field(examples=[{"validation_macro_f1": 0.52, "test_macro_f1": 0.49}])


class Problem(BaseModel):
    """What is wrong."""

    code: Code
    message: str


class Refusal(BaseModel):
    """An answer that says why not."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": {"code": "silent", "message": "..."}}]})

    error: Problem


UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["audio"],
                    "properties": {
                        "audio": {
                            "type": "string",
                            "format": "binary",
                            "description": "A clip or a song: wav, mp3, flac, ogg, opus, aiff, au; up to 15 minutes"
                            " and 50 MiB.",
                        },
                        "timeline": {
                            "type": "string",
                            "enum": ["true", "false"],
                            "default": "false",
                            "description": "Whether each part of a song is wanted, too.",
                        },
                    },
                },
                "encoding": {"audio": {"contentType": "audio/*, application/octet-stream"}},
                "examples": {
                    "clip": {"summary": "A clip", "value": {"audio": "@clip.mp3"}},
                    "song": {"summary": "A song and its parts", "value": {"audio": "@song.flac", "timeline": "true"}},
                },
            }
        },
    }
}
"""The body of ``POST /predict``: it is read by hand, within limits, so the framework cannot tell."""

_REFUSED = {
    401: ("The API key is missing or wrong.", "unauthorized", "send the API key as `Authorization: Bearer ...`"),
    408: ("The body stalls.", "too_slow", "the body did not arrive: nothing more came for 1.5 s"),
    413: ("The file is too large, or the recording too long.", "too_long", "more than 900 s"),
    415: ("The request is no form with one file.", "unsupported", "no file in the form field audio"),
    422: ("The audio cannot be used.", "silent", "no sound above -80 dBFS"),
    503: ("Too many requests wait, or no model answers; try again.", "busy", "32 requests are at work already"),
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the page says about answers with these statuses."""
    return {
        status: {
            "model": Refusal,
            "description": _REFUSED[status][0],
            "content": {
                "application/json": {
                    "example": {"error": {"code": _REFUSED[status][1], "message": _REFUSED[status][2]}}
                }
            },
            **(
                {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}}
                if status == 503
                else {}
            ),
        }
        for status in statuses
    }
