"""The request log as people may ask for it to be emptied: all that is kept of one request."""

from __future__ import annotations

import json
from pathlib import Path

from music_genre.files import atomic_write

LOG_PATTERNS = ("requests-*.jsonl*", "feedback-*.jsonl*")
KEPT_AUDIO = ("pending", "audio/*")  # folders of recordings, <request_id>.<extension>


def find_request(folder: Path, request_id: str) -> list[Path]:
    """The files of a request log that hold a request: logs with lines of it, and kept recordings."""
    logs = [path for path in _logs(folder) if any(_is_of(line, request_id) for line in path.read_bytes().splitlines())]
    folders = [path for pattern in KEPT_AUDIO for path in sorted(folder.glob(pattern)) if path.is_dir()]
    kept = [path for parent in folders for path in sorted(parent.iterdir()) if path.stem == request_id]
    return logs + kept


def forget_request(folder: Path, request_id: str) -> list[Path]:
    """Remove what ``find_request`` finds: lines of logs, which are replaced as a whole, and recordings.

    Returns:
        The files that were changed or removed.
    """
    found = find_request(folder, request_id)
    logs = set(_logs(folder))
    for path in found:
        if path not in logs:
            path.unlink(missing_ok=True)
            continue
        lines = path.read_bytes().splitlines(keepends=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"".join(line for line in lines if not _is_of(line, request_id)))
    return found


def _logs(folder: Path) -> list[Path]:
    return [path for pattern in LOG_PATTERNS for path in sorted(folder.glob(pattern)) if path.is_file()]


def _is_of(line: bytes, request_id: str) -> bool:
    try:
        values = json.loads(line)
    except ValueError:  # torn by a kill
        return json.dumps(request_id).encode() in line
    return isinstance(values, dict) and values.get("request_id") == request_id
