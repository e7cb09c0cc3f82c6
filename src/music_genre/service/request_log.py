"""A log for drift detection: statistics of each request's clip and its prediction, no audio.

Off by default. Each worker writes files of its own and drops the oldest lines, so that all files together stay below a
limit.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import numpy as np

from music_genre.features.statistics import spectrogram_statistics
from music_genre.service.observability import request_context

MAX_LOG_MB = 64  # of all workers' files together; a request takes about 400 bytes

logger = logging.getLogger("bentoml.music_genre")


class RequestLog:
    """The log files of one worker.

    Args:
        folder: made where it is missing.
        worker: its number; after a restart it continues the files of that number.
        n_workers: how many share ``MAX_LOG_MB``.
    """

    def __init__(self, folder: Path, worker: int, n_workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        max_bytes = MAX_LOG_MB * 2**20 // n_workers // 2
        path = folder / f"requests-{worker}.jsonl"
        self.handler = _WarnOnceHandler(path, maxBytes=max_bytes, backupCount=1, encoding="utf-8", delay=True)

    def write(self, mel: np.ndarray, prediction: dict[str, Any]) -> None:
        """Write a line for a request; if that fails, the request goes on.

        Args:
            mel: (clips, frames, n_mels) float32 dB of the recording, which its middle clip represents.
            prediction: as the API returns it.
        """
        context = request_context.get()
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": context.request_id if context else None,
            "version": prediction["model"]["version"],
            **{name: prediction[name] for name in ("genre", "confidence", "confident", "duration_seconds")},
            **spectrogram_statistics(mel[len(mel) // 2].astype(np.float16)),
        }
        self.handler.handle(logging.makeLogRecord({"msg": json.dumps(line)}))


class _WarnOnceHandler(RotatingFileHandler):
    """Reports the first failure to write, such as a full disk, and no later one."""

    has_warned = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        if not self.has_warned:
            logger.exception("The request log cannot be written")
        self.has_warned = True
