"""A log of what answers were made of, for ``music-genre drift``: figures of a clip and the answer, never sound.

Off unless asked for. Each worker writes files of its own and drops its oldest lines, so that all of them together stay
below what is allowed.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import numpy as np

from music_genre.features.store import describe
from music_genre.paths import ProjectPaths
from music_genre.service.observability import current
from music_genre.service.served_model import in_bento
from music_genre.settings import load_settings

VARIABLE = "MUSIC_GENRE_REQUEST_LOG"
"""Names the folder; goes before ``params.yaml``, which a bento does not have."""

MEGABYTES = 64
"""Of all workers' files; a request takes about 400 bytes."""

logger = logging.getLogger("bentoml.music_genre")


class RequestLog:
    """One worker's files.

    Args:
        folder: made if need be.
        worker: number of it; it finds its files again after a restart.
        workers: how many share the room.
    """

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        most = MEGABYTES * 2**20 // workers // 2
        path = folder / f"requests-{worker}.jsonl"
        self.handler = _Told(path, maxBytes=most, backupCount=1, encoding="utf-8", delay=True)

    def note(self, mel: np.ndarray, answer: dict[str, Any]) -> None:
        """Write a line about a request; one that cannot be written is told once, and the request goes on.

        Args:
            mel: (clips, frames, n_mels) of the recording; its middle clip stands for it.
            answer: as the API gives it.
        """
        observation = current.get()
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": observation.request_id if observation else None,
            "version": answer["model"]["version"],
            **{name: answer[name] for name in ("genre", "confidence", "confident", "seconds")},
            **describe(mel[len(mel) // 2].astype(np.float16)),
        }
        self.handler.handle(logging.makeLogRecord({"msg": json.dumps(line)}))


class _Told(RotatingFileHandler):
    """A disk that is full, or a folder that is gone, is told once."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        if not self.told:
            logger.exception("The request log cannot be written")
        self.told = True


def open_log(worker: int, workers: int) -> RequestLog | None:
    """The log in the folder that the environment names, else in the checkout's configured one, else none."""
    folder = os.environ.get(VARIABLE) or (None if in_bento() else configured(ProjectPaths.find()))
    return RequestLog(Path(folder), worker, workers) if folder else None


def configured(project: ProjectPaths) -> Path | None:
    """The folder that the settings name."""
    folder = load_settings(project.root).request_log
    return project.root / folder if folder else None
