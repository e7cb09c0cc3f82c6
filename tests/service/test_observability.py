"""The JSON log and the request log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.requests import ClientDisconnect

from music_genre.errors import AudioError, IssueReason
from music_genre.service import request_log
from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.observability import RequestContext, configure_json_logging, request_context
from music_genre.service.request_log import RequestLog
from music_genre.validation import drift
from music_genre.validation.request_log import count_errors

PREDICTION = {
    "genre": "Rock",
    "confidence": 0.7,
    "confident": True,
    "duration_seconds": 30.0,
    "model": {"name": "music-genre", "version": "3"},
}
MEL = np.full((3, 64, 32), -20, np.float32)


@pytest.fixture
def request_id() -> Iterator[str]:
    """The id of the request that the test works on."""
    token = request_context.set(RequestContext("request-17"))
    yield "request-17"
    request_context.reset(token)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What BentoML's logger writes."""
    logger = logging.getLogger("bentoml")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    configure_json_logging()
    stream = io.StringIO()
    logger.handlers[0].setStream(stream)
    yield stream


def test_log_has_one_json_object_a_line_with_the_request_id(log: io.StringIO, request_id: str) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("bentoml.music_genre").exception("It failed", extra={"status": 500})
    (line,) = log.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["level"], fields["logger"], fields["message"]) == ("ERROR", "bentoml.music_genre", "It failed")
    assert (fields["request_id"], fields["status"]) == (request_id, 500)
    assert "two\nlines" in fields["exception"]
    assert fields["time"].startswith("20")


def test_line_outside_of_a_request_has_no_request_id(log: io.StringIO) -> None:
    logging.getLogger("bentoml.music_genre").error("It failed")
    assert "request_id" not in json.loads(log.getvalue())


def test_request_log_has_the_statistics_of_the_middle_clip(tmp_path: Path, request_id: str) -> None:
    mel = MEL.copy()
    mel[1] = -30
    RequestLog(tmp_path / "log", 2, 4).write(mel, PREDICTION)
    line = json.loads((tmp_path / "log/requests-2.jsonl").read_text())
    assert line["mean_db"] == -30
    assert {name: line[name] for name in ("request_id", "version", "genre", "duration_seconds")} == {
        "request_id": request_id,
        "version": "3",
        "genre": "Rock",
        "duration_seconds": 30.0,
    }
    assert drift.read_log(tmp_path / "log", 10)["mean_db"].tolist() == [-30]


@pytest.mark.parametrize(
    ("error", "is_own_fault"),
    [
        (RuntimeError("a bug"), True),
        (MemoryError(), True),
        (ApiError(ErrorCode.BUSY, "server busy"), False),
        (AudioError(IssueReason.SILENT, "no sound"), False),
        (ClientDisconnect(), False),
    ],
)
def test_request_log_has_the_requests_that_failed_by_a_fault_of_the_service(
    tmp_path: Path, request_id: str, error: Exception, is_own_fault: bool
) -> None:
    requests = RequestLog(tmp_path, 0, 1)
    requests.write(MEL, PREDICTION)
    with pytest.raises(type(error)), requests.failures(lambda: "3"):
        raise error
    with requests.failures(lambda: "3"):
        pass
    assert count_errors(tmp_path, "3", "") == (int(is_own_fault), 1 + int(is_own_fault))
    last = json.loads((tmp_path / "requests-0.jsonl").read_text().splitlines()[-1])
    assert (last.get("error"), last["request_id"]) == ("failed" if is_own_fault else None, request_id)


def test_request_log_keeps_the_newest_lines_within_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "MAX_LOG_MB", 0.02)
    log = RequestLog(tmp_path, 0, 2)
    for version in range(100):
        log.write(MEL, PREDICTION | {"model": {"name": "music-genre", "version": str(version)}})
    lines = [json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 0.02 * 2**20 / 2
    assert max(int(line["version"]) for line in lines) == 99


def test_failure_to_write_the_request_log_is_reported_once(tmp_path: Path, log: io.StringIO) -> None:
    requests = RequestLog(tmp_path / "log", 0, 1)
    (tmp_path / "log").rmdir()
    for _ in range(3):
        requests.write(MEL, PREDICTION)
    (line,) = log.getvalue().splitlines()
    assert json.loads(line)["message"] == "The request log cannot be written"
