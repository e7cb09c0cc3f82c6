"""The folder of a request log: what the service keeps of requests, read and removed again.

It holds ``requests-<worker>.jsonl``, ``feedback-<worker>.jsonl`` and, of shadow mode, ``shadow-<worker>.jsonl``, each
with one older file; and, where the service keeps audio, ``pending/<request>.<ext>``, which waits for feedback, and
``audio/<genre>/<request>.<ext>``, which has it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from music_genre.audio.kinds import AUDIO_SUFFIXES

REQUEST_FILES, FEEDBACK_FILES, SHADOW_FILES = "requests-*.jsonl*", "feedback-*.jsonl*", "shadow-*.jsonl*"
NEWEST_BYTES = 2**20  # of each file, where only the newest lines count
PENDING_DIR, AUDIO_DIR = "pending", "audio"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_rows(
    folder: Path, files: str, containing: bytes = b"", newest_bytes: int | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of log files, in no order. Lines without a time or that are no JSON are left out: a service that was
    killed may leave half a line.

    Args:
        folder: of the log.
        files: ``REQUEST_FILES``, ``FEEDBACK_FILES`` or ``SHADOW_FILES``.
        containing: what the lines must contain.
        newest_bytes: how much to read of the end of each file; None: all.
    """
    for path in sorted(folder.glob(files)):
        try:
            with path.open("rb") as file:
                if newest_bytes is not None and path.stat().st_size > newest_bytes:
                    file.seek(-newest_bytes, os.SEEK_END)
                    file.readline()  # the rest of a line
                yield from (row for line in file if containing in line and (row := _parse_line(line)) is not None)
        except FileNotFoundError:
            continue  # it became the older file, or was the older one, meanwhile


def find_request(folder: Path, request_id: str) -> dict[str, Any] | None:
    """The newest prediction with this request id; None where the log has none, or no longer."""
    rows = [row for row in read_rows(folder, REQUEST_FILES, id_field(request_id)) if "genre" in row]
    return max(rows, key=lambda row: row["time"], default=None)


def count_errors(folder: Path, version: str, since: str) -> tuple[int, int]:
    """How many requests failed by a fault of the service, and of how many that a version answered or failed to: of the
    newest, some thousand for each worker.

    Args:
        folder: of the log.
        version: that was served.
        since: ISO 8601; what is older does not count.
    """
    of_version = json.dumps({"version": version})[1:-1].encode()
    rows = [row for row in read_rows(folder, REQUEST_FILES, of_version, NEWEST_BYTES) if row["time"] >= since]
    return sum("error" in row for row in rows), len(rows)


def read_shadow_predictions(folder: Path) -> pd.DataFrame:
    """Columns request_id, version, genre: what challengers predicted in shadow mode, the newest of each request."""
    columns = ["time", "request_id", "version", "genre"]
    rows = [row for row in read_rows(folder, SHADOW_FILES) if row.keys() >= set(columns)]
    table = pd.DataFrame(rows, columns=columns).sort_values("time", kind="stable")
    return table.drop_duplicates(["request_id", "version"], keep="last")[columns[1:]].reset_index(drop=True)


def forget_request(folder: Path, request_id: str) -> list[Path]:
    """Remove what the log keeps of a request: its lines are overwritten with blanks, its recordings deleted.

    A running service goes on writing to the same files meanwhile, and none of its lines is lost.

    Returns:
        The files that were changed or deleted; none where nothing was known of the request.
    """
    changed = [path for path in _log_files(folder) if _blank_lines(path, id_field(request_id))]
    recordings = find_recordings(folder, request_id)
    for path in recordings:
        path.unlink(missing_ok=True)
    return changed + recordings


def files_of_request(folder: Path, request_id: str) -> list[Path]:
    """The files that keep something of a request: logs with lines of it, and recordings."""
    field = id_field(request_id)
    return [path for path in _log_files(folder) if field in path.read_bytes()] + find_recordings(folder, request_id)


def id_field(request_id: str) -> bytes:
    """How every line of a request contains its id."""
    return json.dumps({"request_id": request_id})[1:-1].encode()


def recording_name(request_id: str, suffix: str) -> str:
    """The name of a request's recording; one that would be hidden begins with ``%2E`` in place of the dot."""
    return re.sub(r"^\.", "%2E", request_id) + suffix


def find_recordings(folder: Path, request_id: str) -> list[Path]:
    """The recordings that are kept of a request: first in ``pending``, then in ``audio``."""
    if not REQUEST_ID_PATTERN.fullmatch(request_id):
        return []
    names = [recording_name(request_id, suffix) for suffix in sorted(AUDIO_SUFFIXES)]
    folders = (folder / PENDING_DIR, *sorted((folder / AUDIO_DIR).glob("*")))
    return [path for parent in folders for name in names if (path := parent / name).is_file()]


def _log_files(folder: Path) -> list[Path]:
    return [path for files in (REQUEST_FILES, FEEDBACK_FILES, SHADOW_FILES) for path in sorted(folder.glob(files))]


def _blank_lines(path: Path, field: bytes) -> bool:
    """Overwrite the lines that contain ``field`` in place; whether there were any."""
    found, start = False, 0
    with path.open("r+b") as file:
        while line := file.readline():
            if field in line:
                file.seek(start)
                file.write(b" " * len(line.rstrip(b"\n")))
                file.seek(start + len(line))
                found = True
            start += len(line)
    return found


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("time"), str) else None
