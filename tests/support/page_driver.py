"""Drives the service's page in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, expect


def recorded(page: Page, messages: list[str]) -> Page:
    def record(message: ConsoleMessage) -> None:
        messages.append(f"{message.type}: {message.text}")

    page.on("console", record)
    page.on("pageerror", lambda error: messages.append(f"uncaught: {error}"))
    return page


def choose(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def wait_for_prediction(page: Page) -> None:
    """Wait until the song has a prediction and is drawn."""
    expect(page.locator("#prediction")).to_contain_text("Predicted by music-genre version 1")
    expect(page.locator("#lanes")).to_have_attribute("aria-busy", "false")


def wait_for_audio(page: Page, condition: str) -> None:
    """Wait until a condition on the page's ``audio`` holds; Playwright's own function breaks the page's policy."""
    for _ in range(200):
        if page.locator("#audio").evaluate(f"audio => {condition}"):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never true: {condition}")


def wait_until_playing(page: Page) -> None:
    wait_for_audio(page, "audio.currentTime > 0")


def current_time(page: Page) -> float:
    return float(page.locator("#audio").evaluate("audio => audio.currentTime"))


def percent(fraction: float) -> str:
    return f"{fraction:.0%}".replace("%", "\N{NO-BREAK SPACE}%")


def accessibility_violations(page: Page) -> list[str]:
    """Serious violations that axe-core finds."""
    violations = Axe().run(page).response["violations"]
    return [f"{item['id']}: {item['help']}" for item in violations if item["impact"] in ("serious", "critical")]


def count_colours(page: Page, canvas: str) -> int:
    """How many different colours a canvas shows."""
    return int(
        page.locator(canvas).evaluate(
            "canvas => { const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            " return new Set(new Uint32Array(data.buffer)).size; }"
        )
    )


def positions(page: Page) -> tuple[float, float]:
    """Seconds of the audio and of the cursor on the time axis, right after the page was drawn."""
    audio, cursor = page.evaluate(
        "() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => {"
        " const audio = document.querySelector('#audio'), cursor = document.querySelector('#cursor');"
        " const box = cursor.parentElement.getBoundingClientRect(), own = cursor.getBoundingClientRect();"
        " const fraction = (own.left + own.width / 2 - box.left) / box.width;"
        " resolve([audio.currentTime, fraction * audio.duration]); })))"
    )
    return float(audio), float(cursor)


def cursor_seconds(page: Page) -> float:
    """The position of the cursor on the time axis."""
    return positions(page)[1]


def reach(page: Page, name: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{name} is not reached by Tab")
