"""Take the pictures of README.md from the run that the checkout holds: the service's page, the report, MLflow's runs.

``make pictures`` runs it, after ``make repro``; the pictures are in git. What it starts, it stops.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURES_DIR = ROOT / "docs/pictures"
NEEDED = ("mlflow.db", "reports/index.html")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
RUNS = "#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=metrics"  # as `make ui` prints it
SCALE = 1.5  # pixels of a picture for each of the page
QUALITY = 80  # of WebP; the three are below MAX_KB together
MAX_KB = 400
START_S = 180.0
PATIENCE_MS = 120_000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server(name: str, health: str, folder: Path, *command: str) -> Iterator[str]:
    """A server that runs, by its address; it is stopped with all its processes.

    Raises:
        SystemExit: it ends or is not healthy within ``START_S``.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"BENTOML_HOME": str(folder / "bentoml")}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_healthy(address + health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not answer: {(folder / f'{name}.log').read_text('utf-8')[-2000:]}")
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def is_healthy(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def open_page(browser: Browser, address: str, width: int, height: int) -> Page:
    """A page in light colours, without motion."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=SCALE,
        color_scheme="light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    return page


def save(page: Page, name: str) -> None:
    """Write what the viewport shows as WebP."""
    page.wait_for_timeout(1000)  # the last frame is drawn
    PICTURES_DIR.mkdir(exist_ok=True)
    Image.open(BytesIO(page.screenshot())).save(PICTURES_DIR / f"{name}.webp", quality=QUALITY, method=6)


def take_page(browser: Browser, address: str) -> None:
    """The page, with the first of its sample clips predicted."""
    page = open_page(browser, address, 1100, 980)
    page.locator("[data-sample]").first.click()
    expect(page.locator("#prediction")).to_contain_text("version", timeout=PATIENCE_MS)
    expect(page.locator('[aria-busy="true"]')).to_have_count(0, timeout=PATIENCE_MS)
    page.mouse.move(0, 0)
    save(page, "page")


def take_report(browser: Browser) -> None:
    save(open_page(browser, (ROOT / "reports/index.html").as_uri(), 1100, 900), "report")


def take_runs(browser: Browser, address: str) -> None:
    """MLflow's runs, sorted as `make ui` shows them, without what opens by itself."""
    page = open_page(browser, f"{address}/{RUNS}", 1500, 500)
    expect(page.get_by_role("link", name="ensemble", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    for name in ("Close", "Hide banner"):
        for button in page.get_by_role("button", name=name, exact=True).all():
            button.click()
    save(page, "mlflow")


def main() -> None:
    missing = [name for name in NEEDED if not (ROOT / name).is_file()]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} not found; expected a finished run; run `make repro` first")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium not found; expected `chromium` on PATH; install it (apt-get install chromium)")
    store = f"sqlite:///{ROOT / 'mlflow.db'}"
    mlflow = ("mlflow", "ui", "--workers", "1", "--backend-store-uri", store)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        take_report(browser)
        with server("mlflow", "/health", folder, *mlflow) as address:
            take_runs(browser, address)
        with server("service", "/readyz", folder, "bentoml", "serve") as address:
            take_page(browser, address)
        browser.close()
    sizes = {path.name: path.stat().st_size / 1024 for path in sorted(PICTURES_DIR.glob("*.webp"))}
    for name, kb in sizes.items():
        print(f"docs/pictures/{name}  {kb:.0f} kB")
    if sum(sizes.values()) > MAX_KB:
        raise SystemExit(f"the pictures have {sum(sizes.values()):.0f} kB; expected at most {MAX_KB}; lower QUALITY")


if __name__ == "__main__":
    main()
