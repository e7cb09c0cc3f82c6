"""The API's bodies, as its OpenAPI page describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from music_genre.audio.kinds import SUPPORTED_FORMATS
from music_genre.inference.batch import MAX_DURATION_S
from music_genre.inference.predictor import ClipBatch, format_prediction
from music_genre.models.bundle import Answer
from music_genre.service.errors import HEADERS_BY_STATUS, STATUS_BY_CODE, ErrorCode
from music_genre.service.observability import request_context
from music_genre.service.served_model import ServedModel
from music_genre.service.uploads import MAX_BYTES, MAX_SMALL_BYTES
from music_genre.validation.request_log import REQUEST_ID_PATTERN

PROBABILITIES = {"Electronic": 0.04, "Folk": 0.06, "Hip-Hop": 0.19, "Rock": 0.71}


class GenreChanges(BaseModel):
    """How the genres that a version predicts differ from those of an earlier one."""

    since: str = Field(description="The earlier version.", examples=["2"])
    new: list[str] = Field(examples=[["Jazz"]])
    gone: list[str] = Field(examples=[[]])


class ModelName(BaseModel):
    """The model that made a prediction."""

    name: str = Field(examples=["music-genre"])
    version: str = Field(examples=["3"])
    genre_changes: GenreChanges | None = Field(
        default=None, description="Only where the genres are others than those of the version that was served before."
    )


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
    edge: bool = Field(
        default=False,
        description="Only where true: the recording begins or ends here, so that the model heard more of the audio on"
        " one side of the segment than on the other.",
    )


class ChallengerPrediction(BaseModel):
    """What the version in shadow mode predicts for the same recording."""

    version: str = Field(examples=["4"])
    genre: str = Field(examples=["Rock"])
    confidence: float = Field(ge=0, le=1, examples=[0.66])
    probabilities: dict[str, float] = Field(description="Of every genre that it predicts.", examples=[PROBABILITIES])


class Explanation(BaseModel):
    """What the prediction depends on, found by occlusion: the clip that supports the genre most, once without each
    block of time and band.
    """

    genre: str = Field(examples=["Rock"])
    probability: float = Field(ge=0, le=1, description="Of `genre`, for the whole clip.", examples=[0.83])
    time_edges_seconds: list[float] = Field(description="Borders of the blocks.", examples=[[0.0, 14.9, 29.7]])
    band_edges_hz: list[float] = Field(description="Borders of the blocks.", examples=[[0.0, 1500.0, 11025.0]])
    drops: list[list[float]] = Field(
        description="By time, then by band: how much `probability` drops without the block; negative where it rises.",
        examples=[[[0.31, 0.02], [0.1, -0.04]]],
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
    challenger: ChallengerPrediction | None = Field(
        default=None, description="Only with `compare=true`, in shadow mode, where there is a challenger."
    )
    explanation: Explanation | None = Field(default=None, description="Only with `explain=true`.")
    model: ModelName
    request_id: str = Field(
        description="As in the header `X-Request-Id`.", examples=["5f0c1d5d8a5f4b0fb6b2f7a1f1b0a3c9"]
    )


class FeedbackRequest(BaseModel):
    """Which genre the recording of a request has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: str = Field(
        pattern=f"^{REQUEST_ID_PATTERN.pattern}$",
        description="Of the prediction.",
        examples=["5f0c1d5d8a5f4b0fb6b2f7a1f1b0a3c9"],
    )
    genre: str = Field(
        description="The right genre, one that the model predicts; `right`: the predicted one.", examples=["Rock"]
    )


class Feedback(BaseModel):
    """Feedback as it was recorded; a later one on the same request takes its place."""

    request_id: str
    version: str = Field(description="Of the model that predicted.", examples=["3"])
    predicted: str = Field(examples=["Folk"])
    genre: str = Field(description="The right one.", examples=["Rock"])
    right: bool = Field(description="Whether `predicted` is `genre`.", examples=[False])


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: ErrorCode
    message: str


class ErrorResponse(BaseModel):
    """The body of every response with a status of 400 or more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": {"code": "silent", "message": "..."}}]})

    error: ErrorDetail


def build_response(
    clips: ClipBatch, answer: Answer, spans: Answer | None, served: ServedModel, timeline: bool
) -> dict[str, Any]:
    """The prediction as the API returns it."""
    context = request_context.get()
    return {
        **format_prediction(
            clips,
            answer,
            served.manifest,
            served.confidence_threshold,
            timeline,
            spans.probabilities if spans else None,
        ),
        "model": {
            "name": served.name,
            "version": served.version,
            **({"genre_changes": served.genre_changes} if served.genre_changes else {}),
        },
        "request_id": context.request_id if context else "",
    }


def _flag(what: str) -> dict[str, Any]:
    """A form field that asks for more."""
    description = f"Whether to return {what}, too."
    return {"type": "string", "enum": ["true", "false"], "default": "false", "description": description}


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
                        "timeline": _flag("the prediction of each segment"),
                        "compare": _flag("the prediction of the challenger"),
                        "explain": _flag("what the prediction depends on"),
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

# The body of ``POST /feedback``, which is read by hand, too.
FEEDBACK: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}}}
}

# By code: what the errors with its status have in common, and an example of a message.
_EXAMPLES = {
    ErrorCode.UNAUTHORIZED: ("The API key is missing or wrong.", "send the API key as `Authorization: Bearer ...`"),
    ErrorCode.TOO_SLOW: ("The upload timed out.", "upload timed out: less than 200 kB in 20 s, and not complete"),
    ErrorCode.TOO_LONG: ("The file is too large or the recording too long.", "1043 s; the maximum duration is 900 s"),
    ErrorCode.UNSUPPORTED: ("The request is not a form with one file.", "no complete file in the form field audio"),
    ErrorCode.NOT_FOUND: ("The request is not known, or the service takes no feedback.", "no prediction with this id"),
    ErrorCode.TOO_LARGE: ("The body is too large.", f"the maximum size of a request is {MAX_SMALL_BYTES} bytes"),
    ErrorCode.INVALID: ("The body is not as expected.", 'no genre "Rok"; expected "right" or one of Folk, Rock'),
    ErrorCode.RATE_LIMITED: ("Too much feedback.", "more than 60 requests a minute; try again in 3 s"),
    ErrorCode.FAILED: ("The feedback cannot be stored.", "the feedback cannot be written; try again later"),
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
