"""The web page in a real Chromium, on a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
IN_A_ROW = 12
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
expect.set_options(timeout=60_000)
WIDE, PHONE = {"width": 1100, "height": 1000}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(
    checkout: Path,
    tmp_path_factory: pytest.TempPathFactory,
    start_server: Callable[..., subprocess.Popen[bytes]],
    stop_server: Callable[[subprocess.Popen[bytes]], None],
    until_ready: Callable[[subprocess.Popen[bytes], int, Path], None],
    free_port: Callable[[], int],
) -> Iterator[str]:
    """Where the service answers with the tiny checkout's champion, every worker of it."""
    port, log = free_port(), tmp_path_factory.mktemp("browser") / "server.log"
    process = start_server(checkout, port, log)
    try:
        until_ready(process, port, log)
        known = 0
        while known < IN_A_ROW:
            # Each request is a new connection, which any of the workers may take.
            known = known + 1 if httpx.get(f"http://127.0.0.1:{port}/model").status_code == 200 else 0
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
    """What the browser's console said, and what no code caught."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, messages: list[str]) -> Iterator[Page]:
    """The page, opened, with the model known."""
    context = browser.new_context(viewport=WIDE)
    opened = watched(context.new_page(), messages)
    opened.goto(address)
    expect(opened.locator("#model")).to_contain_text("version 1")
    yield opened
    context.close()


@pytest.fixture(autouse=True)
def calm(messages: list[str]) -> Iterator[None]:
    """Whatever a test does, the console stays empty; a test of refusals takes out the browser's own line on them."""
    yield
    assert messages == []


def watched(page: Page, messages: list[str]) -> Page:
    def hear(message: ConsoleMessage) -> None:
        messages.append(f"{message.type}: {message.text}")

    page.on("console", hear)
    page.on("pageerror", lambda error: messages.append(f"uncaught: {error}"))
    return page


@pytest.fixture(scope="module")
def song_wav(tmp_path_factory: pytest.TempPathFactory, synth_tone: Callable[..., np.ndarray]) -> Path:
    """20 s: a tone of Rock, then one of Folk."""
    path = tmp_path_factory.mktemp("songs") / "rock & <i>folk.wav"
    soundfile.write(path, np.concatenate([synth_tone("Rock", 50, 10), synth_tone("Folk", 51, 10)]), 22_050)
    return path


@pytest.fixture(scope="module")
def answer(address: str, song_wav: Path) -> dict[str, Any]:
    """What the service says of the song."""
    files = {"audio": (song_wav.name, song_wav.read_bytes(), "audio/wav")}
    told: dict[str, Any] = httpx.post(f"{address}predict", files=files, data={"timeline": "true"}, timeout=60).json()
    return told


