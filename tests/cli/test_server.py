"""``music-genre predict --server URL``: another process answers."""

from __future__ import annotations

import csv
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from music_genre.cli._server import MAX_REQUESTS, MAX_TRIES
from processes import run

Command = Callable[..., Any]
Response = tuple[int, Any]

PREDICTION = {
    "genre": "Rock",
    "confidence": 0.75,
    "confident": True,
    "probabilities": {"Folk": 0.25, "Rock": 0.75},
    "duration_seconds": 2.0,
}
SEGMENT = {"start_seconds": 0.0, "end_seconds": 2.0, "genre": "Rock", "probabilities": {"Folk": 0.25, "Rock": 0.75}}
ADDED = {"model": {"name": "music-genre", "version": "3"}, "request_id": "1"}
BUSY = 503, {"error": {"code": "busy", "message": "server busy: 32 concurrent requests"}}


class Service:
    """The API on loopback: it answers what a test says, by the content of the upload, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Response | list[Response]] = {}
        self.asked: list[tuple[str, str | None, bytes]] = []
        self.running = self.most_running = 0
        self.key: str | None = None
        self.model: Response = 200, {"name": "music-genre", "version": "3", "genres": ["Folk", "Rock"]}
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.respond(service.model)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].encode()
                fields = dict(map(parse_part, body.split(boundary)[1:-1]))
                with service.lock:
                    service.running += 1
                    service.most_running = max(service.running, service.most_running)
                time.sleep(0.1 if b"slow" in fields["audio"] else 0.02)
                with service.lock:
                    service.running -= 1
                    answer = service.answers.get(fields["audio"], (200, PREDICTION | ADDED))
                    answer = answer.pop(0) if isinstance(answer, list) else answer
                    timeline = fields.get("timeline", b"false") == b"true"
                    service.asked.append((self.path, self.headers["Authorization"], fields["audio"]))
                if timeline and answer[0] == 200:
                    answer = 200, answer[1] | {"segments": [SEGMENT]}
                self.respond(answer)

            def respond(self, response: Response) -> None:
                status, body = response
                if service.key is not None and self.headers["Authorization"] != f"Bearer {service.key}":
                    status, body = 401, {"error": {"code": "unauthorized", "message": "send the API key"}}
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def parse_part(part: bytes) -> tuple[str, bytes]:
    """The name and the content of a field of a form."""
    head, _, content = part.partition(b"\r\n\r\n")
    return head.partition(b'name="')[2].partition(b'"')[0].decode(), content.removesuffix(b"\r\n")


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.server.shutdown()
    service.server.server_close()
    thread.join()


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outside any project: a folder of two files, the first of which takes longer."""
    (tmp_path / "music").mkdir()
    (tmp_path / "music/a.mp3").write_bytes(b"slow song")
    (tmp_path / "music/b.mp3").write_bytes(b"song")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUSIC_GENRE_API_KEY", raising=False)
    return tmp_path


def test_lines_are_those_of_a_local_prediction_in_order(command: Command, music: Path, service: Service) -> None:
    note = {"code": "band_limited", "message": "Nothing above 5.5 kHz."}
    service.answers[b"song"] = 200, PREDICTION | ADDED | {"confident": False, "notes": [note]}
    predicted = command("predict", "music", "--server", service.url)
    assert (predicted.code, predicted.err) == (0, "")
    expected = ["music/a.mp3: Rock (75%)", "music/b.mp3: Rock (75%, low confidence)", "  Nothing above 5.5 kHz."]
    assert predicted.lines == expected
    assert {(path, content) for path, _, content in service.asked} == {
        ("/predict", b"slow song"),
        ("/predict", b"song"),
    }


def test_address_may_end_with_a_slash_and_have_a_path(command: Command, music: Path, service: Service) -> None:
    assert command("predict", "music/b.mp3", "--server", f"{service.url}/music/").code == 0
    assert [path for path, *_ in service.asked] == ["/music/predict"]


def test_segments_are_asked_for_and_printed(command: Command, music: Path, service: Service) -> None:
    lines = command("predict", "music/b.mp3", "--timeline", "--server", service.url).lines
    assert lines == ["music/b.mp3: Rock (75%)", "      0.0 - 2.0 s  Rock (75%)"]
    line = command("predict", "music/b.mp3", "--timeline", "--json", "--server", service.url).out
    assert json.loads(line) == {"file": "music/b.mp3", **PREDICTION, "segments": [SEGMENT]}


