"""A log of requests: statistics of each clip and its prediction, no audio; or the code of an error of the service.

Off by default. Each worker writes files of its own and drops the oldest lines, so that all files together stay below a
limit.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect

from music_genre.errors import AudioError
from music_genre.features.statistics import spectrogram_statistics
from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.observability import request_context

MAX_LOG_MB = 64  # of all workers' files together; a request takes about 400 bytes
MAX_SHADOW_LOG_MB = 16  # a prediction in shadow mode takes about 150 bytes

logger = logging.getLogger("bentoml.music_genre")


class RotatingLog:
    """A file with one JSON object a line, and an older one.

    Args:
        path: of the file; its folder is made where it is missing.
        max_bytes: of both files together.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.handler = _WarnOnceHandler(path, maxBytes=max_bytes // 2, backupCount=1, encoding="utf-8", delay=True)

    def append(self, line: dict[str, Any]) -> bool:
        """Write a line with the time; False where that fails, which is logged once."""
        n_failures = self.handler.n_failures
        timed = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **line}
        self.handler.handle(logging.makeLogRecord({"msg": json.dumps(timed)}))
        return self.handler.n_failures == n_failures


class RequestLog:
    """The log files of one worker.

    Args:
        folder: made where it is missing.
        worker: its number; after a restart it continues the files of that number.
        n_workers: how many share ``MAX_LOG_MB``.
    """

    def __init__(self, folder: Path, worker: int, n_workers: int) -> None:
        self.log = RotatingLog(folder / f"requests-{worker}.jsonl", int(MAX_LOG_MB * 2**20) // n_workers)

    def write(self, mel: np.ndarray, prediction: dict[str, Any]) -> None:
        """Write a line for a request; if that fails, the request goes on.

        Args:
            mel: (clips, frames, n_mels) float32 dB of the recording, which its middle clip represents.
            prediction: as the API returns it.
        """
        fields = {name: prediction[name] for name in ("genre", "confidence", "confident", "duration_seconds")}
        statistics = spectrogram_statistics(mel[len(mel) // 2].astype(np.float16))
        self.append(prediction["model"]["version"], fields | statistics)

    def append(self, version: str, fields: dict[str, Any]) -> None:
        """Write a line for the current request, which a version answered."""
        context = request_context.get()
        self.log.append({"request_id": context.request_id if context else None, "version": version, **fields})

    @contextmanager
    def failures(self, get_version: Callable[[], str]) -> Iterator[None]:
        """Write a line where the block fails by a fault of the service: not where it is busy with other requests.

        Args:
            get_version: returns the version that is served.
        """
        try:
            yield
        except (ApiError, AudioError, ClientDisconnect) as error:
            # A model that kills or blocks its process is seen as a prediction that never comes.
            is_busy = isinstance(error, ApiError) and error.code == ErrorCode.BUSY
            if is_busy and isinstance(error.__cause__, TimeoutError):
                self.append(get_version(), {"error": ErrorCode.BUSY})
            raise
        except Exception:
            self.append(get_version(), {"error": ErrorCode.FAILED})
            raise


def shadow_log(folder: Path, worker: int, n_workers: int) -> RotatingLog:
    """The log of one worker's predictions in shadow mode."""
    return RotatingLog(folder / f"shadow-{worker}.jsonl", int(MAX_SHADOW_LOG_MB * 2**20) // n_workers)


class _WarnOnceHandler(RotatingFileHandler):
    """Reports the first failure to write, such as a full disk, and only counts later ones."""

    n_failures = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        if not self.n_failures:
            logger.exception("The request log cannot be written")
        self.n_failures += 1
