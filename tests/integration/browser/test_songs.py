"""Songs on the page: several at once, from the microphone, as WAV, and their answers taken along."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, Route, expect

from page_driver import choose, wait_for_prediction

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("console_empty")]


def list_of(page: Page) -> list[str]:
    """The answers in the list of songs."""
    return page.locator("#song-list .song-answer").all_text_contents()


def test_several_songs_are_listed_sent_one_at_a_time_and_shown_by_a_click(
    page: Page, song_wav: Path, tmp_path: Path, messages: list[str]
) -> None:
    (tmp_path / "notes.mp3").write_text("no music at all " * 100)
    (tmp_path / "second.wav").write_bytes(song_wav.read_bytes())
    open_requests, most = [], []
    page.on("request", lambda r: open_requests.append(r) if "predict" in r.url else None)
    page.on("request", lambda r: most.append(len(open_requests)))
    page.on("requestfinished", lambda r: open_requests.remove(r) if r in open_requests else None)
    page.locator("#file").set_input_files([song_wav, tmp_path / "notes.mp3", tmp_path / "second.wav"])
    expect(page.locator("#songs-status")).to_have_text("3 of 3 done, 1 failed")
    assert max(most) == 1
    first, failed, second = list_of(page)
    assert first == second
    assert failed == "This file cannot be decoded."
    expect(page.locator("#file-name")).to_have_text(song_wav.name)
    page.locator(".song").nth(1).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This file cannot be decoded. (no recording, but text;")
    expect(page.locator("#player")).to_be_hidden()
    page.locator(".song").nth(2).click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#file-name")).to_have_text("second.wav")
    wait_for_prediction(page)
    page.get_by_role("button", name="Remove notes.mp3").click()
    expect(page.locator("#songs-status")).to_have_text("2 of 2 done")
    page.get_by_role("button", name="Clear the list").click()
    expect(page.locator("#songs")).to_be_hidden()
    expect(page.locator("#song")).to_be_hidden()
    messages.clear()


def test_song_that_is_removed_while_it_is_sent_does_not_hold_up_the_others(page: Page, song_wav: Path) -> None:
    page.route("**/predict", lambda route: None)
    page.locator("#file").set_input_files([song_wav, song_wav])
    expect(page.locator("#songs-status")).to_have_text("0 of 2 done")
    page.unroute("**/predict")
    page.locator(".remove").first.click()
    wait_for_prediction(page)


def test_folder_among_the_files_is_an_error_of_its_own(page: Page) -> None:
    page.evaluate(
        "() => { const file = new File(['x'], 'albums'), event = new DragEvent('drop', { bubbles: true });"
        " file.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException('', 'NotReadableError')) });"
        " Object.defineProperty(event, 'dataTransfer', { value: { files: [file] } });"
        " document.body.dispatchEvent(event); }"
    )
    expect(page.get_by_role("alert")).to_contain_text("This file cannot be read; it may be a folder.")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_recording_from_the_microphone_is_predicted(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("timer")).to_have_text("0:02")
    expect(page.get_by_role("meter", name="Level")).to_be_visible()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Stop and predict").press("Enter")
    wait_for_prediction(page)
    expect(page.locator("#file-name")).to_contain_text(re.compile(r"recording \d\d\.\d\d\.\d\d\.wav"))
    assert page.locator("#audio").evaluate("audio => audio.duration") == pytest.approx(2.7, abs=0.6)
    expect(page.locator("#recorder")).to_be_hidden()


def test_level_follows_the_sound(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    levels = set()
    for _ in range(40):
        levels.add(round(float(page.locator("#record-level").evaluate("meter => meter.value")), 1))
        page.wait_for_timeout(50)
    assert max(levels) - min(levels) > 0.2  # it beeps
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#recorder")).to_be_hidden()
    expect(page.locator("#song")).to_be_hidden()
    expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_short_recording_is_not_sent(page: Page) -> None:
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop and predict").click()
    expect(page.get_by_role("alert")).to_contain_text("The recording is too short. (")
    expect(page.get_by_role("alert")).to_contain_text("the minimum duration is 1 s")
    assert not [url for url in sent if "predict" in url]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("NotAllowedError", "The microphone is not allowed."),
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "Another program may be using it."),
        (None, "only where its address begins with https or is localhost"),
    ],
)
def test_microphone_that_cannot_be_used_is_told(page: Page, error: str | None, sentence: str) -> None:
    fails = f"{{ getUserMedia: () => Promise.reject(new DOMException('', '{error}')) }}" if error else "undefined"
    page.evaluate(f"Object.defineProperty(navigator, 'mediaDevices', {{ value: {fails}, configurable: true }})")
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Record")).to_be_enabled()


@pytest.mark.parametrize("code", ["unsupported", "undecodable"])
def test_file_that_only_the_browser_decodes_is_sent_as_wav(
    page: Page, song_wav: Path, messages: list[str], code: str
) -> None:
    bodies: list[bytes] = []

    def refuse_first(route: Route) -> None:
        bodies.append(route.request.post_data_buffer or b"")
        if len(bodies) > 1:
            route.continue_()
        else:
            body = json.dumps({"error": {"code": code, "message": "an unknown kind"}})
            route.fulfill(status=422, body=body, content_type="application/json")

    page.route("**/predict", refuse_first)
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#conversion")).to_contain_text("your browser decoded it and sent it as WAV")
    sent = bodies[1][bodies[1].index(b"RIFF") :]
    with soundfile.SoundFile(io.BytesIO(sent)) as wav, soundfile.SoundFile(song_wav) as original:
        assert (wav.samplerate, wav.channels, wav.subtype) == (22_050, 1, "PCM_16")
        np.testing.assert_allclose(wav.read(), original.read(), atol=1e-3)
    messages.clear()


def test_file_that_neither_decodes_is_sent_once(page: Page, tmp_path: Path, messages: list[str]) -> None:
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    (tmp_path / "notes.mp3").write_text("no music at all " * 100)
    choose(page, tmp_path / "notes.mp3")
    expect(page.get_by_role("alert")).to_contain_text("This file cannot be decoded.")
    assert len([url for url in sent if "predict" in url]) == 1
    messages.clear()


def test_answers_are_downloaded_and_the_request_is_copied(page: Page, song_wav: Path, address: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, song_wav)
    wait_for_prediction(page)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#action-status")).to_have_text("Copied.")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.endswith(f"-F timeline=true '{address}predict'")
    done = subprocess.run(["bash", "-c", command], cwd=song_wav.parent, capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout)
    expect(page.locator(".headline")).to_contain_text(expected["genre"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    (answer,) = json.loads(download.value.path().read_text())
    assert answer["file"] == song_wav.name
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert (row["file"], row["genre"], row["error"]) == (song_wav.name, expected["genre"], "")
    assert float(row["R&B"]) == pytest.approx(expected["probabilities"]["R&B"], abs=1e-5)


def test_table_of_answers_has_no_formulas(page: Page, song_wav: Path, tmp_path: Path) -> None:
    name = '=HYPERLINK("x"), y.wav'
    (tmp_path / name).write_bytes(song_wav.read_bytes())
    choose(page, tmp_path / name)
    wait_for_prediction(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert row["file"] == f"'{name}"
