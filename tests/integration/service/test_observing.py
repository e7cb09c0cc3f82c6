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

DASHBOARD = Path(__file__).parents[3] / "docs/grafana-dashboard.json"


@pytest.fixture
def song_of_a_genre(checkout: Path) -> bytes:
    return (checkout / "music/Rock/1.mp3").read_bytes()


def post(server: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return server.post("/predict", files={"audio": ("clip.mp3", content)}, headers=headers)


def test_answers_and_refusals_are_counted_and_their_phases_timed(
    server: httpx.Client, samples: Callable[[], dict[Any, float]], song_of_a_genre: bytes
) -> None:
    before = samples()
    answers = [post(server, song_of_a_genre).json() for _ in range(3)]
    post(server, b"no music" * 100)
    post(server, b"")
    after = samples()

    def grown(name: str, **labels: str) -> float:
        key = (f"music_genre_{name}", frozenset(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert grown("requests_total", result="answered") == 3
    assert grown("requests_total", result="undecodable") == 1
    assert grown("requests_total", result="empty") == 1
    version, told = answers[0]["model"]["version"], str(answers[0]["confident"]).lower()
    assert grown("predictions_total", version=version, genre=answers[0]["genre"], confident=told) == 3
    assert grown("confidence_sum", version=version) == pytest.approx(sum(answer["confidence"] for answer in answers))
    assert [grown("phase_seconds_count", phase=phase) for phase in ("decode", "features", "forward")] == [4, 3, 3]
    assert 0 < grown("phase_seconds_sum", phase="features") < 60
    assert after["music_genre_model_info", frozenset({("version", version)})] == 1


def test_the_dashboard_asks_for_what_is_served(
    server: httpx.Client,
    samples: Callable[[], dict[Any, float]],
    song_of_a_genre: bytes,
    add_version: Callable[..., str],
    make_challenger: Callable[[str], None],
) -> None:
    make_challenger(add_version())
    for _ in range(600):
        post(server, song_of_a_genre)
        if "music_genre_shadow_total" in {name for name, _ in samples()}:
            break
        time.sleep(0.1)
    served: dict[str, set[str]] = {}
    for name, labels in samples():
        served.setdefault(name, set()).update(label for label, _ in labels)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {name for expr in asked for name in re.findall(r"music_genre_\w+", expr)} <= served.keys()
    for expr in asked:
        known = set().union(*(served[name] for name in re.findall(r"music_genre_\w+", expr)))
        wanted = {label for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(", ")}
        assert wanted | set(re.findall(r"\{(\w+)=", expr)) <= known, expr
    ours = {name for name in served if name.startswith("music_genre_") and not name.endswith(("_created", "_sum"))}
    shown = {re.sub(r"_(bucket|count)$", "", name) for name in ours}
    assert all(any(name in expr for expr in asked) for name in shown), "a metric that nobody looks at"


def test_a_request_has_an_id_in_its_answer_and_in_its_line(
    server: httpx.Client, log: Path, song_of_a_genre: bytes
) -> None:
    answer = post(server, song_of_a_genre, **{"X-Request-Id": "from-the-proxy.17"})
    assert answer.headers["x-request-id"] == "from-the-proxy.17"
    line = line_of(log, "from-the-proxy.17")
    assert (line["method"], line["path"], line["status"], line["result"]) == ("POST", "/predict", 200, "answered")
    assert line["genre"] == answer.json()["genre"]
    assert set(line["phases"]) == {"decode", "features", "forward"}
    assert line["seconds"] >= sum(line["phases"].values()) * 0.99


@pytest.mark.parametrize("given", ["", 'a"b\\n', "x" * 65, "ünsound".encode().decode("latin-1")])
def test_an_id_that_would_spoil_the_log_is_replaced(server: httpx.Client, log: Path, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1")), (b"content-type", b"text/plain")]
    answer = server.post("/predict", content=b"x", headers=headers)
    assert answer.status_code == 415
    own = answer.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", own)
    assert line_of(log, own)["result"] == "unsupported"


def line_of(log: Path, request_id: str) -> dict[str, Any]:
    """The line of a request; the answer may be here before it."""
    for _ in range(100):
        for text in log.read_text(encoding="utf-8").splitlines():
            if text.startswith("{") and (line := json.loads(text)).get("request_id") == request_id and "status" in line:
                return dict(line)
        time.sleep(0.05)
    raise AssertionError(f"no line of request {request_id}")


def test_the_request_log_has_figures_and_no_sound(
    server: httpx.Client, served_folder: Path, song_of_a_genre: bytes
) -> None:
    answer = post(server, song_of_a_genre, **{"X-Request-Id": "to-be-logged"})
    lines = [line for path in (served_folder / "requests").iterdir() for line in path.read_text().splitlines()]
    (line,) = [json.loads(line) for line in lines if "to-be-logged" in line]
    assert line["genre"] == answer.json()["genre"]
    assert set(line) >= {*drift.FEATURES, "time", "version", "confidence"}
    assert all(len(line) < 1000 for line in lines)