def choose(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def finished(page: Page) -> None:
    """Wait until the song is answered and drawn."""
    expect(page.locator("#answer")).to_contain_text("Answered by music-genre version 1")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")


def wait_for_sound(page: Page, state: str) -> None:
    """Wait until something holds of the page's ``audio``: a busy machine takes a while. The page's own policy forbids
    what Playwright would wait with.
    """
    for _ in range(200):
        if page.locator("#audio").evaluate(f"audio => {state}"):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never came: {state}")


def sounding(page: Page) -> None:
    wait_for_sound(page, "audio.currentTime > 0")


def moment(page: Page) -> float:
    return float(page.locator("#audio").evaluate("audio => audio.currentTime"))


def positions(page: Page) -> tuple[float, float]:
    """Seconds of the sound and of the cursor on the time axis, right after the page has drawn."""
    heard, shown = page.evaluate(
        "() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => {"
        " const audio = document.querySelector('#audio'), cursor = document.querySelector('#cursor');"
        " const box = cursor.parentElement.getBoundingClientRect(), own = cursor.getBoundingClientRect();"
        " const share = (own.left + own.width / 2 - box.left) / box.width;"
        " resolve([audio.currentTime, share * audio.duration]); })))"
    )
    return float(heard), float(shown)


def cursor_seconds(page: Page) -> float:
    """Where the cursor stands on the time axis."""
    return positions(page)[1]


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", "\N{NO-BREAK SPACE}%")


def faults_of_access(page: Page) -> list[str]:
    """What axe-core finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [f"{fault['id']}: {fault['help']}" for fault in found if fault["impact"] in ("serious", "critical")]


def test_the_empty_page_says_which_model_answers_and_asks_for_nothing_from_elsewhere(
    browser: Browser, address: str, messages: list[str]
) -> None:
    context = browser.new_context()
    page, asked = watched(context.new_page(), messages), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("music-genre version 1 knows 3 genres: Folk, R&B, Rock")
    assert page.locator("[data-sample]").all_text_contents() == [
        "Folk, then rock",
        "Beats, then a pad",
        "Everything at once",
    ]
    assert len(asked) > 3
    assert all(url.startswith(address) for url in asked)
    context.close()


def test_an_uploaded_song_is_answered_as_the_service_answers_and_drawn(
    page: Page, song_wav: Path, answer: dict[str, Any]
) -> None:
    choose(page, song_wav)
    finished(page)
    said = page.locator("#answer")
    expect(said).to_contain_text(percent(answer["confidence"]))
    expect(said).to_contain_text(answer["genre"] if answer["confident"] else f"Most like {answer['genre']}")
    expect(page.locator("#title")).to_have_text(song_wav.name)
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(len(answer["segments"]))
    first = answer["segments"][0]
    assert rows.first.locator("td").all_text_contents() == [
        "0:00",
        "0:02",
        first["genre"],
        *(percent(share) for share in first["probabilities"].values()),
    ]
    for canvas in ("#spectrogram", "#areas"):
        assert colours(page, canvas) > 2, f"{canvas} shows nothing"
    assert page.locator("#waveform > div").evaluate("host => host.shadowRoot.querySelectorAll('canvas').length") > 0


def colours(page: Page, canvas: str) -> int:
    """How many different colours a canvas shows."""
    return int(
        page.locator(canvas).evaluate(
            "canvas => { const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            " return new Set(new Uint32Array(data.buffer)).size; }"
        )
    )


def test_the_cursor_and_the_genres_follow_the_sound(page: Page, song_wav: Path, answer: dict[str, Any]) -> None:
    choose(page, song_wav)
    finished(page)
    before = page.locator("#genres output").all_text_contents()
    assert before == [percent(share) for share in answer["segments"][0]["probabilities"].values()]
    page.get_by_role("button", name="Play").click()
    sounding(page)
    heard = []
    for _ in range(4):
        page.wait_for_timeout(250)
        sound, cursor = positions(page)
        assert cursor == pytest.approx(sound, abs=0.3)
        heard.append(sound)
    assert heard == sorted(heard)
    assert heard[-1] > heard[0]
    page.get_by_role("button", name="Pause").click()
    stopped = moment(page)
    page.wait_for_timeout(200)
    assert moment(page) == stopped
    page.locator("#seek").press("End")
    last = answer["segments"][-1]["probabilities"].values()
    expect(page.locator("#genres output")).to_have_text([percent(share) for share in last])


def test_a_song_that_has_ended_can_be_played_again(page: Page, song_wav: Path) -> None:
    choose(page, song_wav)
    finished(page)
    page.locator("#audio").evaluate("audio => { audio.currentTime = audio.duration - 0.2; }")
    page.get_by_role("button", name="Play").click()
    wait_for_sound(page, "audio.ended")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert cursor_seconds(page) == pytest.approx(20, abs=0.05)


def filled_at(page: Page, *shares: float) -> list[bool]:
    """Whether the canvas of the genres has a colour at shares of its width."""
    found: list[bool] = page.locator("#areas").evaluate(
        "(canvas, shares) => {"
        " const row = new OffscreenCanvas(canvas.width, 1).getContext('2d');"
        " row.drawImage(canvas, 0, -canvas.height / 2);"
        " const { data } = row.getImageData(0, 0, canvas.width, 1);"
        " return shares.map(share => data[4 * Math.round(share * canvas.width) + 3] > 0); }",
        list(shares),
    )
    return found


def late_sound(page: Page) -> None:
    """The element finds its song a second later."""
    page.evaluate(
        "() => { const { set, get } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');"
        " const later = function (url) { setTimeout(() => set.call(this, url), 1000); };"
        " Object.defineProperty(HTMLMediaElement.prototype, 'src', { get, set: later }); }"
    )


def late_answer(page: Page) -> None:
    def wait(route: Route) -> None:
        page.wait_for_timeout(1000)
        route.continue_()

    page.route("**/predict", wait)


@pytest.mark.parametrize("late", [late_sound, late_answer])
def test_what_a_files_header_hides_from_the_service_is_shown_as_not_heard(
    page: Page, tmp_path: Path, synth_tone: Callable[..., np.ndarray], late: Callable[[Page], None]
) -> None:
    late(page)
    for genre in ("Rock", "Folk"):
        soundfile.write(tmp_path / f"{genre}.mp3", synth_tone(genre, 60, 10), 22_050)
    joined = tmp_path / "joined.mp3"  # the header of the first is that of both
    joined.write_bytes((tmp_path / "Rock.mp3").read_bytes() + (tmp_path / "Folk.mp3").read_bytes())
    choose(page, joined)
    finished(page)
    expect(page.locator("#clock")).to_contain_text(re.compile("0:00 / 0:(19|20)"))
    expect(page.locator("#cut")).to_contain_text(re.compile("only the first 0:(09|10) be heard"))
    assert filled_at(page, 0.25, 0.75) == [True, False]
    page.set_viewport_size(PHONE)
    areas = page.locator("#areas")
    expect(areas).to_have_js_property("width", areas.evaluate("canvas => canvas.clientWidth"))
    assert filled_at(page, 0.25, 0.75) == [True, False]
    page.locator("#seek").press("End")
    expect(page.locator("#now")).to_contain_text("Not heard at")
    expect(page.locator("#genres")).to_be_hidden()
    page.locator("#seek").press("Home")
    expect(page.locator("#genres")).to_be_visible()


@pytest.mark.parametrize("lane", ["#waveform", "#spectrogram", "#areas"])
def test_a_click_on_any_lane_seeks(page: Page, song_wav: Path, lane: str) -> None:
    choose(page, song_wav)
    finished(page)
    box = page.locator(lane).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    expect(page.locator("#clock")).to_have_text(re.compile("0:1[45] / 0:20"))
    assert moment(page) == pytest.approx(15, abs=0.2)
    assert cursor_seconds(page) == pytest.approx(15, abs=0.2)


def test_everything_works_by_keyboard_alone(page: Page, song_wav: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")
    chooser.value.set_files(song_wav)
    finished(page)
    reach(page, "play")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Space")
    reach(page, "seek")
    page.keyboard.press("Home")
    for key, seconds in (("ArrowRight", 5), ("ArrowUp", 10), ("ArrowLeft", 5), ("End", 20), ("Home", 0)):
        page.keyboard.press(key)
        assert moment(page) == pytest.approx(seconds, abs=0.05), key
    assert page.locator("#seek").get_attribute("aria-valuetext").startswith("0:00 of 0:20, ")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table")).to_be_visible()


def reach(page: Page, name: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(12):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{name} is not reached by Tab")


def test_each_sample_clip_plays_and_is_answered_and_the_one_before_forgotten(page: Page) -> None:
    for button in page.locator("[data-sample]").all():
        button.click()
        expect(page.locator("#title")).to_have_text(button.get_attribute("data-sample") or "")
        finished(page)
        assert page.locator("#audio").evaluate("audio => [audio.paused, audio.duration > 59]") == [True, True]
        expect(page.locator("#table caption")).to_have_count(1)
        page.get_by_role("button", name="Play").click()
        sounding(page)


def refuse(page: Page, status: int, body: str) -> None:
    """Let the next answers be this one."""
    page.route("**/predict", lambda route: route.fulfill(status=status, body=body, content_type="application/json"))


def test_a_file_that_is_no_music_is_told_in_a_sentence_and_the_next_song_is_answered(
    page: Page, song_wav: Path, tmp_path: Path, messages: list[str]
) -> None:
    (tmp_path / "notes.mp3").write_text("no music at all " * 100)
    choose(page, tmp_path / "notes.mp3")
    expect(page.get_by_role("alert")).to_contain_text("There is no audio in this file that can be read.")
    expect(page.locator("#player")).to_be_hidden()
    assert [line.split(" (")[0] for line in messages] == [
        "error: Failed to load resource: the server responded with a status of 422"
    ]
    messages.clear()
    choose(page, song_wav)
    expect(page.locator("#trouble")).to_be_hidden()
    finished(page)


@pytest.mark.parametrize(
    ("status", "body", "sentence", "again"),
    [
        (422, {"code": "silent", "message": "no sound above -80 dBFS"}, "There is no sound in this recording.", False),
        (422, {"code": "too_short", "message": "at least 10 s are needed"}, "at least 10 s are needed", False),
        (413, {"code": "too_large", "message": "more than 50 MiB"}, "This file is too large. (more than 50", False),
        (503, {"code": "busy", "message": "32 requests"}, "The service is busy.", True),
        (500, None, "The service failed with status 500.", True),
    ],
)
def test_a_refusal_is_a_sentence(
    page: Page,
    song_wav: Path,
    messages: list[str],
    status: int,
    body: dict[str, str] | None,
    sentence: str,
    again: bool,
) -> None:
    refuse(page, status, json.dumps({"error": body}) if body else "<html>oops</html>")
    choose(page, song_wav)
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Try again")).to_be_visible(visible=again)
    messages.clear()
    page.unroute("**/predict")
    if again:
        page.get_by_role("button", name="Try again").click()
        finished(page)


def test_a_service_that_is_gone_and_a_lost_network_are_told_apart(
    page: Page, song_wav: Path, messages: list[str]
) -> None:
    # The machine of the test may itself have no network.
    page.evaluate("Object.defineProperty(navigator, 'onLine', {value: true, configurable: true})")
    page.route("**/predict", lambda route: route.abort("connectionrefused"))
    choose(page, song_wav)
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    page.unroute("**/predict")
    page.evaluate("delete navigator.onLine")
    page.context.set_offline(True)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    finished(page)
    assert all("Failed to load resource" in line for line in messages)
    messages.clear()


def test_a_service_with_a_key_is_given_the_key(page: Page, song_wav: Path, messages: list[str]) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer open sesame":
            route.continue_()
        else:
            refused = json.dumps({"error": {"code": "unauthorized", "message": "send the API key"}})
            route.fulfill(status=401, body=refused, content_type="application/json")

    page.route("**/model", guard)
    page.route("**/predict", guard)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The service wants a key")
    choose(page, song_wav)
    page.get_by_label("This service asks for a key").fill("open sesame")
    page.keyboard.press("Enter")
    finished(page)
    expect(page.locator("#key-form")).to_be_hidden()
    assert all("status of 401" in line for line in messages)
    messages.clear()


def test_an_answer_that_is_not_sure_says_so(page: Page, song_wav: Path, answer: dict[str, Any]) -> None:
    unsure = answer | {"confident": False, "confidence": 0.38, "genre": "Folk"}
    page.route("**/predict", lambda route: route.fulfill(json=unsure))
    choose(page, song_wav)
    finished(page)
    expect(page.locator("#answer strong")).to_have_text("Not sure")
    expect(page.locator("#answer")).to_contain_text(f"Most like Folk, {percent(0.38)}")


def test_scripts_of_other_origins_and_of_the_page_itself_are_blocked(
    page: Page, address: str, messages: list[str]
) -> None:
    other = address.replace("127.0.0.1", "localhost") + "page/ask.js"
    for attribute, value in (("src", other), ("textContent", "window.stolen = true")):
        page.evaluate(
            "([attribute, value]) => document.head.append(Object.assign(document.createElement('script'),"
            " { [attribute]: value }))",
            [attribute, value],
        )
    page.wait_for_timeout(200)
    assert page.evaluate("window.stolen") is None
    assert len(messages) == 2
    assert all("Content Security Policy" in line for line in messages)
    messages.clear()


def test_over_a_slow_connection_the_upload_is_seen_and_the_song_is_heard_meanwhile(page: Page, song_wav: Path) -> None:
    slow = {"offline": False, "latency": 100, "downloadThroughput": 200_000, "uploadThroughput": 150_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    choose(page, song_wav)
    progress = page.get_by_role("progressbar", name="Sending the song")
    expect(progress).to_be_visible()
    page.get_by_role("button", name="Play").click()
    sounding(page)
    expect(page.locator("#answer")).to_have_text("Listening…")
    assert 0 < float(progress.evaluate("progress => progress.value")) < 1
    finished(page)
    expect(progress).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(
    browser: Browser, address: str, song_wav: Path, tmp_path: Path, messages: list[str], scheme: Any
) -> None:
    context = browser.new_context(viewport=PHONE if scheme == "dark" else WIDE, color_scheme=scheme)
    page = watched(context.new_page(), messages)
    page.goto(address)
    assert faults_of_access(page) == []
    choose(page, song_wav)
    finished(page)
    page.locator("#details summary").click()
    assert faults_of_access(page) == []
    (tmp_path / "empty.mp3").touch()
    choose(page, tmp_path / "empty.mp3")
    expect(page.get_by_role("alert")).to_contain_text("This file is empty.")
    assert faults_of_access(page) == []
    messages.clear()
    context.close()


def test_on_a_phone_nothing_sticks_out(browser: Browser, address: str, song_wav: Path, messages: list[str]) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 640}, device_scale_factor=2)
    page = watched(context.new_page(), messages)
    page.goto(address)
    choose(page, song_wav)
    finished(page)
    page.locator("#details summary").click()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
    context.close()
