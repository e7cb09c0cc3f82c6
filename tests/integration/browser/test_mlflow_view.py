"""The view of MLflow's page that ``make ui`` links to, in a real Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from music_genre.tracking import runs

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[3]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
START_TIMEOUT_S = 120.0


@pytest.fixture
def address(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """MLflow's page on a store with three runs, of which neither the first nor the last is the best."""
    client = runs.connect(tmp_path)
    experiment_id = client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    for name, macro_f1 in (("middle", 0.5), ("best", 0.75), ("worst", 0.25)):
        run_id = client.create_run(experiment_id, run_name=name).info.run_id
        for metric in runs.VIEW_METRICS:
            client.log_metric(run_id, f"validation_{metric}", macro_f1)
        client.log_metric(run_id, "test_accuracy", 1 - macro_f1)
        client.set_terminated(run_id)
    port = free_port()
    command = ("-m", "mlflow", "ui", "--backend-store-uri", runs.store_uri(tmp_path), "--port", str(port))
    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--workers", "1"], env=dict(os.environ), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        found = f"http://127.0.0.1:{port}"
        wait_for(found, process)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail("MLflow's page does not answer")


def test_link_of_make_ui_opens_on_validation_the_best_first(address: str) -> None:
    link = re.search(r'localhost:5000(/#/experiments/[^"]+)', (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert link
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 2400, "height": 900})
        page.goto(address + link[1])
        names = page.get_by_role("link", name=re.compile("^(best|middle|worst)$"))
        expect(names).to_have_text(["best", "middle", "worst"], timeout=60_000)
        columns = {text for text in page.get_by_role("columnheader").all_inner_texts() if "_" in text}
        browser.close()
    assert columns == {f"validation_{metric}" for metric in runs.VIEW_METRICS}
