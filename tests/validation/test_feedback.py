"""Feedback as it is read: one row a request, accuracy with its interval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from music_genre.validation.feedback import COLUMNS, accuracy_by_version, read_feedback


def row(request_id: str, second: int, version: str = "1", genre: str = "Rock") -> str:
    values = (f"2030-01-01T00:00:{second:02d}", request_id, version, "Rock", genre, genre == "Rock")
    return json.dumps(dict(zip(COLUMNS, values, strict=True)))


def test_newest_feedback_of_each_request_counts(tmp_path: Path) -> None:
    (tmp_path / "feedback-1.jsonl").write_text("\n".join([row("a", 3, genre="Folk"), row("b", 1), row("c", 2)[:70]]))
    (tmp_path / "feedback-2.jsonl.1").write_text("\n".join([row("a", 2), row("a", 1), '{"time": "2031"}', ""]))
    feedback = read_feedback(tmp_path)
    assert feedback[["request_id", "genre", "right"]].to_numpy().tolist() == [["b", "Rock", True], ["a", "Folk", False]]


@pytest.mark.parametrize("folder", [".", "none"])
def test_no_feedback_is_an_empty_table(tmp_path: Path, folder: str) -> None:
    feedback = read_feedback(tmp_path / folder)
    assert (len(feedback), tuple(feedback.columns)) == (0, COLUMNS)
    assert accuracy_by_version(feedback) == {}


def test_accuracy_has_wilsons_interval(tmp_path: Path) -> None:
    rows = [row(str(number), number, "1", "Rock" if number < 8 else "Folk") for number in range(10)]
    (tmp_path / "feedback-1.jsonl").write_text("\n".join([*rows, row("x", 20, "2", "Folk")]))
    accuracies = accuracy_by_version(read_feedback(tmp_path))
    assert set(accuracies) == {"1", "2"}
    first = accuracies["1"]
    assert (first.version, first.n, first.n_right, first.accuracy) == ("1", 10, 8, 0.8)
    # Wilson (1927): (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), by hand.
    assert (first.low, first.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert str(first) == "feedback: 8 of 10 predictions right (80%, 95 % interval 49% to 94%)"
    assert (accuracies["2"].accuracy, accuracies["2"].low) == (0, 0)
