"""Feedback as one worker records it, on predictions of any worker."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import anyio
import numpy as np
import pandas as pd
import pytest

from music_genre.service.app import MusicGenre
from music_genre.service.errors import ApiError, ErrorCode
from music_genre.service.feedback import FeedbackRecorder
from music_genre.service.observability import RequestContext, metrics, request_context
from music_genre.service.request_log import RequestLog
from music_genre.service.schemas import FeedbackRequest
from music_genre.settings import Settings
from music_genre.validation.feedback import read_feedback

GENRES = ["Folk", "Rock"]
PREDICTION = {
    "genre": "Rock",
    "confidence": 0.7,
    "confident": True,
    "duration_seconds": 30.0,
    "model": {"name": "music-genre", "version": "17"},
}


@pytest.fixture
def recorder(tmp_path: Path) -> FeedbackRecorder:
    """That of worker 2, where worker 1 has predicted Rock for request ``r``."""
    token = request_context.set(RequestContext("r"))
    RequestLog(tmp_path, 1, 2).write(np.full((1, 64, 32), -20, np.float32), PREDICTION)
    request_context.reset(token)
    return FeedbackRecorder(tmp_path, 2, 2, Settings())


def give(recorder: FeedbackRecorder, genre: str, request_id: str = "r") -> dict[str, object]:
    return recorder.record(FeedbackRequest(request_id=request_id, genre=genre), GENRES)


def show_accuracy(recorder: FeedbackRecorder) -> None:
    """Let the service's task work for a moment."""

    async def start() -> None:
        with anyio.move_on_after(0.5):
            await recorder.show_accuracy()

    anyio.run(start)


def shown_accuracy() -> float:
    """What the metrics show of version 17."""
    (gauge,) = metrics().feedback_accuracy.collect()
    (value,) = (sample.value for sample in gauge.samples if sample.labels == {"version": "17", "bound": "value"})
    return float(value)


@pytest.mark.parametrize(
    ("given", "genre", "is_right"), [("right", "Rock", True), ("Rock", "Rock", True), ("Folk", "Folk", False)]
)
def test_feedback_is_a_line_beside_the_request_log(
    recorder: FeedbackRecorder, given: str, genre: str, is_right: bool
) -> None:
    recorded = give(recorder, given)
    assert recorded == {"request_id": "r", "version": "17", "predicted": "Rock", "genre": genre, "right": is_right}
    line = json.loads((recorder.folder / "feedback-2.jsonl").read_text())
    assert line == recorded | {"time": line["time"]}


def test_later_feedback_takes_the_place_of_earlier_feedback(recorder: FeedbackRecorder) -> None:
    give(recorder, "Folk")
    give(recorder, "right")
    assert read_feedback(recorder.folder)["genre"].tolist() == ["Rock"]
    show_accuracy(recorder)
    assert shown_accuracy() == 1


def test_accuracy_of_an_earlier_run_is_shown_when_the_service_starts(recorder: FeedbackRecorder) -> None:
    give(recorder, "Folk")
    metrics().feedback_accuracy.clear()
    show_accuracy(FeedbackRecorder(recorder.folder, 1, 2, Settings()))
    assert shown_accuracy() == 0


def test_accuracy_is_read_once_for_much_feedback(recorder: FeedbackRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def read(folder: Path) -> pd.DataFrame:
        calls.append(folder)
        return pd.DataFrame(columns=["version", "right"])

    monkeypatch.setattr("music_genre.service.feedback.read_feedback", read)
    for _ in range(20):
        give(recorder, "Folk")
    assert calls == []
    show_accuracy(recorder)
    assert calls == [recorder.folder]


def test_service_without_a_request_log_takes_no_feedback() -> None:
    service = SimpleNamespace(feedback=None)
    with pytest.raises(ApiError, match="it has no request log") as error:
        anyio.run(MusicGenre.inner.give_feedback, service, None, None)
    assert error.value.code == ErrorCode.DISABLED


def test_unknown_request_and_unknown_genre_are_refused_and_not_written(recorder: FeedbackRecorder) -> None:
    with pytest.raises(ApiError, match="no prediction with the request id q") as error:
        give(recorder, "Rock", "q")
    assert error.value.code == ErrorCode.NOT_FOUND
    with pytest.raises(ApiError, match="no genre 'Polka'; expected 'right' or one of Folk, Rock") as error:
        give(recorder, "Polka")
    assert error.value.code == ErrorCode.INVALID
    assert len(read_feedback(recorder.folder)) == 0


def test_predicted_genre_is_right_even_where_the_served_version_does_not_know_it(recorder: FeedbackRecorder) -> None:
    assert recorder.record(FeedbackRequest(request_id="r", genre="right"), ["Folk"])["genre"] == "Rock"


def test_feedback_that_cannot_be_written_is_an_error(recorder: FeedbackRecorder) -> None:
    (recorder.folder / "feedback-2.jsonl").mkdir()
    with pytest.raises(ApiError, match="cannot be written") as error:
        give(recorder, "Rock")
    assert error.value.code == ErrorCode.FAILED


def test_oldest_feedback_goes_first_where_there_is_too_much(
    recorder: FeedbackRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("music_genre.service.feedback.MAX_FEEDBACK_MB", 0.01)
    small = FeedbackRecorder(recorder.folder, 3, 2, Settings())
    for _ in range(100):
        give(small, "Folk")
    files = sorted(recorder.folder.glob("feedback-3*"))
    assert len(files) == 2
    assert sum(path.stat().st_size for path in files) <= 0.01 * 2**20 / 2
