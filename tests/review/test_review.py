"""The review's queue and its server."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from music_genre.datasets.corrections import read_corrections
from music_genre.errors import MusicGenreError
from music_genre.review.app import make_app
from music_genre.review.queue import ReviewQueue

GENRES = ["NA", "Pop", "Rock"]
COPY = "the same recording as folder/m/Rock/c.wav, under Pop, Rock: data/corrections.csv can say which"
BASE_URL = "http://127.0.0.1:8765"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a copy under two genres, two labels that look wrong, and recordings."""
    pd.DataFrame(
        [
            (20, "Rock", "NA", 0.01, 0.9, "", "folder/m/Rock/b.wav", "Second"),
            (10, "NA", "Pop", 0.2, 0.7, "", "folder/m/NA/a.wav", ""),
        ],
        columns=[
            *("track_id", "genre", "suggested", "self_confidence", "suggested_confidence", "note", "path", "title")
        ],
    ).to_csv(tmp_path / "label_issues.csv", index=False)
    pd.DataFrame(
        [
            (30, "folder/m/Pop/c.wav", "dropped", "label_conflict", COPY),
            (30, "folder/m/Rock/c.wav", "dropped", "label_conflict", COPY),
            (40, "folder/m/Pop/d.wav", "dropped", "silent", "peak 0.0"),
        ],
        columns=["track_id", "path", "severity", "reason", "detail"],
    ).to_csv(tmp_path / "faults.csv", index=False)
    (tmp_path / "audio/folder/m/Rock").mkdir(parents=True)
    (tmp_path / "audio/folder/m/Rock/b.wav").write_bytes(b"RIFF....WAVE")
    return tmp_path


@pytest.fixture
def queue(folder: Path) -> ReviewQueue:
    return ReviewQueue(folder / "label_issues.csv", folder / "faults.csv", folder / "corrections.csv", GENRES)


@pytest.fixture
def client(queue: ReviewQueue, folder: Path) -> TestClient:
    return TestClient(make_app(queue, folder / "audio"), base_url=BASE_URL)


def decisions(folder: Path) -> list[list[object]]:
    return read_corrections(folder / "corrections.csv").to_numpy().tolist()


def test_copies_under_several_genres_come_first_and_once(queue: ReviewQueue) -> None:
    assert queue.order == [30, 20, 10]
    assert (queue.items[30].genre, queue.items[30].suggested) == ("", "")
    assert (queue.items[20].genre, queue.items[20].suggested, queue.items[20].self_confidence) == ("Rock", "NA", 0.01)


def test_decision_is_written_replaced_and_taken_back(queue: ReviewQueue, folder: Path) -> None:
    (folder / "corrections.csv").write_text("track_id,genre,reason\n99,Rock,by mail\n", encoding="utf-8")
    queue.decide(20, "NA", "by ear")
    queue.decide(20, "drop", "speech\nno music")
    assert decisions(folder) == [[20, "drop", "speech no music"], [99, "Rock", "by mail"]]
    queue.decide(20, None, "")
    assert decisions(folder) == [[99, "Rock", "by mail"]]


def test_missing_table_says_how_to_make_it(folder: Path) -> None:
    with pytest.raises(MusicGenreError, match="`dvc repro label_quality` makes it"):
        ReviewQueue(folder / "none.csv", folder / "faults.csv", folder / "corrections.csv", GENRES)


def test_page_decides_by_its_requests(client: TestClient, folder: Path) -> None:
    items = client.get("/queue").json()["items"]
    assert [(item["track_id"], item["decision"]) for item in items] == [("30", None), ("20", None), ("10", None)]
    answer = client.put("/decisions/30", json={"genre": "Pop", "reason": "by ear"})
    assert (answer.status_code, answer.json()) == (200, {"track_id": "30", "decision": "Pop"})
    assert decisions(folder) == [[30, "Pop", "by ear"]]
    assert client.get("/queue").json()["items"][0]["decision"] == "Pop"
    assert client.put("/decisions/30", json={"genre": None}).status_code == 200
    assert decisions(folder) == []


def test_part_of_a_recording_can_be_asked_for(client: TestClient) -> None:
    assert client.get("/audio/20").content == b"RIFF....WAVE"
    part = client.get("/audio/20", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"....")


@pytest.mark.parametrize("address", ["/audio/10", "/audio/99", "/audio/..%2f..%2fcorrections.csv", "/audio/x"])
def test_only_recordings_of_the_queue_are_sent(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("/decisions/99", '{"genre": "Pop"}', 404),
        ("/decisions/20", '{"genre": "Polka"}', 422),
        ("/decisions/20", '{"genre": 1}', 422),
        ("/decisions/20", '["Pop"]', 422),
        ("/decisions/20", "no JSON", 422),
        ("/decisions/20", '{"genre": "' + "x" * 20_000 + '"}', 422),
    ],
)
def test_impossible_decision_is_refused_and_writes_nothing(
    client: TestClient, folder: Path, address: str, body: str, status: int
) -> None:
    answer = client.put(address, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert not (folder / "corrections.csv").exists()


def test_other_pages_cannot_decide(client: TestClient, folder: Path) -> None:
    # What a page of another site can send without the browser asking first; and a name that leads to this machine.
    plain = client.put("/decisions/20", content='{"genre": "Pop"}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    assert client.get("/queue", headers={"Host": "evil.example"}).status_code == 400
    assert not (folder / "corrections.csv").exists()


def test_corrections_that_cannot_be_read_are_reported(client: TestClient, folder: Path) -> None:
    (folder / "corrections.csv").write_text("id\n1\n", encoding="utf-8")
    answer = client.put("/decisions/20", json={"genre": "Pop"})
    assert answer.status_code == 500
    assert "expected track_id,genre,reason" in answer.json()["error"]
    assert (folder / "corrections.csv").read_text(encoding="utf-8") == "id\n1\n"
