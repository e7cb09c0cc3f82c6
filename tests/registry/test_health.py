"""A champion that fails in use is rolled back by itself, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from music_genre.errors import MusicGenreError
from music_genre.evaluation.results import ModelResult
from music_genre.registry import versions
from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.registry.gate import GateResult
from music_genre.registry.health import HealthLimits, roll_back_if_unhealthy, unhealthy
from music_genre.registry.history import champion_periods
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef

LIMITS = HealthLimits(max_error_share=0.1, min_feedback_accuracy=0.5)
LATER, EARLIER = "2100-01-01T00:00:00.000+00:00", "2000-01-01T00:00:00.000+00:00"


def write_requests(log: Path, version: str, n_failed: int, n: int, time: str = LATER) -> None:
    lines = [
        {"time": time, "request_id": str(number), "version": version}
        | ({"error": "failed"} if number < n_failed else {"genre": "Rock"})
        for number in range(n)
    ]
    with (log / "requests-1.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def write_feedback(log: Path, version: str, n_right: int, n: int, time: str = LATER) -> None:
    with (log / "feedback-1.jsonl").open("a") as file:
        for number in range(n):
            right = number < n_right
            line = {"time": time, "request_id": f"{version}-{number}", "version": version, "predicted": "Rock"}
            file.write(json.dumps(line | {"genre": "Rock" if right else "Folk", "right": right}) + "\n")


@pytest.fixture
def name(
    store: tuple[Path, RunRef], make_result: Callable[..., ModelResult], request: pytest.FixtureRequest
) -> Iterator[str]:
    """A registered model whose versions 1 and 2 were champion, in that order."""
    root, ref = store
    client, model = runs.connect(root), request.node.name
    gate = GateResult("crnn", [], [Criterion(CriterionName.DATA_QUALITY, True, True, True)])
    for digest in ("a", "b"):
        versions.register(client, model, digest, ref, make_result("crnn"), gate)
    versions.promote(client, model, "2", None)
    yield model


def roll_back(store: tuple[Path, RunRef], name: str, log: Path, limits: HealthLimits = LIMITS) -> str | None:
    return roll_back_if_unhealthy(runs.connect(store[0]), name, log, limits)


def champion(store: tuple[Path, RunRef], name: str) -> str | None:
    return versions.champion(runs.connect(store[0]), name)


def test_champion_whose_requests_fail_is_rolled_back_with_the_reason(
    store: tuple[Path, RunRef], name: str, tmp_path: Path
) -> None:
    write_requests(tmp_path, "2", 12, 40)
    assert roll_back(store, name, tmp_path) == "12 of 40 requests failed, at most 10% may"
    assert champion(store, name) == "1"
    last = champion_periods(runs.connect(store[0]), name)[-1]
    assert last.reason == "rolled back from version 2: 12 of 40 requests failed, at most 10% may"


def test_champion_whose_feedback_is_bad_is_rolled_back(store: tuple[Path, RunRef], name: str, tmp_path: Path) -> None:
    write_feedback(tmp_path, "2", 3, 20)
    assert roll_back(store, name, tmp_path) == "3 of 20 predictions with feedback are right, at least 50% must be"
    assert champion(store, name) == "1"


def test_it_is_done_once(store: tuple[Path, RunRef], name: str, tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_feedback(tmp_path, version, 0, 20)
    assert roll_back(store, name, tmp_path)
    assert roll_back(store, name, tmp_path) is None
    assert champion(store, name) == "1"


def test_few_requests_and_little_feedback_prove_nothing(store: tuple[Path, RunRef], name: str, tmp_path: Path) -> None:
    write_requests(tmp_path, "2", 1, 4)
    write_feedback(tmp_path, "2", 1, 4)
    assert roll_back(store, name, tmp_path) is None
    assert champion(store, name) == "2"


def test_only_what_the_champion_did_since_it_became_champion_counts(tmp_path: Path) -> None:
    since = "2050-01-01T00:00:00+00:00"
    write_feedback(tmp_path, "1", 0, 30)
    write_requests(tmp_path, "2", 30, 30, EARLIER)
    write_feedback(tmp_path, "2", 0, 30, EARLIER)
    assert unhealthy(tmp_path, "2", since, LIMITS) is None
    assert unhealthy(tmp_path, "1", since, LIMITS)


@pytest.mark.parametrize("limits", [HealthLimits(None, None), HealthLimits(0.9, None), HealthLimits(None, 0.01)])
def test_limits_that_are_not_set_or_kept_do_not_count(
    store: tuple[Path, RunRef], name: str, tmp_path: Path, limits: HealthLimits
) -> None:
    write_requests(tmp_path, "2", 12, 40)
    write_feedback(tmp_path, "2", 3, 20)
    assert roll_back(store, name, tmp_path, limits) is None


def test_first_champion_has_nothing_to_go_back_to(
    store: tuple[Path, RunRef], make_result: Callable[..., ModelResult], tmp_path: Path
) -> None:
    client = runs.connect(store[0])
    gate = GateResult("crnn", [], [Criterion(CriterionName.DATA_QUALITY, True, True, True)])
    versions.register(client, "alone", "a", store[1], make_result("crnn"), gate)
    write_feedback(tmp_path, "1", 0, 20)
    with pytest.raises(MusicGenreError, match="alone has no previous champion"):
        roll_back(store, "alone", tmp_path)
