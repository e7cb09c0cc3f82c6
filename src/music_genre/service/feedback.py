"""Feedback of clients on predictions: checked, written beside the request log, and shown in the metrics."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic import ValidationError
from starlette.requests import Request

from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.limits import RateLimiter
from music_genre.service.observability import metrics
from music_genre.service.recordings import RecordingStore
from music_genre.service.request_log import RotatingLog
from music_genre.service.schemas import FeedbackRequest
from music_genre.service.uploads import read_small_body
from music_genre.settings import Settings
from music_genre.validation.feedback import accuracy_by_version, read_feedback
from music_genre.validation.request_log import find_request

RIGHT = "right"  # in place of a genre: the predicted one
MAX_FEEDBACK_MB = 16  # of all workers' files together; a line takes about 200 bytes
MAX_SHOWN_CHARS = 100  # of what a client sent
ACCURACY_INTERVAL_S = 5.0  # between two updates of the metrics, each of which reads all feedback

logger = logging.getLogger("bentoml.music_genre")


class FeedbackRecorder:
    """The feedback that one worker gets, on predictions of any.

    Args:
        folder: of the request log.
        worker: its number.
        n_workers: how many share ``MAX_FEEDBACK_MB``.
        settings: the limit of the rate, and whether and how long recordings are kept.
    """

    def __init__(self, folder: Path, worker: int, n_workers: int, settings: Settings) -> None:
        self.folder = folder
        self.log = RotatingLog(folder / f"feedback-{worker}.jsonl", int(MAX_FEEDBACK_MB * 2**20) // n_workers)
        self.limiter = RateLimiter(settings.feedback_per_minute)
        self.recordings = RecordingStore(folder, settings.keep_audio, settings.keep_audio_days)
        self.has_new_feedback = True  # that of earlier runs of the service

    async def receive(self, request: Request) -> FeedbackRequest:
        """The body of a request.

        Raises:
            ApiError: ``rate_limited``, ``too_large``, ``too_slow``, ``invalid``.
        """
        self.limiter.acquire()
        body = await read_small_body(request)
        try:
            return FeedbackRequest.model_validate_json(body)
        except ValidationError as error:
            (problem, *_) = error.errors(include_input=False, include_url=False)
            where = ".".join(map(str, problem["loc"]))[:MAX_SHOWN_CHARS] or "body"
            example = '{"request_id": "...", "genre": "Rock"}'
            raise ApiError(ErrorCode.INVALID, f"{where}: {problem['msg']}; expected {example}") from error

    def record(self, feedback: FeedbackRequest, genres: Sequence[str]) -> dict[str, Any]:
        """Write feedback, and move the recording that it is about, if that is kept.

        Args:
            feedback: of a client.
            genres: that the served version predicts.

        Returns:
            what was written, as the API returns it.

        Raises:
            ApiError: ``not_found``, ``invalid``, ``failed``.
        """
        request = find_request(self.folder, feedback.request_id)
        if request is None:
            message = f"no prediction with the request id {feedback.request_id}: it is unknown, or too old"
            raise ApiError(ErrorCode.NOT_FOUND, message)
        predicted, version = request["genre"], request["version"]
        genre = predicted if feedback.genre == RIGHT else feedback.genre
        if genre not in {predicted, *genres}:
            shown, expected = genre[:MAX_SHOWN_CHARS], ", ".join(genres)
            raise ApiError(ErrorCode.INVALID, f"no genre {shown!r}; expected {RIGHT!r} or one of {expected}")
        is_right = genre == predicted
        row = {"request_id": feedback.request_id, "version": version, "predicted": predicted, "genre": genre}
        if not self.log.append(row | {"right": is_right}):
            raise ApiError(ErrorCode.FAILED, "the feedback cannot be written; try again later")
        self.recordings.label(feedback.request_id, genre)
        metrics().feedback.labels(version, "right" if is_right else "wrong").inc()
        self.has_new_feedback = True
        return row | {"right": is_right}

    def update_accuracy(self) -> None:
        """Show the accuracy of every version that has feedback, of all workers, in the metrics."""
        for accuracy in accuracy_by_version(read_feedback(self.folder)).values():
            metrics().set_feedback_accuracy(accuracy)

    async def show_accuracy(self) -> None:
        """Update the accuracy in the metrics a few seconds after new feedback, as long as the service runs."""
        while True:
            if self.has_new_feedback:
                self.has_new_feedback = False
                try:
                    await anyio.to_thread.run_sync(self.update_accuracy)
                except Exception:
                    logger.exception("The feedback cannot be read")
            await anyio.sleep(ACCURACY_INTERVAL_S)
