"""Feedback on a real server, which has an API key and keeps audio."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from music_genre.datasets.folder import FolderParams, list_files
from music_genre.service import schemas
from music_genre.validation.feedback import accuracy_by_version, read_feedback
from music_genre.validation.request_log import forget_request

pytestmark = [pytest.mark.service, pytest.mark.slow]

KEY = "correct-horse"
EXAMPLE = Path(__file__).parents[3] / "examples/client.py"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the request log."""
    return tmp_path_factory.mktemp("feedback") / "requests"


@pytest.fixture(scope="module")
def address(
    served_folder: Path,
    log: Path,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], list[int]],
    free_port: Callable[[], int],
) -> Iterator[str]:
    """The address of the server, which several processes share."""
    port, output = free_port(), log.parent / "server.log"
    settings = {"API_KEY": KEY, "REQUEST_LOG": str(log), "KEEP_AUDIO": "true", "FEEDBACK_PER_MINUTE": "60"}
    variables = {f"MUSIC_GENRE_{name}": value for name, value in settings.items()}
    process = start_server(served_folder, port, output, **variables)
    try:
        until_ready(process, port, output)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_server(process)
    assert "Traceback" not in output.read_text()


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """A client with the key, whose requests go to any of the processes."""
    limits = httpx.Limits(max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=address, headers=headers, timeout=60, limits=limits) as client:
        yield client


