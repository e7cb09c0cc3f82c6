"""Errors as the API returns them: ``{"error": {"code": ..., "message": ...}}`` with a status."""

from __future__ import annotations

from enum import StrEnum

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.service.observability import request_context

RETRY_AFTER_S = 1
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that closed the connection before the response


class ErrorCode(StrEnum):
    """The codes of the API."""

    UNDECODABLE = IssueReason.UNDECODABLE
    EMPTY = IssueReason.EMPTY
    SILENT = IssueReason.SILENT
    TOO_SHORT = "too_short"
    TOO_LONG = IssueReason.TOO_LONG
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNSUPPORTED = IssueReason.UNSUPPORTED
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    INVALID = "invalid"
    DISABLED = "disabled"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    FAILED = "failed"


STATUS_BY_CODE = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.DISABLED: 404,
    ErrorCode.NOT_ALLOWED: 405,
    ErrorCode.TOO_SLOW: 408,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.TOO_LONG: 413,
    ErrorCode.UNSUPPORTED: 415,
    ErrorCode.UNDECODABLE: 422,
    ErrorCode.EMPTY: 422,
    ErrorCode.SILENT: 422,
    ErrorCode.TOO_SHORT: 422,
    ErrorCode.INVALID: 422,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.FAILED: 500,
    ErrorCode.BUSY: 503,
}
HEADERS_BY_STATUS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": str(RETRY_AFTER_S)},
    503: {"Retry-After": str(RETRY_AFTER_S)},
}


class ApiError(MusicGenreError):
    """A request that is refused for another reason than its audio.

    Args:
        code: what is wrong, for programs.
        message: what was found and what is needed, for people.
        retry_after_s: seconds after which the same request may pass; None: ``RETRY_AFTER_S``, if it may at all.
    """

    def __init__(self, code: ErrorCode, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def error_response(code: ErrorCode, message: str) -> JSONResponse:
    """The response for an error; its code goes into the request's line in the log."""
    context = request_context.get()
    if context:
        context.error_code = code
    status = STATUS_BY_CODE[code]
    return JSONResponse({"error": {"code": code, "message": message}}, status, HEADERS_BY_STATUS.get(status))


def audio_error_code(reason: IssueReason) -> ErrorCode:
    """The code of the API for what is wrong with audio; data sets have the shorter word ``short``."""
    return ErrorCode.TOO_SHORT if reason == IssueReason.SHORT else ErrorCode(reason)


def add_error_handlers(app: FastAPI) -> None:
    """Let an application return its exceptions as errors of the API."""
    app.add_exception_handler(AudioError, handle_audio_error)  # type: ignore[arg-type]  # only AudioErrors come
    app.add_exception_handler(ApiError, handle_api_error)  # type: ignore[arg-type]  # only ApiErrors come
    app.add_exception_handler(ClientDisconnect, handle_client_disconnect)
    app.add_exception_handler(Exception, handle_unexpected_error)


async def handle_audio_error(request: Request, error: AudioError) -> JSONResponse:
    """The response for audio that cannot be used."""
    return error_response(audio_error_code(error.reason), error.detail)


async def handle_api_error(request: Request, error: ApiError) -> JSONResponse:
    """The response for a request that is refused."""
    response = error_response(error.code, error.message)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


async def handle_client_disconnect(request: Request, error: Exception) -> Response:
    """The response for a client that closed the connection during its upload: nobody reads it, the log has 499."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def handle_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """The response for any other exception, without its text: that is in the log."""
    return error_response(ErrorCode.FAILED, "internal error; the log of the service has the details")
