"""What the service shows of itself: metrics, a line of JSON a request, the request log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from music_genre.validation import drift

pytestmark = pytest.mark.service

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana-dashboard.json"


def post(server: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return server.post("/predict", files={"audio": ("clip.mp3", content)}, headers=headers)


def test_predictions_and_errors_are_counted_and_their_phases_timed(
    server: httpx.Client, samples: Callable[[], dict[Any, float]], rock_mp3: bytes
) -> None:
    before = samples()
    predictions = [post(server, rock_mp3).json() for _ in range(3)]
    post(server, b"no music" * 100)
    post(server, b"")
    after = samples()

    def increase(name: str, **labels: str) -> float:
        key = (f"music_genre_{name}", frozenset(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert increase("requests_total", result="ok") == 3
    assert increase("requests_total", result="undecodable") == 1
    assert increase("requests_total", result="empty") == 1
    first = predictions[0]
    version, confident = first["model"]["version"], str(first["confident"]).lower()
    assert increase("predictions_total", version=version, genre=first["genre"], confident=confident) == 3
    confidence = sum(prediction["confidence"] for prediction in predictions)
    assert increase("confidence_sum", version=version) == pytest.approx(confidence)
    assert [increase("phase_seconds_count", phase=phase) for phase in ("decode", "features", "forward")] == [4, 3, 3]
    assert 0 < increase("phase_seconds_sum", phase="features") < 60
    assert after["music_genre_model_info", frozenset({("version", version)})] == 1


def test_dashboard_shows_all_metrics_and_only_metrics_that_there_are(
    server: httpx.Client,
    samples: Callable[[], dict[Any, float]],
    rock_mp3: bytes,
    add_version: Callable[..., str],
    set_challenger: Callable[[str], None],
    wait_until: Callable[..., None],
) -> None:
    set_challenger(add_version())

    def has_shadow_metrics() -> bool:
        post(server, rock_mp3)
        return "music_genre_shadow_total" in {name for name, _ in samples()}

    wait_until(has_shadow_metrics)
    request_id = post(server, rock_mp3).json()["request_id"]
    assert server.post("/feedback", json={"request_id": request_id, "genre": "right"}).status_code == 200
    wait_until(lambda: "music_genre_feedback_accuracy" in {name for name, _ in samples()})
    labels_of: dict[str, set[str]] = {}
    for name, labels in samples():
        labels_of.setdefault(name, set()).update(label for label, _ in labels)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {name for text in expressions for name in re.findall(r"music_genre_\w+", text)} <= labels_of.keys()
    for text in expressions:
        known = set().union(*(labels_of[name] for name in re.findall(r"music_genre_\w+", text)))
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(", ")}
        assert grouped | set(re.findall(r"\{(\w+)=", text)) <= known, text
    own = {name for name in labels_of if name.startswith("music_genre_") and not name.endswith(("_created", "_sum"))}
    for name in {re.sub(r"_(bucket|count)$", "", name) for name in own}:
        assert any(name in text for text in expressions), f"no panel shows {name}"


def test_request_id_is_in_the_response_and_in_the_log(server: httpx.Client, server_log: Path, rock_mp3: bytes) -> None:
    response = post(server, rock_mp3, **{"X-Request-Id": "from-the-proxy.17"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "from-the-proxy.17"
    line = line_of(server_log, "from-the-proxy.17")
    assert (line["method"], line["path"], line["status"], line["result"]) == ("POST", "/predict", 200, "ok")
    assert line["genre"] == response.json()["genre"]
    assert set(line["phases"]) == {"decode", "features", "forward"}
    assert line["seconds"] >= sum(line["phases"].values()) * 0.99


@pytest.mark.parametrize("given", ["", 'a"b\\n', "x" * 65, "ünsound".encode().decode("latin-1")])
def test_unsafe_request_id_is_replaced(server: httpx.Client, server_log: Path, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1")), (b"content-type", b"text/plain")]
    response = server.post("/predict", content=b"x", headers=headers)
    assert response.status_code == 415
    request_id = response.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert line_of(server_log, request_id)["result"] == "unsupported"


def line_of(server_log: Path, request_id: str) -> dict[str, Any]:
    """The line of a request in the log, which may be written after the response is here."""
    for _ in range(100):
        for text in server_log.read_text(encoding="utf-8").splitlines():
            if text.startswith("{") and (line := json.loads(text)).get("request_id") == request_id and "status" in line:
                return dict(line)
        time.sleep(0.05)
    raise AssertionError(f"no line of request {request_id}")


def test_request_log_has_statistics_and_no_audio(server: httpx.Client, served_folder: Path, rock_mp3: bytes) -> None:
    response = post(server, rock_mp3, **{"X-Request-Id": "to-be-logged"})
    logs = (served_folder / "requests").glob("requests-*.jsonl")
    lines = [line for path in logs for line in path.read_text().splitlines()]
    (line,) = [json.loads(line) for line in lines if "to-be-logged" in line]
    assert line["genre"] == response.json()["genre"]
    assert set(line) >= {*drift.FEATURES, "time", "version", "confidence"}
    assert all(len(line) < 1000 for line in lines)
