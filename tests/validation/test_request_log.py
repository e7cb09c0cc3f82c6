"""The folder of a request log: found, counted, and forgotten while a service writes to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from music_genre.validation import drift
from music_genre.validation.request_log import NEWEST_BYTES, count_errors, find_request, forget_request, recording_name

STATISTICS = dict.fromkeys(drift.FEATURES, 0.0)


def line(request_id: str, second: int, version: str = "1", **fields: object) -> str:
    head = {"time": f"2030-01-01T00:00:{second:02d}", "request_id": request_id, "version": version}
    return json.dumps(head | (fields or {"genre": "Rock", **STATISTICS})) + "\n"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"audio")
    return path


def test_newest_prediction_with_an_id_is_found_whichever_worker_made_it(tmp_path: Path) -> None:
    (tmp_path / "requests-1.jsonl").write_text(line("a", 1) + line("b", 2))
    (tmp_path / "requests-2.jsonl.1").write_text(line("a", 5, "2") + line("aa", 6) + line("a", 7, error="failed"))
    (tmp_path / "feedback-1.jsonl").write_text(line("a", 9, "3"))
    found = find_request(tmp_path, "a")
    assert found is not None
    assert (found["time"][-2:], found["version"]) == ("05", "2")
    assert find_request(tmp_path, "c") is None
    assert find_request(tmp_path / "none", "a") is None


def test_torn_line_is_left_out(tmp_path: Path) -> None:
    torn = line("a", 1)[:60]
    (tmp_path / "requests-1.jsonl").write_text(torn + "\n" + line("b", 2) + "[]\n\n\xff\n{}\n" + torn)
    assert find_request(tmp_path, "a") is None
    assert find_request(tmp_path, "b") is not None


def test_errors_are_counted_among_the_newest_requests_of_a_version(tmp_path: Path) -> None:
    lines = [line(str(n), n, error="failed") if n in (0, 8) else line(str(n), n) for n in range(10)]
    (tmp_path / "requests-1.jsonl").write_text("".join(lines[:6]) + line("other", 59, "2", error="failed"))
    (tmp_path / "requests-2.jsonl").write_text("".join(lines[6:]))
    assert count_errors(tmp_path, "1", "") == (2, 10)
    assert count_errors(tmp_path, "2", "") == (1, 1)
    assert count_errors(tmp_path, "3", "") == (0, 0)


def test_drift_is_not_told_of_requests_that_failed(tmp_path: Path) -> None:
    (tmp_path / "requests-1.jsonl").write_text(line("a", 1) + line("b", 2, "2", error="failed"))
    assert drift.read_log(tmp_path, 10)["request_id"].tolist() == ["a"]


def test_forgotten_request_is_in_no_file_and_others_are_untouched(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("requests-1.jsonl", "requests-2.jsonl.1", "feedback-2.jsonl")]
    for number, path in enumerate(files):
        path.write_text(
            line("a", number) + line("keep", number) + line("a", 9) + line("aa", number) + line("a", 8)[:60]
        )
    other = tmp_path / "requests-3.jsonl"
    other.write_text(line("keep", 1, genre="a"))
    audio = [touch(tmp_path / name) for name in ("pending/a.mp3", "audio/Rock/a.wav")]
    kept = [touch(tmp_path / name) for name in ("pending/aa.mp3", "audio/Rock/a.b.wav", "audio/Rock/a.txt")]
    assert set(forget_request(tmp_path, "a")) == {*files, *audio}
    for number, path in enumerate(files):
        assert [row for row in path.read_text().splitlines() if row.strip()] == [
            line("keep", number).strip(),
            line("aa", number).strip(),
        ]
    assert other.read_text() == line("keep", 1, genre="a")
    assert not any(path.exists() for path in audio)
    assert all(path.exists() for path in kept)
    assert forget_request(tmp_path, "a") == []


def test_lines_that_a_service_writes_meanwhile_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "requests-1.jsonl"
    with path.open("a") as service:
        for request_id in ("a", "b"):
            service.write(line(request_id, 1))
            service.flush()
            forget_request(tmp_path, "a")
        service.write(line("c", 2))
    assert [row["request_id"] for row in map(json.loads, path.read_text().split("\n")[1:3])] == ["b", "c"]


@pytest.mark.parametrize("request_id", ["../audio/Rock/x", "*", "", "..", "x/../../outside", "x" * 65])
def test_id_is_never_a_path(tmp_path: Path, request_id: str) -> None:
    log = tmp_path / "log"
    kept = [touch(log / "audio/Rock/x.mp3"), touch(log / "pending/y.mp3"), touch(tmp_path / "outside.mp3")]
    assert forget_request(log, request_id) == []
    assert all(path.exists() for path in kept)


def test_recording_is_never_hidden_and_ids_have_different_names() -> None:
    ids = ["a", ".a", "..a", "..", ".", "._a", "2Ea"]
    names = {recording_name(request_id, ".mp3") for request_id in ids}
    assert len(names) == len(ids)
    assert not any(name.startswith(".") for name in names)


def test_only_the_newest_requests_count_for_errors(tmp_path: Path) -> None:
    def line(number: int, **fields: str) -> str:
        return json.dumps({"time": f"2030-{number:05d}", "request_id": "x" * 60, "version": "1", **fields}) + "\n"

    n = NEWEST_BYTES // len(line(0, error="failed"))
    text = "".join(line(number, error="failed") for number in range(n)) + "".join(
        line(number, genre="Rock_") for number in range(n)
    )
    (tmp_path / "requests-0.jsonl").write_text(text)
    n_errors, n_requests = count_errors(tmp_path, "1", "")
    assert n / 2 < n_requests < 1.5 * n
    assert n_errors < n / 10
