"""ASGI middlewares around the whole service: closing, logging, and the format of errors."""

from __future__ import annotations

import json
import logging
import time
import uuid
from http import HTTPStatus

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from music_genre.service.errors import CLIENT_CLOSED_REQUEST, ErrorCode, error_response
from music_genre.service.observability import RequestContext, metrics, request_context
from music_genre.validation.request_log import REQUEST_ID_PATTERN

LINGERING_CLOSE_S = 1.0  # how long the rest of an upload is read after an early response, as nginx does
EXCLUDED_PATHS = {"/livez", "/readyz", "/healthz", "/metrics"}  # polled all the time: no line in the log
MAX_PATH_CHARS = 200  # of a path in the log
OK, CLIENT_CLOSED = "ok", "client_closed"  # results of requests, beside the codes of errors

CODE_BY_STATUS = {
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.NOT_ALLOWED,
    503: ErrorCode.BUSY,
    504: ErrorCode.BUSY,
}  # of errors that the frameworks return by themselves

logger = logging.getLogger("bentoml.music_genre.requests")


class HttpMiddleware:
    """Base class: ``handle`` gets the HTTP requests; everything else passes unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.handle if scope["type"] == "http" else self.app)(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its response back."""
        raise NotImplementedError


class LingeringCloseMiddleware(HttpMiddleware):
    """Read on for a moment where the response comes before the end of the request's body.

    A client that is still sending would otherwise see a broken connection in place of the response.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body_complete = False

        async def receive_wrapper() -> Message:
            nonlocal body_complete
            message = await receive()
            body_complete = not message.get("more_body", False)
            return message

        async def send_wrapper(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not body_complete:
                await send({**message, "more_body": True})
                with anyio.move_on_after(LINGERING_CLOSE_S):
                    while not body_complete:
                        await receive_wrapper()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self.app(scope, receive_wrapper, send_wrapper)


class RequestLoggingMiddleware(HttpMiddleware):
    """Give every request an id, in the response's header ``X-Request-Id``, and a line in the log."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in EXCLUDED_PATHS:
            await self.app(scope, receive, send)
            return
        given_id = Headers(scope=scope).get("x-request-id", "")
        context = RequestContext(given_id if REQUEST_ID_PATTERN.fullmatch(given_id) else uuid.uuid4().hex)
        start, status = time.perf_counter(), CLIENT_CLOSED_REQUEST

        async def send_wrapper(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = context.request_id
            await send(message)

        token = request_context.set(context)
        try:
            await self.app(scope, receive, send_wrapper)
        finally:
            _log_request(context, scope, status, time.perf_counter() - start)
            request_context.reset(token)


def _log_request(context: RequestContext, scope: Scope, status: int, seconds: float) -> None:
    """Count a request that has ended and write its line; the formatter adds the id."""
    result = OK if status < 400 else context.error_code or ErrorCode.FAILED
    if status == CLIENT_CLOSED_REQUEST:
        result = CLIENT_CLOSED
    if (scope["method"], scope["path"]) == ("POST", "/predict"):
        metrics().requests.labels(result).inc()
    fields = {
        "method": scope["method"],
        "path": scope["path"][:MAX_PATH_CHARS],
        "status": status,
        "result": result,
        "seconds": round(seconds, 4),
        "phases": {name: round(spent, 4) for name, spent in context.phase_seconds.items()},
        **context.prediction,
    }
    logger.info("request", extra=fields)


class ErrorFormatMiddleware(HttpMiddleware):
    """Give the errors that BentoML and FastAPI return by themselves the format of the API.

    Exception handlers of the application do not see all of them: BentoML's own router responds to unknown paths.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        error_messages: list[Message] = []

        async def send_formatted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                error_messages.append(message)
            elif not error_messages:
                await send(message)
            else:
                error_messages.append(message)
                if not message.get("more_body", False):
                    await _send_error(error_messages, scope, receive, send)

        await self.app(scope, receive, send_formatted)


async def _send_error(messages: list[Message], scope: Scope, receive: Receive, send: Send) -> None:
    """Send the messages of an error response, in the format of the API."""
    status, body = messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])
    if _is_error_body(body) or status == CLIENT_CLOSED_REQUEST:
        for message in messages:
            await send(message)
        return
    code = CODE_BY_STATUS.get(status, ErrorCode.FAILED if status >= 500 else ErrorCode.UNSUPPORTED)
    response = error_response(code, HTTPStatus(status).phrase.lower())
    response.status_code = 503 if status == 504 else status
    response.raw_headers += [header for header in messages[0]["headers"] if header[0] == b"allow"]
    await response(scope, receive, send)


def _is_error_body(body: bytes) -> bool:
    """Whether a body is an error in the format of the API."""
    try:
        values = json.loads(body)
    except ValueError:
        return False
    return isinstance(values, dict) and isinstance(values.get("error"), dict)
