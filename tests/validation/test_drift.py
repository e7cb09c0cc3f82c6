"""Drift: requests like the reference pass, others are detected, and the log is read whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.validation import drift

THRESHOLDS = drift.DriftThresholds(js_distance=0.15, alpha=0.02)


def clips(count: int, seed: int, louder: float = 0.0, silent: float = 0.0, genres: str = "AABC") -> pd.DataFrame:
    """Clips as the index and the log describe them."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "mean_db": rng.normal(-40 + louder, 5, count),
            "std_db": rng.normal(14, 2, count),
            "minimum_db": np.full(count, -80.0),
            "silent_fraction": np.where(rng.random(count) < 0.1, 0.02, 0.0) + silent,
            "genre": rng.choice([*genres], count),
        }
    )


def drifted(requests: pd.DataFrame, reference: pd.DataFrame, seed: int = 0) -> set[str]:
    results = drift.compare(reference, reference["genre"], requests, THRESHOLDS, seed)
    return {result.name for result in results if result.drifted}


def test_requests_like_the_reference_seldom_drift() -> None:
    alarms = sum(bool(drifted(clips(60, 100 + draw), clips(400, draw))) for draw in range(40))
    assert alarms <= 3


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"louder": 7.0}, "mean_db"), ({"silent": 0.3}, "silent_fraction"), ({"genres": "CCCA"}, "genre")],
)
def test_changed_feature_is_named(changed: dict[str, float], name: str) -> None:
    assert all(name in drifted(clips(60, 100 + draw, **changed), clips(400, draw)) for draw in range(10))


def test_significant_but_small_change_is_no_drift() -> None:
    reference = clips(40_000, 1)
    assert drifted(clips(40_000, 2, louder=0.4), reference) == set()
    assert drifted(clips(40_000, 2, louder=4), reference) == {"mean_db"}


def test_genre_never_predicted_before_is_a_bin_of_its_own() -> None:
    genre = drift.compare(clips(100, 1), pd.Series(["A"] * 100), clips(100, 2, genres="Z"), THRESHOLDS, 0)[-1]
    assert (genre.name, genre.bins, genre.distance) == ("genre", ("A", "Z"), 1)


def test_distributions_that_differ_by_rounding_alone_have_no_distance() -> None:
    reference = clips(60_000, 1).assign(genre=["A"] * 39_190 + ["B"] * 20_810)
    requests = clips(39_679, 2).assign(genre=["A"] * 25_917 + ["B"] * 13_762)
    genre = drift.compare(reference, reference["genre"], requests, THRESHOLDS, 0)[-1]
    assert (genre.distance, genre.drifted) == (0, False)


def line(number: int, version: str = "2") -> dict[str, object]:
    row = clips(1, number).iloc[0].to_dict()
    return {"time": f"2030-01-01T00:00:{number:02d}", "version": version, "request_id": str(number), **row}


def test_log_gives_newest_requests_of_last_version(tmp_path: Path) -> None:
    lines = [json.dumps(line(number)) for number in range(10)]
    old, half = json.dumps(line(11, "1") | {"time": "2029"}), lines[0][:50]
    (tmp_path / "requests-1.jsonl").write_text("\n".join([lines[9], lines[3], old, "[]", half]))
    (tmp_path / "requests-2.jsonl.1").write_text("\n".join([*lines[:3], *lines[4:9], lines[5]]))
    assert drift.read_log(tmp_path, 100)["request_id"].tolist() == [str(number) for number in range(10)]
    assert drift.read_log(tmp_path, 4)["request_id"].tolist() == ["6", "7", "8", "9"]
    assert drift.read_log(tmp_path / "none", 4).empty


def test_distance_of_nearly_equal_counts_is_zero_and_not_nan() -> None:
    # scipy's own result for these is NaN: findings/scipy-jensenshannon-nan.sh.
    a, b = np.array([74_924_470, 50_999_355]), np.array([74_924_471, 50_999_354])
    assert drift._js_distance(a, b) == 0