def predict(client: httpx.Client, content: bytes, **headers: str) -> dict[str, Any]:
    response = client.post("/predict", files={"audio": content}, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def give(client: httpx.Client, request_id: object, genre: object) -> httpx.Response:
    return client.post("/feedback", json={"request_id": request_id, "genre": genre})


def kept(log: Path, folder: str) -> dict[str, bytes]:
    """The recordings below a folder by their names."""
    return {str(path.relative_to(log / folder)): path.read_bytes() for path in (log / folder).rglob("*.*")}


def test_feedback_is_recorded_and_the_recording_joins_a_collection(
    client: httpx.Client, log: Path, rock_mp3: bytes
) -> None:
    prediction = predict(client, rock_mp3)
    request_id, predicted = prediction["request_id"], prediction["genre"]
    assert kept(log, "pending")[f"{request_id}.mp3"] == rock_mp3
    other = "Folk" if predicted != "Folk" else "Rock"
    for given, genre in ((other, other), ("right", predicted)):
        response = give(client, request_id, given)
        assert response.status_code == 200
        assert response.json() == {
            "request_id": request_id,
            "version": prediction["model"]["version"],
            "predicted": predicted,
            "genre": genre,
            "right": genre == predicted,
        }
        schemas.Feedback.model_validate(response.json(), extra="forbid")
        assert kept(log, "audio") == {f"{genre}/{request_id}.mp3": rock_mp3}
    feedback = read_feedback(log)
    assert feedback[["request_id", "predicted", "genre"]].to_numpy().tolist() == [[request_id, predicted, predicted]]
    assert request_id not in "".join(kept(log, "pending"))
    listing = list_files(FolderParams(path=(log / "audio",), artist_pattern=None))
    assert listing.files == {f"audio/{predicted}/{request_id}.mp3": log / "audio" / predicted / f"{request_id}.mp3"}


def feedback_samples(client: httpx.Client, version: str) -> dict[str, float]:
    """What the metrics show of a version's accuracy, by bound."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    assert any(s.name == "music_genre_feedback_total" and s.labels["result"] == "wrong" and s.value for s in samples)
    return {
        sample.labels["bound"]: sample.value
        for sample in samples
        if sample.name == "music_genre_feedback_accuracy" and sample.labels["version"] == version
    }


def test_accuracy_with_its_interval_is_in_the_metrics(client: httpx.Client, log: Path, rock_mp3: bytes) -> None:
    prediction = predict(client, rock_mp3)
    wrong = next(genre for genre in prediction["probabilities"] if genre != prediction["genre"])
    assert give(client, prediction["request_id"], wrong).status_code == 200
    version = prediction["model"]["version"]
    accuracy = accuracy_by_version(read_feedback(log))[version]
    assert accuracy.n >= 1
    expected = {"value": accuracy.accuracy, "low": accuracy.low, "high": accuracy.high}
    end = time.monotonic() + 20
    while (shown := feedback_samples(client, version)) != pytest.approx(expected) and time.monotonic() < end:
        time.sleep(0.5)  # a task of the worker shows it
    assert shown == pytest.approx(expected)


def test_of_two_requests_with_one_id_the_later_counts(client: httpx.Client, log: Path, song_wav: bytes) -> None:
    for content in (song_wav, song_wav + bytes(2)):
        predict(client, content, **{"X-Request-Id": "twice"})
    assert give(client, "twice", "Folk").status_code == 200
    assert kept(log, "audio")["Folk/twice.wav"] == song_wav + bytes(2)


@pytest.mark.parametrize("request_id", ["..", ".", "._x", "...", "-rf", "a.b.wav"])
def test_id_that_looks_like_a_path_is_a_name(client: httpx.Client, log: Path, song_wav: bytes, request_id: str) -> None:
    predict(client, song_wav, **{"X-Request-Id": request_id})
    assert give(client, request_id, "Folk").status_code == 200
    name = request_id if request_id[0] != "." else f"%2E{request_id[1:]}"
    assert kept(log, "audio")[f"Folk/{name}.wav"] == song_wav
    assert {path.name for path in log.iterdir()} <= {"audio", "pending"} | {path.name for path in log.glob("*.jsonl*")}


def test_upload_that_cannot_be_predicted_is_not_kept(client: httpx.Client, log: Path) -> None:
    before = kept(log, "pending")
    for content in (b"no music" * 100, b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(1000)):
        assert client.post("/predict", files={"audio": content}).status_code == 422
    assert kept(log, "pending") == before


def test_forgotten_request_takes_no_feedback(client: httpx.Client, log: Path, song_wav: bytes) -> None:
    for request_id in ("forget-me", "keep-me"):
        predict(client, song_wav, **{"X-Request-Id": request_id})
        assert give(client, request_id, "Folk").status_code == 200
    assert log / "audio/Folk/forget-me.wav" in forget_request(log, "forget-me")
    texts = [path.read_text() for path in log.glob("*.jsonl*")]
    assert not any("forget-me" in text for text in texts)
    assert not any("forget-me" in name for name in kept(log, "audio"))
    assert give(client, "forget-me", "Folk").status_code == 404
    assert give(client, "keep-me", "right").status_code == 200
    predict(client, song_wav, **{"X-Request-Id": "after"})  # the service goes on writing to the same files
    assert give(client, "after", "right").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid"),
        (b"{", 422, "invalid"),
        (b"[" * 4000, 422, "invalid"),
        (b"\xff\xfe", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'{"genre": "Rock"}', 422, "invalid"),
        (b'{"request_id": "r"}', 422, "invalid"),
        (b'{"request_id": "r", "genre": "Rock", "note": ""}', 422, "invalid"),
        (b'{"request_id": 17, "genre": "Rock"}', 422, "invalid"),
        (b'{"request_id": "r", "genre": ["Rock"]}', 422, "invalid"),
        (b'{"request_id": "../../r", "genre": "Rock"}', 422, "invalid"),
        (b'{"request_id": "r\\n", "genre": "Rock"}', 422, "invalid"),
        (b'{"request_id": "never-seen", "genre": "Rock"}', 404, "not_found"),
        (b" " * 5000, 413, "too_large"),
    ],
)
def test_bad_feedback_is_an_error_with_a_code(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    response = client.post("/feedback", content=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert "\n" not in error["message"]
    assert len(error["message"]) < 300


def test_body_of_unknown_length_is_bounded(client: httpx.Client) -> None:
    response = client.post("/feedback", content=iter([b"[" * 1000] * 100))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("genre", ["Polka", "rock", "", "..", "../Rock", "R&B/..", "x" * 3000])
def test_genre_that_the_model_does_not_know_is_refused_with_the_list(
    client: httpx.Client, log: Path, song_wav: bytes, genre: str
) -> None:
    predict(client, song_wav, **{"X-Request-Id": "unknown-genre"})
    response = give(client, "unknown-genre", genre)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid")
    assert response.json()["error"]["message"].endswith("expected 'right' or one of Folk, R&B, Rock")
    assert "unknown-genre" not in "".join(path.read_text() for path in log.glob("feedback-*"))


def test_feedback_needs_the_key(client: httpx.Client, address: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = httpx.post(f"{address}/feedback", json={"request_id": "r", "genre": "right"}, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")


def test_example_client_gives_feedback(
    address: str, log: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSIC_GENRE_API_KEY", KEY)
    file = str(checkout / "music/Folk/2.wav")
    for genre, status in (("Folk", 0), ("Polka", 1)):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), file, "--feedback", genre, "--url", address], capture_output=True, text=True
        )
        assert (done.returncode, "no genre 'Polka'" in done.stderr) == (status, bool(status)), done.stderr
    assert (checkout / "music/Folk/2.wav").read_bytes() in kept(log, "audio").values()


def test_model_says_whether_there_is_feedback(client: httpx.Client) -> None:
    assert client.get("/model").json()["feedback"] is True


def test_documentation_has_the_body_and_the_errors(client: httpx.Client) -> None:
    operation = client.get("/docs.json").json()["paths"]["/feedback"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert (set(schema["properties"]), schema["required"]) == ({"request_id", "genre"}, ["request_id", "genre"])
    assert set(operation["responses"]) == {"200", "401", "404", "408", "413", "422", "429", "500", "503"}
    for status, response in operation["responses"].items():
        content = response["content"]["application/json"]
        assert content["schema"]["$ref"].endswith("Feedback" if status == "200" else "ErrorResponse")


def test_too_much_feedback_is_refused_for_a_moment(client: httpx.Client) -> None:
    # The last test here: it uses up the minute of every process.
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: give(client, "never-seen", "right"), range(300)))
    refused = [response for response in responses if response.status_code == 429]
    assert {response.status_code for response in responses} == {404, 429}
    assert refused
    assert {response.json()["error"]["code"] for response in refused} == {"rate_limited"}
    assert all(1 <= int(response.headers["retry-after"]) <= 2 for response in refused)
    assert json.loads(refused[0].content)["error"]["message"].startswith("more than 60 requests a minute")
