"""Pages on the data: drift of requests, and the front page of the data checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from music_genre.reporting.rendering import render_html, rows, stylesheet
from music_genre.validation.data_docs import make_offline, suite_pages
from music_genre.validation.drift import FeatureDrift
from music_genre.validation.feedback import accuracy_by_version
from music_genre.validation.runner import ValidationReport


def render_drift(
    results: Sequence[FeatureDrift], failures: Sequence[str], n_requests: int, summary: str, feedback: pd.DataFrame
) -> str:
    """A page with the verdict, the failed expectations, the feedback and a table for each feature.

    Args:
        results: from ``drift.compare``.
        failures: a sentence for each failed expectation.
        n_requests: how many requests were compared.
        summary: the verdict, a sentence.
        feedback: from ``read_feedback``.
    """
    features = [
        {"name": r.name, "drifted": r.drifted, "distance": r.distance, "threshold": r.threshold}
        | {"bins": list(zip(r.bins, r.reference, r.current, strict=True))}
        for r in results
    ]
    confusions = feedback[~feedback["right"].astype(bool)].value_counts(["genre", "predicted"]).reset_index()
    return render_html(
        "drift.html.j2",
        features=features,
        failures=failures,
        n_requests=n_requests,
        summary=summary,
        accuracies=list(accuracy_by_version(feedback).values()),
        confusions=rows(confusions),
    )


def render_data_checks(summary: Mapping[str, Any], failures: Sequence[str], pages: Mapping[str, str]) -> str:
    """A front page with the verdict, the failed expectations and a row for each suite.

    Args:
        summary: ``summary.json`` of the data checks.
        failures: a sentence for each failed expectation.
        pages: by suite, the page that shows its results, relative to the front page.
    """
    suites = []
    for name, suite in summary["suites"].items():
        total, passed = len(suite["expectations"]), sum(outcome["success"] for outcome in suite["expectations"])
        kind, result = ("bad", "failed") if not suite["success"] else ("good", "passed")
        if suite["success"] and passed < total:
            kind, result = "warn", "passed with warnings"
        suites.append({"name": name, "page": pages[name], "kind": kind, "result": result})
        suites[-1] |= {"n_passed": passed, "n_expectations": total}
    return render_html("data_checks.html.j2", success=summary["success"], failures=failures, suites=suites)


def write_data_checks(site: Path, report: ValidationReport) -> None:
    """Make the pages that ``validate`` left in ``site`` readable offline and give them a front page."""
    make_offline(site, stylesheet())
    front_page = render_data_checks(report.summary, report.failures, suite_pages(site))
    (site / "index.html").write_text(front_page, encoding="utf-8")
