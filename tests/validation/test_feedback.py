"""All that is kept of a request is found and removed; other requests are left as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from music_genre.validation.feedback import find_request, forget_request


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for name in ("pending/a.mp3", "pending/ab.mp3", "audio/Rock/a.wav", "audio/Rock/a.b.wav", "audio/Folk/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lines = '{"request_id": "a"}\n{"request_id": "ab", "note": "a"}\ntorn\n'
    for name in ("requests-0.jsonl", "requests-1.jsonl.1", "feedback-0.jsonl"):
        (tmp_path / name).write_text(lines, encoding="utf-8")
    return tmp_path


def test_request_is_removed_from_logs_and_folders(log: Path) -> None:
    found = forget_request(log, "a")
    names = ["requests-0.jsonl", "requests-1.jsonl.1", "feedback-0.jsonl", "pending/a.mp3", "audio/Rock/a.wav"]
    assert sorted(found) == sorted(log / name for name in names)
    assert not (log / "pending/a.mp3").exists()
    assert not (log / "audio/Rock/a.wav").exists()
    for name in names[:3]:
        assert (log / name).read_text("utf-8") == '{"request_id": "ab", "note": "a"}\ntorn\n'
    assert find_request(log, "a") == []
    assert all((log / name).is_file() for name in ("pending/ab.mp3", "audio/Rock/a.b.wav", "audio/Folk/c.wav"))


@pytest.mark.parametrize("request_id", ["", "*", "../a", "a.mp3", "pending/a", "x"])
def test_what_is_no_request_finds_nothing(log: Path, request_id: str) -> None:
    assert forget_request(log, request_id) == []


def test_log_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert forget_request(tmp_path / "nothing", "a") == []
