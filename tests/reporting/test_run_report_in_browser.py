"""The run report in a real Chromium, opened from disk: what answers does so to pointers and to keys alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from music_genre.reporting.media import audio_sample
from music_genre.reporting.report_context import RunReportContext
from music_genre.reporting.run_report import render_run_report

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
RNB, ROCK = "<b>R&B</b>", "Rock"
LONG = "A symphonic suite in seven movements, recorded live, remastered " * 4 + "x" * 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def file(context: RunReportContext, tmp_path: Path) -> Path:
    """The report of three clips, two of which sound; one has a very long title, the third has none."""
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(88_200) / 20), 22_050)
    sound = audio_sample(tmp_path / "tone.wav")
    assert sound is not None
    clips = context.clips.assign(title=["Song", LONG, None])
    path = tmp_path / "report.html"
    path.write_text(render_run_report(replace(context, clips=clips, samples={1: sound, 2: sound})), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    messages: list[str] = []
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.goto(file.as_uri())
    yield opened
    opened.close()
    assert messages == []


def is_playing(page: Page) -> bool:
    page.wait_for_timeout(200)
    return bool(page.evaluate("!player.paused"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_has_no_violations_of_accessibility(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", [390, 800, 1280, 1440])
def test_nothing_is_wider_than_the_page_and_players_are_in_view(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for button in page.locator("table .play").all():
        box = button.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_clip_of_a_table_is_played_and_stopped(page: Page) -> None:
    button = page.locator("table .play").first
    button.focus()
    page.keyboard.press("Enter")
    assert is_playing(page)
    assert (button.get_attribute("aria-label") or "").startswith("Stop ")
    page.keyboard.press("Enter")
    assert not is_playing(page)


def test_cell_of_a_confusion_matrix_lists_its_clips(page: Page) -> None:
    matrix = page.locator(".matrix[data-model=crnn]")
    cell = matrix.get_by_role("button", name=f"1 of {ROCK} predicted as {RNB}")
    cell.focus()
    page.keyboard.press("Enter")
    expect(matrix.locator("li")).to_have_count(1)
    expect(matrix.locator("li")).to_contain_text("(track 2)")
    expect(cell).to_have_attribute("aria-pressed", "true")
    matrix.locator("li .play").click()
    assert is_playing(page)
    cell.click()
    expect(matrix.locator("li")).to_have_count(0)


def test_learning_curves_tell_the_values_of_an_epoch(page: Page) -> None:
    curves = page.locator(".curves[data-model=crnn][data-measure=loss]")
    curves.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    expect(curves.locator("output")).to_have_text("Epoch 1: loss 2.000 on training, 2.100 on validation.")
    page.keyboard.press("End")
    expect(curves.locator("output")).to_have_text("Epoch 3: loss 1.000 on training, unknown on validation.")
    box = curves.locator("svg").bounding_box()
    assert box is not None
    curves.locator("svg").hover(position={"x": box["width"] * 0.55, "y": box["height"] / 2})
    expect(curves.locator("output")).to_contain_text("Epoch 2: loss 1.500")


def test_map_names_and_plays_clips_by_keys(page: Page) -> None:
    chart = page.locator(".map[data-model=crnn]")
    chart.locator(".points").focus()
    page.keyboard.press("ArrowRight")
    expect(chart.locator("output")).to_have_text(f"Song: {RNB}, predicted {RNB}")
    page.keyboard.press("Enter")
    assert is_playing(page)
    page.keyboard.press("Enter")
    assert not is_playing(page)
    page.keyboard.press("ArrowLeft")
    expect(chart.locator("output")).to_contain_text("no sound in this file")


def test_map_plays_clips_under_the_pointer_where_it_is_asked_to(page: Page) -> None:
    chart = page.locator(".map[data-model=crnn]")
    mark = chart.locator("[data-point='0']")
    mark.hover()
    assert not is_playing(page)
    chart.get_by_label("play a clip when the pointer is on it").check()
    mark.hover()
    assert is_playing(page)
    mark.click()
    assert not is_playing(page)


def test_map_hides_genres_and_changes_its_projection(page: Page) -> None:
    chart = page.locator(".map[data-model=crnn]")
    chart.get_by_role("button", name=ROCK).click()
    expect(chart.locator("[data-point]:visible")).to_have_count(1)
    chart.get_by_role("button", name=ROCK).click()
    expect(chart.locator("[data-point]:visible")).to_have_count(3)
    chart.get_by_label("Projection").select_option("principal components")
    places = [mark.get_attribute("transform") for mark in chart.locator("[data-point]").all()]
    assert len(set(places)) == 3


def test_printed_page_shows_what_is_folded(page: Page) -> None:
    assert page.locator("details:not([open])").count() > 0
    assert page.pdf()
    assert page.locator("details:not([open])").count() == 0
    page.set_viewport_size({"width": 794, "height": 1100})  # of A4
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 794