def test_table_has_a_row_a_file_and_a_column_a_genre(command: Command, music: Path, service: Service) -> None:
    service.answers[b"song"] = 422, {"error": {"code": "silent", "message": "no sample above -80 dBFS"}}
    written = command("predict", "music", "none.mp3", "--server", service.url, "--output", "out.csv")
    assert written.code == 3
    assert written.out == "1 predictions, 2 errors written to out.csv\n"
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", "silent: no sample above -80 dBFS", "missing: no such file"]
    assert [rows[0][name] for name in ("genre", "Folk", "Rock")] == ["Rock", "0.25", "0.75"]


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (422, "undecodable", "undecodable: text"),
        (422, "too_short", "short: text"),
        (413, "too_long", "too_long: text"),
        (415, "unsupported", "unsupported: text"),
        (413, "too_large", "too_large: text"),
        (500, "failed", "failed: text"),
    ],
)
def test_errors_of_the_api_are_the_lines_of_a_local_prediction(
    command: Command, music: Path, service: Service, status: int, code: str, line: str
) -> None:
    service.answers[b"song"] = status, {"error": {"code": code, "message": "text"}}
    assert command("predict", "music/b.mp3", "--server", service.url).reason == f"music-genre: music/b.mp3: {line}\n"
    some = command("predict", "music", "--server", service.url)
    assert (some.code, some.lines) == (3, ["music/a.mp3: Rock (75%)"])


def test_busy_service_is_asked_again(command: Command, music: Path, service: Service) -> None:
    service.answers[b"song"] = [BUSY, BUSY, (200, PREDICTION)]
    assert command("predict", "music/b.mp3", "--server", service.url).lines == ["music/b.mp3: Rock (75%)"]
    assert len(service.asked) == 3


def test_service_that_stays_busy_is_one_line(command: Command, music: Path, service: Service) -> None:
    service.answers[b"song"] = BUSY
    reason = command("predict", "music/b.mp3", "--server", service.url).reason
    assert reason == "music-genre: music/b.mp3: busy: server busy: 32 concurrent requests\n"
    assert len(service.asked) == MAX_TRIES


def test_few_requests_run_at_a_time(command: Command, music: Path, service: Service) -> None:
    for number in range(20):
        (music / f"music/{number:02}.mp3").write_bytes(b"slow %d" % number)
    lines = command("predict", "music", "--server", service.url).lines
    assert [line.partition(":")[0] for line in lines] == [
        str(file.relative_to(music)) for file in sorted(music.glob("music/*"))
    ]
    assert 1 < service.most_running <= MAX_REQUESTS


def test_key_is_that_of_the_variable_or_of_the_projects_settings(
    command: Command, music: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.key = "secret"
    refused = command("predict", "music/b.mp3", "--server", service.url).reason
    assert (
        refused
        == f"music-genre: {service.url} does not accept the API key: MUSIC_GENRE_API_KEY must have the right one\n"
    )
    for name in ("dvc.yaml", "params.yaml"):
        (music / name).touch()
    (music / "settings.toml").write_text('api_key = "secret"\n')
    assert command("predict", "music/b.mp3", "--server", service.url).code == 0
    monkeypatch.setenv("MUSIC_GENRE_API_KEY", "other")
    assert command("predict", "music/b.mp3", "--server", service.url).code == 1
    assert {key for _, key, _ in service.asked} == {"Bearer secret"}


def test_address_where_nothing_answers_is_one_line(command: Command, music: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    reason = command("predict", "music", "--server", url).reason
    assert reason.startswith(f"music-genre: no service answers at {url} (")
    assert "start it, or correct --server" in reason


@pytest.mark.parametrize("model", [(404, b"not found"), (200, b"<html>"), (200, {}), (200, [])])
def test_another_service_is_one_line(command: Command, music: Path, service: Service, model: Response) -> None:
    service.model = model
    reason = command("predict", "music", "--server", service.url).reason
    assert f"{service.url} is no music-genre service that can predict: GET /model gave {model[0]}" in reason
    assert service.asked == []


@pytest.mark.parametrize("answer", [(200, b"\xff"), (200, {"genre": "Rock"}), (404, b""), (500, b"")])
def test_answer_that_is_no_prediction_is_one_line(
    command: Command, music: Path, service: Service, answer: Response
) -> None:
    service.answers[b"song"] = answer
    assert f"POST /predict gave {answer[0]}" in command("predict", "music/b.mp3", "--server", service.url).reason


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://localhost", "http://", "http://[", ""])
def test_what_is_no_address_is_wrong_usage(command: Command, music: Path, url: str) -> None:
    assert command("predict", "music", "--server", url).code == 2


@pytest.mark.parametrize("options", [("--model", "champion"), ("--model", "crnn")])
def test_a_model_is_not_chosen_for_a_server(command: Command, music: Path, options: tuple[str, ...]) -> None:
    refused = command("predict", "music", "--server", "http://localhost", *options)
    assert refused.code == 2
    assert "--model" in refused.err


def test_no_audio_needs_no_service(command: Command, music: Path) -> None:
    reason = command("predict", "none.mp3", "--server", "http://127.0.0.1:1").reason
    assert reason == "music-genre: none.mp3: missing: no such file\n"


def test_process_that_asks_loads_no_library_of_the_answer(music: Path, service: Service) -> None:
    code, out, err, loaded = run(music, "predict", "music", "--server", service.url)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert loaded == {"httpx"}
