"""Observability: metrics for Prometheus, the duration of phases, a JSON log, and the request id that links them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from music_genre.validation.feedback import FeedbackAccuracy

PREFIX = "music_genre"
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
CONFIDENCE_BUCKETS = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass
class RequestContext:
    """What is known of a request so far, for its line in the log.

    Args:
        request_id: the client's where it sent a proper one, else a new one.
        phase_seconds: duration of each phase.
        prediction: genre, confidence and version, once there are any.
        error_code: of the error response, if it is one.
    """

    request_id: str
    phase_seconds: dict[str, float] = field(default_factory=dict)
    prediction: dict[str, Any] = field(default_factory=dict)
    error_code: str | None = None


# Of the request that this task, or a thread that it waits for, works on.
request_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


class Metrics:
    """The metrics that ``/metrics`` shows beside BentoML's own, summed over all workers."""

    def __init__(self) -> None:
        # BentoML sets the folder that the workers share after it has imported the service's module, and
        # prometheus_client reads it when it is imported.
        from prometheus_client import Counter, Gauge, Histogram

        self.requests = Counter(f"{PREFIX}_requests", "Prediction requests by result", ["result"])
        self.phases = Histogram(
            f"{PREFIX}_phase_seconds", "Duration of a phase of a request", ["phase"], buckets=LATENCY_BUCKETS
        )
        self.predictions = Counter(f"{PREFIX}_predictions", "Predictions", ["version", "genre", "confident"])
        self.shadow = Counter(
            f"{PREFIX}_shadow", "Comparisons with the challenger by result", ["champion", "challenger", "result"]
        )
        self.confidence = Histogram(
            f"{PREFIX}_confidence", "Confidence of predictions", ["version"], buckets=CONFIDENCE_BUCKETS
        )
        self.feedback = Counter(
            f"{PREFIX}_feedback", "Feedback on predictions by result: right or wrong", ["version", "result"]
        )
        self.feedback_accuracy = Gauge(
            f"{PREFIX}_feedback_accuracy",
            "Accuracy on the requests with feedback: its value, and low and high of its 95 % interval",
            ["version", "bound"],
            multiprocess_mode="mostrecent",
        )
        self.model = Gauge(
            f"{PREFIX}_model_info", "1 for the version that is served", ["version"], multiprocess_mode="mostrecent"
        )
        self._version = ""

    def set_version(self, version: str) -> None:
        """Mark a version as the one that is served."""
        if self._version and self._version != version:
            self.model.labels(self._version).set(0)
        self.model.labels(version).set(1)
        self._version = version

    def set_feedback_accuracy(self, accuracy: FeedbackAccuracy) -> None:
        """Show the accuracy of a version on the requests that have feedback."""
        for bound, value in (("value", accuracy.accuracy), ("low", accuracy.low), ("high", accuracy.high)):
            self.feedback_accuracy.labels(accuracy.version, bound).set(value)

    def count_prediction(self, prediction: dict[str, Any]) -> None:
        """Count a prediction, given as the API returns it."""
        version = prediction["model"]["version"]
        self.predictions.labels(version, prediction["genre"], str(prediction["confident"]).lower()).inc()
        self.confidence.labels(version).observe(prediction["confidence"])


metrics = cache(Metrics)  # one a process, made at the first call


@dataclass
class Span:
    """The duration of a phase, once it has ended."""

    seconds: float = 0.0


@contextmanager
def phase(name: str) -> Iterator[Span]:
    """Measure the duration of the block as a phase of the current request."""
    start, span = time.perf_counter(), Span()
    try:
        yield span
    finally:
        span.seconds = time.perf_counter() - start
        metrics().phases.labels(name).observe(span.seconds)
        context = request_context.get()
        if context:
            context.phase_seconds[name] = context.phase_seconds.get(name, 0) + span.seconds


def record_prediction(prediction: dict[str, Any]) -> None:
    """Count a prediction, and add it to the current request's line in the log."""
    metrics().count_prediction(prediction)
    context = request_context.get()
    if context:
        fields = {name: prediction[name] for name in ("genre", "confidence", "confident")}
        context.prediction = fields | {"version": prediction["model"]["version"]}


class RequestIdFilter(logging.Filter):
    """Adds the id of the current request to log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = request_context.get()
        if context:
            record.request_id = context.request_id
        return True


def configure_json_logging() -> None:
    """Write the log of this process, which is BentoML's logger and those below it, as one JSON object a line."""
    names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time"))
    handler.addFilter(RequestIdFilter())
    log = logging.getLogger("bentoml")
    log.handlers = [handler]
    log.propagate = False
