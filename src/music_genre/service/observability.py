"""Seeing the service run: what Prometheus reads, a line of JSON a request, and the id that ties them together."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "music_genre"
GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNWATCHED = {"/livez", "/readyz", "/healthz", "/metrics"}
"""Asked all the time by machines; not worth a line."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHARES = tuple(tenth / 10 for tenth in range(1, 11))
ANSWERED, GONE = "answered", "gone"

logger = logging.getLogger("bentoml.music_genre.requests")


@dataclass
class Observation:
    """One request, as its line in the log will tell it.

    Args:
        request_id: the client's, where it sent a proper one, else ours.
        seconds: by phase.
        answer: genre, confidence and version, once there is one.
        code: of the refusal, if it was one.
    """

    request_id: str
    seconds: dict[str, float] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    code: str | None = None


current: ContextVar[Observation | None] = ContextVar("observation", default=None)
"""Of the request at work in this task, and in the threads that it waits for."""


class Metrics:
    """What ``/metrics`` shows beside BentoML's own; all workers' figures are added up."""

    def __init__(self) -> None:
        # BentoML tells the library where workers share their figures only after the service's module is imported.
        from prometheus_client import Counter, Gauge, Histogram

        self.requests = Counter(f"{PREFIX}_requests", "Requests for an answer, by how they ended", ["result"])
        self.phases = Histogram(f"{PREFIX}_phase_seconds", "Seconds a request spent", ["phase"], buckets=SECONDS)
        self.predictions = Counter(f"{PREFIX}_predictions", "Answers given", ["version", "genre", "confident"])
        self.shadow = Counter(
            f"{PREFIX}_shadow",
            "Answers beside the challenger's, by how they compare",
            ["champion", "challenger", "result"],
        )
        self.confidence = Histogram(f"{PREFIX}_confidence", "Confidence of answers", ["version"], buckets=SHARES)
        self.model = Gauge(
            f"{PREFIX}_model_info", "1 for the version that answers", ["version"], multiprocess_mode="mostrecent"
        )
        self._served = ""

    def serve(self, version: str) -> None:
        """A version answers from now on, and no other."""
        if self._served and self._served != version:
            self.model.labels(self._served).set(0)
        self.model.labels(version).set(1)
        self._served = version

    def count(self, answer: dict[str, Any]) -> None:
        """An answer as the API gives it."""
        version = answer["model"]["version"]
        self.predictions.labels(version, answer["genre"], str(answer["confident"]).lower()).inc()
        self.confidence.labels(version).observe(answer["confidence"])


metrics = cache(Metrics)
"""This worker's; made when first asked for."""


@dataclass
class Span:
    """What a phase took, once it is over."""

    seconds: float = 0.0


@contextmanager
def phase(name: str) -> Iterator[Span]:
    """Times the block as a phase of the request at work, if any."""
    begun, span = time.perf_counter(), Span()
    try:
        yield span
    finally:
        span.seconds = time.perf_counter() - begun
        metrics().phases.labels(name).observe(span.seconds)
        observation = current.get()
        if observation:
            observation.seconds[name] = observation.seconds.get(name, 0) + span.seconds


def observe(answer: dict[str, Any]) -> None:
    """Count an answer and note it for the request's line in the log."""
    metrics().count(answer)
    observation = current.get()
    if observation:
        told = {name: answer[name] for name in ("genre", "confidence", "confident")}
        observation.answer = told | {"version": answer["model"]["version"]}


class HttpMiddleware:
    """Stands between the server and an application; what is no HTTP request passes by."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.handle if scope["type"] == "http" else self.app)(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        raise NotImplementedError


class Observed(HttpMiddleware):
    """Every request has an id, which is in its answer's header ``X-Request-Id``, and a line in the log."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in UNWATCHED:
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        observation = Observation(given if GOOD_ID.fullmatch(given) else uuid.uuid4().hex)
        begun, status = time.perf_counter(), 499

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = observation.request_id
            elif status >= 400 and observation.code is None:
                observation.code = _code_in(message.get("body", b""))
            await send(message)

        token = current.set(observation)
        try:
            await self.app(scope, receive, watched)
        finally:
            current.reset(token)
            _finish(observation, scope, status, time.perf_counter() - begun)


def _finish(observation: Observation, scope: Scope, status: int, seconds: float) -> None:
    result = GONE if status == 499 else ANSWERED if status < 400 else observation.code or "failed"
    if (scope["method"], scope["path"]) == ("POST", "/predict"):
        metrics().requests.labels(result).inc()
    line = {
        "request_id": observation.request_id,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "result": result,
        "seconds": round(seconds, 4),
        "phases": {name: round(spent, 4) for name, spent in observation.seconds.items()},
        **observation.answer,
    }
    logger.info("request", extra={"told": line})


def _code_in(body: bytes) -> str | None:
    """The code of a refusal in the one shape that all of them have."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


class JsonLines(logging.Formatter):
    """A record as one line of JSON, with the id of the request at work."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        observation = current.get()
        if observation:
            line["request_id"] = observation.request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "told", {}), default=str)


def log_as_json() -> None:
    """Let this process say what it says through BentoML's logger as lines of JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    log = logging.getLogger("bentoml")
    log.handlers = [handler]
    log.propagate = False
