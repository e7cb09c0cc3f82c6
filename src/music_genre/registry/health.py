"""Roll back a champion that fails in use: by its share of errors, or its accuracy on feedback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from scipy.stats import binomtest

from music_genre.registry.history import ROLLED_BACK, champion_periods
from music_genre.registry.versions import rollback
from music_genre.validation.feedback import read_feedback
from music_genre.validation.request_log import NEWEST_BYTES, count_errors


@dataclass(frozen=True)
class HealthLimits:
    """What a champion must hold; a limit that is None does not count.

    Args:
        max_error_share: of the requests that it answered or failed to.
        min_feedback_accuracy: on the requests with feedback.
    """

    max_error_share: float | None
    min_feedback_accuracy: float | None

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.max_error_share is not None or self.min_feedback_accuracy is not None


def roll_back_if_unhealthy(client: MlflowClient, name: str, log: Path, limits: HealthLimits) -> str | None:
    """Roll the champion back where it is certainly beyond a limit, and return why; else None.

    It is done once: a champion that a rollback made is left alone, whatever its numbers.

    Args:
        client: of the connected store.
        name: of the registered model.
        log: folder of the request log.
        limits: of the champion.

    Raises:
        MusicGenreError: there is no previous champion to go back to.
    """
    periods = champion_periods(client, name)
    if not periods or periods[-1].until or periods[-1].reason.startswith(ROLLED_BACK):
        return None
    reason = unhealthy(log, periods[-1].version, periods[-1].since, limits)
    if reason:
        rollback(client, name, reason)
    return reason


def unhealthy(log: Path, version: str, since: str, limits: HealthLimits) -> str | None:
    """Why a version is certainly beyond a limit: the whole 95 % Wilson interval is; None where it is not.

    Args:
        log: folder of the request log.
        version: the champion.
        since: when it became champion, ISO 8601.
        limits: of the champion.
    """
    if limits.max_error_share is not None:
        n_errors, n_requests = count_errors(log, version, since)
        if n_requests and _interval(n_errors, n_requests)[0] > limits.max_error_share:
            return f"{n_errors} of {n_requests} requests failed, at most {limits.max_error_share:.0%} may"
    if limits.min_feedback_accuracy is not None:
        feedback = read_feedback(log, NEWEST_BYTES)
        right = feedback.loc[(feedback["version"] == version) & (feedback["time"] >= since), "right"]
        if len(right) and _interval(int(right.sum()), len(right))[1] < limits.min_feedback_accuracy:
            least = f"{limits.min_feedback_accuracy:.0%}"
            return f"{int(right.sum())} of {len(right)} predictions with feedback are right, at least {least} must be"
    return None


def _interval(count: int, n: int) -> tuple[float, float]:
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
