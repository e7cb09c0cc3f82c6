"""The pages on drift and on the data checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.reporting.validation_pages import render_data_checks, render_drift
from music_genre.validation.drift import FeatureDrift
from music_genre.validation.feedback import COLUMNS

Parse = Callable[[str], Any]
RNB = "<b>R&B</b>"


def test_drift_page_shows_each_features_distributions(parse: Parse) -> None:
    features = [
        FeatureDrift("mean_db", ("up to -40", "above -40"), np.array([0.5, 0.5]), np.array([0.1, 0.9]), 0.35, 0.1),
        FeatureDrift("genre", (RNB, "Rock"), np.array([0.25, 0.75]), np.array([0.25, 0.75]), 0.0, 0.1),
    ]
    html = render_drift(features, [f"requests.mean_db: fails for {RNB}"], 1500, "Drift in mean_db.", feedback())
    page = parse(html)
    text = " ".join(page.text.split())
    assert "Drift in mean_db. 1,500 requests" in text
    assert "mean_db: drift" in text
    assert "genre: no drift" in text
    assert "distance 0.350, threshold 0.100." in text
    assert [attributes["style"] for attributes in page.attributes("i")[:4]] == [
        "width: 50.0%",
        "width: 10.0%",
        "width: 50.0%",
        "width: 90.0%",
    ]
    assert page.tables["Fraction of clips"][1] == [RNB, "", "25 %", "25 %"]
    assert RNB not in html
    assert page.references == []


def feedback(*genres: str) -> pd.DataFrame:
    """Feedback on predictions of Rock, with the right genres."""
    rows = [("2030", str(n), "3", "Rock", genre, genre == "Rock") for n, genre in enumerate(genres)]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_drift_page_shows_feedback_where_there_is_any(parse: Parse) -> None:
    html = render_drift([], [], 100, "No drift.", feedback("Rock", RNB, "Folk", "Rock", RNB))
    page = parse(html)
    assert page.tables["Accuracy on requests with feedback"][1] == ["3", "5", "2", "40 %", "12 % to 77 %"]
    assert page.tables["Wrong predictions by feedback"][1:] == [[RNB, "Rock", "2"], ["Folk", "Rock", "1"]]
    assert RNB not in html
    assert "feedback" not in render_drift([], [], 100, "No drift.", feedback()).lower()


@pytest.mark.parametrize(
    ("successes", "severity", "result"),
    [
        ([True, True], "critical", "passed"),
        ([True, False], "warning", "passed with warnings"),
        ([True, False], "critical", "failed"),
    ],
)
def test_front_page_of_checks_shows_each_suites_result(
    parse: Parse, successes: list[bool], severity: str, result: str
) -> None:
    passed = all(successes) or severity == "warning"
    expectations = [{"success": success, "severity": severity} for success in successes]
    summary = {"success": passed, "suites": {"tracks": {"success": passed, "expectations": expectations}}}
    html = render_data_checks(summary, [] if all(successes) else [f"tracks: {RNB}"], {"tracks": "a b/tracks.html"})
    page = parse(html)
    assert page.tables["Expectations by suite"][1] == ["tracks", result, f"{sum(successes)} of 2 pass"]
    assert page.references == ["a%20b/tracks.html"]
    assert ("Every critical check passes." in page.text) == passed
    assert (f"tracks: {RNB}" in page.text) == (not all(successes))
