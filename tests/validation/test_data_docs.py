"""Pages of Great Expectations: readable offline, and the same bytes for the same data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from music_genre.validation.data_docs import make_offline, suite_pages
from music_genre.validation.runner import ValidationReport

STYLE = "body { margin: 0; }\n"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, one of which holds a page of an earlier run."""
    first, second = (tmp_path_factory.mktemp(name) / "site" for name in ("first", "second"))
    (second / "expectations").mkdir(parents=True)
    (second / "expectations/of_last_year.html").write_text("old", encoding="utf-8")
    return [first, second]


@pytest.fixture(scope="module")
def reports(make_tables: Callable[[], Any], sites: list[Path]) -> list[ValidationReport]:
    """The same failing data, validated twice."""
    reports = []
    for site in sites:
        tables = make_tables()
        tables.set_statistic(1, "maximum_db", 0.5)
        tables.splits.loc[tables.splits["track_id"].isin([14, 40]), "artist_id"] = "restless"
        reports.append(tables.report(site))
        make_offline(site, STYLE)
    assert not reports[0].success
    return reports


def test_same_data_give_the_same_bytes(sites: list[Path], reports: list[ValidationReport]) -> None:
    assert json.dumps(reports[0].summary) == json.dumps(reports[1].summary)
    first, second = ({p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()} for site in sites)
    assert first.keys() == second.keys()
    assert [str(page) for page in first if first[page] != second[page]] == []
    assert sum(page.suffix == ".html" for page in first) == 13


def test_pages_have_no_time_of_their_making(sites: list[Path], reports: list[ValidationReport]) -> None:
    for page in sites[0].rglob("*.html"):
        stamps = re.findall(r"\b20\d\d-?[01]\d-?[0-3]\d[T ]\d\d:?\d\d", page.read_text(encoding="utf-8"))
        assert {stamp for stamp in stamps if not stamp.startswith(("20000101", "2000-01-01"))} == set(), page


def test_pages_load_nothing_but_their_stylesheet(sites: list[Path], reports: list[ValidationReport]) -> None:
    pages = sorted(sites[0].rglob("*.html"))
    assert len(pages) == 13
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(script|iframe|img)\b|url\(|@import", text), page
        (href,) = re.findall(r"<link\b[^>]*href=\"([^\"]*)\"", text)
        assert (page.parent / href).read_text(encoding="utf-8").startswith(STYLE)


def test_each_suite_has_a_page_that_shows_what_failed(sites: list[Path], reports: list[ValidationReport]) -> None:
    pages = suite_pages(sites[0])
    assert pages.keys() == reports[0].summary["suites"].keys()
    assert "maximum_db" in (sites[0] / pages["spectrograms"]).read_text(encoding="utf-8")
    assert "14 40" in (sites[0] / pages["artists"]).read_text(encoding="utf-8")


def test_site_is_made_anew(sites: list[Path], reports: list[ValidationReport]) -> None:
    assert (sites[1] / "expectations/genres.html").is_file()
    assert not (sites[1] / "expectations/of_last_year.html").exists()
