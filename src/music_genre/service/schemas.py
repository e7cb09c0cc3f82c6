"""The API's bodies, as its OpenAPI page describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from music_genre.audio.kinds import SUPPORTED_FORMATS
from music_genre.features.params import MelConfig
from music_genre.inference.batch import MAX_DURATION_S
from music_genre.service.errors import HEADERS_BY_STATUS, STATUS_BY_CODE, ErrorCode
from music_genre.service.uploads import MAX_BYTES

PROBABILITIES = {"Electronic": 0.04, "Folk": 0.06, "Hip-Hop": 0.19, "Rock": 0.71}


class ModelName(BaseModel):
    """The model that made a prediction."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])


class Note(BaseModel):
    """Something about the audio that may make a prediction worse."""

    code: str = Field(examples=["band_limited"])
    message: str


class Tag(BaseModel):
    """One of a pretrained encoder's own tags."""

    tag: str = Field(examples=["electronic"])
    probability: float = Field(ge=0, le=1, description="Tags do not exclude each other.", examples=[0.47])


class Segment(BaseModel):
    """The prediction of a part of a recording."""

    start_seconds: float = Field(examples=[0.0])
    end_seconds: float = Field(examples=[29.7])
    genre: str = Field(examples=["Rock"])
    probabilities: dict[str, float] = Field(
        description="Of every genre, in label order; they sum to 1.", examples=[PROBABILITIES]
    )


class Prediction(BaseModel):
    """The prediction of a recording."""

    genre: str = Field(examples=["Rock"])
    confidence: float = Field(ge=0, le=1, description="Calibrated probability of `genre`.", examples=[0.71])
    confident: bool = Field(
        description="Whether `confidence` reaches the threshold that was chosen on validation.", examples=[True]
    )
    probabilities: dict[str, float] = Field(
        description="Of every genre, in label order; they sum to 1.", examples=[PROBABILITIES]
    )
    duration_seconds: float = Field(description="Of the recording.", examples=[30.0])
    notes: list[Note] = Field(default_factory=list, description="Only where there is something to note.")
    tags: list[Tag] = Field(
        default_factory=list, description="The likeliest, only where the model has an encoder that tags."
    )
    segments: list[Segment] = Field(default_factory=list, description="Only with `timeline=true`.")
    model: ModelName
    request_id: str = Field(
        description="As in the header `X-Request-Id`.", examples=["5f0c1d5d8a5f4b0fb6b2f7a1f1b0a3c9"]
    )


class ModelInfo(BaseModel):
    """The model that is served."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])
    genres: list[str] = Field(examples=[list(PROBABILITIES)])
    transform: MelConfig | None = Field(description="How spectrograms are made of audio.")
    metrics: dict[str, float] = Field(examples=[{"validation_macro_f1": 0.52, "test_macro_f1": 0.49}])


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: ErrorCode
    message: str


class ErrorResponse(BaseModel):
    """The body of every response with a status of 400 or more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": {"code": "silent", "message": "..."}}]})

    error: ErrorDetail


# The body of ``POST /predict``: it is read by hand, within limits, so that FastAPI cannot describe it.
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
                            "description": f"A clip or a song: {SUPPORTED_FORMATS};"
                            f" up to {MAX_DURATION_S / 60:g} minutes and {MAX_BYTES // 2**20} MiB.",
                        },
                        "timeline": {
                            "type": "string",
                            "enum": ["true", "false"],
                            "default": "false",
                            "description": "Whether to return the prediction of each segment, too.",
                        },
                    },
                },
                "encoding": {"audio": {"contentType": "audio/*, application/octet-stream"}},
                "examples": {
                    "clip": {"summary": "A clip", "value": {"audio": "@clip.mp3"}},
                    "song": {"summary": "A song with segments", "value": {"audio": "@song.flac", "timeline": "true"}},
                },
            }
        },
    }
}

# By code: what the errors with its status have in common, and an example of a message.
_EXAMPLES = {
    ErrorCode.UNAUTHORIZED: ("The API key is missing or wrong.", "send the API key as `Authorization: Bearer ...`"),
    ErrorCode.TOO_SLOW: ("The upload timed out.", "upload timed out: no data for 1.5 s"),
    ErrorCode.TOO_LONG: ("The file is too large or the recording too long.", "1043 s; the maximum duration is 900 s"),
    ErrorCode.UNSUPPORTED: ("The request is not a form with one file.", "no file in the form field audio"),
    ErrorCode.SILENT: ("The audio cannot be used.", "no sound above -80 dBFS"),
    ErrorCode.BUSY: ("Too many requests, or no model yet; try again.", "server busy: 32 concurrent requests"),
}


def error_responses(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI descriptions of the errors with these codes, and of all with the same statuses."""
    return {STATUS_BY_CODE[code]: _describe_error(code) for code in codes}


def _describe_error(code: ErrorCode) -> dict[str, Any]:
    description, message = _EXAMPLES[code]
    headers = {
        name: {"schema": {"type": "string"}, "example": value}
        for name, value in HEADERS_BY_STATUS.get(STATUS_BY_CODE[code], {}).items()
    }
    return {
        "model": ErrorResponse,
        "description": description,
        "content": {"application/json": {"example": {"error": {"code": code, "message": message}}}},
        **({"headers": headers} if headers else {}),
    }
