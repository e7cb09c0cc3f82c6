"""One server and one Chromium for all tests of the service's page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect, sync_playwright

from page_driver import recorded

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
N_CHECKS = 12  # requests in a row that must find a worker with its model
FAKE_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # it beeps
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *FAKE_MICROPHONE]
WIDE = {"width": 1100, "height": 1000}
expect.set_options(timeout=60_000)


@pytest.fixture(scope="package")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's request log."""
    return tmp_path_factory.mktemp("browser") / "requests"


@pytest.fixture(scope="package")
def address(
    checkout: Path,
    log: Path,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], None],
    free_port: Callable[[], int],
) -> Iterator[str]:
    """The URL of a server with the checkout's champion, once every worker has its model."""
    port, output = free_port(), log.parent / "server.log"
    process = start_server(checkout, port, output, MUSIC_GENRE_REQUEST_LOG=str(log))
    try:
        until_ready(process, port, output)
        n_ready = 0
        while n_ready < N_CHECKS:
            # Each request is a new connection, which any of the workers may accept.
            n_ready = n_ready + 1 if httpx.get(f"http://127.0.0.1:{port}/model").status_code == 200 else 0
        yield f"http://127.0.0.1:{port}/"
    finally:
        stop_server(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def messages() -> list[str]:
    """The browser's console, and uncaught exceptions."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, messages: list[str]) -> Iterator[Page]:
    """The page, opened, with the model's description."""
    context = browser.new_context(viewport=WIDE)
    opened = recorded(context.new_page(), messages)
    opened.goto(address)
    expect(opened.locator("#model")).to_contain_text("version 1")
    yield opened
    context.close()


@pytest.fixture
def console_empty(messages: list[str]) -> Iterator[None]:
    """The console stays empty; a test of errors removes the browser's own line about them."""
    yield
    assert messages == []


@pytest.fixture(scope="session")
def song_wav(tmp_path_factory: pytest.TempPathFactory, synth_tone: Callable[..., np.ndarray]) -> Path:
    """20 s: a tone of Rock, then one of Folk."""
    path = tmp_path_factory.mktemp("songs") / "rock & <i>folk.wav"
    soundfile.write(path, np.concatenate([synth_tone("Rock", 50, 10), synth_tone("Folk", 51, 10)]), 22_050)
    return path


@pytest.fixture(scope="package")
def prediction(address: str, song_wav: Path) -> dict[str, Any]:
    """The service's prediction of the song."""
    files = {"audio": (song_wav.name, song_wav.read_bytes(), "audio/wav")}
    response = httpx.post(f"{address}predict", files=files, data={"timeline": "true"}, timeout=60)
    return dict(response.json())
