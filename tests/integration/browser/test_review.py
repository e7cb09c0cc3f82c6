"""The page of ``music-genre review`` in a real Chromium, decided on by keys alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from music_genre.datasets.corrections import read_corrections

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture
def issues(writable_checkout: Path, checkout: Path) -> pd.DataFrame:
    """Three tracks whose labels look wrong, in a checkout of its own with its recordings."""
    tracks = pd.read_parquet(writable_checkout / "data/tracks.parquet").iloc[:3]
    table = tracks[["track_id", "genre", "path", "title"]].assign(
        suggested="Rock", self_confidence=0.1, suggested_confidence=0.8, note=""
    )
    table.loc[table.index[0], "genre"] = "Folk"
    table.to_csv(writable_checkout / "reports/label_issues.csv", index=False)
    shutil.copytree(checkout / "data/audio", writable_checkout / "data/audio", dirs_exist_ok=True)
    (writable_checkout / "data/corrections.csv").unlink(missing_ok=True)
    return table


@pytest.fixture
def address(
    issues: pd.DataFrame, writable_checkout: Path, start_module: Callable[..., subprocess.Popen[str]]
) -> Iterator[str]:
    process = start_module(writable_checkout, "music_genre.cli", "review", "--port", "0")
    try:
        assert process.stdout is not None
        found = re.search(r"3 tracks to review at (http://127\.0\.0\.1:\d+)", process.stdout.readline())
        assert found, process.communicate(timeout=60)
        yield found[1]
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "these tests need Chromium: apt-get install chromium"
    messages: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_page(viewport={"width": 360, "height": 740})
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("pageerror", lambda error: messages.append(str(error)))
        opened.goto(address)
        expect(opened.locator("#item")).to_be_visible()
        yield opened
        browser.close()
    assert messages == []


def test_labels_are_decided_by_keys_alone(page: Page, issues: pd.DataFrame, writable_checkout: Path) -> None:
    expect(page.locator("#belief")).to_have_text("Labelled Folk, believed to 10 %; Rock to 80 %.")
    page.keyboard.press(" ")
    page.locator("#audio").evaluate("audio => audio.paused ? new Promise(done => audio.onplay = done) : null")
    for key, progress in [("Enter", "1 of 3"), ("d", "2 of 3"), ("g", "3 of 3"), ("u", "2 of 3")]:
        page.keyboard.press(key)
        expect(page.locator("#progress")).to_have_text(f"{progress} decided")
    first, second, _ = issues["track_id"]
    table = read_corrections(writable_checkout / "data/corrections.csv")
    assert dict(zip(table["track_id"], table["genre"], strict=True)) == {first: "Rock", second: "drop"}
    page.reload()
    expect(page.locator("#title")).to_contain_text("3. ")
    expect(page.locator("#progress")).to_have_text("2 of 3 decided")


def test_page_has_no_accessibility_problem_and_fits_a_phone(page: Page) -> None:
    problems = Axe().run(page).response["violations"]
    assert [problem["id"] for problem in problems] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
