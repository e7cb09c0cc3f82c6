"""The web page in a real Chromium, on a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, Request, Route, expect

from music_genre.validation.feedback import read_feedback
from page_driver import (
    accessibility_violations,
    choose,
    count_colours,
    current_time,
    cursor_seconds,
    percent,
    positions,
    reach,
    recorded,
    wait_for_audio,
    wait_for_prediction,
    wait_until_playing,
)

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("console_empty")]

WIDE, PHONE = {"width": 1100, "height": 1000}, {"width": 360, "height": 740}


def test_page_shows_the_model_and_loads_nothing_from_other_origins(
    browser: Browser, address: str, messages: list[str]
) -> None:
    context = browser.new_context()
    page, urls = recorded(context.new_page(), messages), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("music-genre version 1 predicts 3 genres: Folk, R&B, Rock")
    assert page.locator("[data-sample]").all_text_contents() == [
        "Folk, then rock",
        "Beats, then a pad",
        "Everything at once",
    ]
    assert len(urls) > 3
    assert all(url.startswith(address) for url in urls)
    context.close()


def test_uploaded_song_is_predicted_and_drawn(page: Page, song_wav: Path, prediction: dict[str, Any]) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    shown = page.locator("#prediction")
    expect(shown).to_contain_text(percent(prediction["confidence"]))
    expect(shown.locator("strong")).to_have_text(prediction["genre"])
    expect(shown.locator(".tag")).to_have_count(0 if prediction["confident"] else 1)
    expect(page.locator("#file-name")).to_have_text(song_wav.name)
    rows = page.locator("#timeline-table tbody tr")
    expect(rows).to_have_count(len(prediction["segments"]))
    first = prediction["segments"][0]
    assert rows.first.locator("td").all_text_contents() == [
        "0:00",
        "0:01",
        f"{first['genre']}*",
        *(percent(probability) for probability in first["probabilities"].values()),
    ]
    for canvas in ("#spectrogram", "#timeline"):
        assert count_colours(page, canvas) > 2, f"{canvas} shows nothing"
    assert page.locator("#waveform > div").evaluate("host => host.shadowRoot.querySelectorAll('canvas').length") > 0


def test_cursor_and_genres_follow_the_audio(page: Page, song_wav: Path, prediction: dict[str, Any]) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    before = page.locator("#genres .percent").all_text_contents()
    first = prediction["segments"][0]["probabilities"].values()
    assert before == [percent(probability) for probability in first]
    page.get_by_role("button", name="Play").click()
    wait_until_playing(page)
    times = []
    for _ in range(4):
        page.wait_for_timeout(250)
        audio, cursor = positions(page)
        assert cursor == pytest.approx(audio, abs=0.3)
        times.append(audio)
    assert times == sorted(times)
    assert times[-1] > times[0]
    page.get_by_role("button", name="Pause").click()
    stopped = current_time(page)
    page.wait_for_timeout(200)
    assert current_time(page) == stopped
    page.locator("#seek").press("End")
    last = prediction["segments"][-1]["probabilities"].values()
    expect(page.locator("#genres .percent")).to_have_text([percent(probability) for probability in last])


def test_song_can_be_played_again(page: Page, song_wav: Path) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    page.locator("#audio").evaluate("audio => { audio.currentTime = audio.duration - 0.2; }")
    page.get_by_role("button", name="Play").click()
    wait_for_audio(page, "audio.ended")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert cursor_seconds(page) == pytest.approx(20, abs=0.05)


def filled_at(page: Page, *fractions: float) -> list[bool]:
    """Whether the canvas of the genres has a colour at fractions of its width."""
    filled: list[bool] = page.locator("#timeline").evaluate(
        "(canvas, fractions) => {"
        " const row = new OffscreenCanvas(canvas.width, 1).getContext('2d');"
        " row.drawImage(canvas, 0, -canvas.height / 2);"
        " const { data } = row.getImageData(0, 0, canvas.width, 1);"
        " return fractions.map(fraction => data[4 * Math.round(fraction * canvas.width) + 3] > 0); }",
        list(fractions),
    )
    return filled


def delay_audio(page: Page) -> None:
    """Let the audio element load its song a second later."""
    page.evaluate(
        "() => { const { set, get } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');"
        " const later = function (url) { setTimeout(() => set.call(this, url), 1000); };"
        " Object.defineProperty(HTMLMediaElement.prototype, 'src', { get, set: later }); }"
    )


def delay_prediction(page: Page) -> None:
    """Let the prediction come a second later."""

    def wait(route: Route) -> None:
        page.wait_for_timeout(1000)
        route.continue_()

    page.route("**/predict", wait)


def test_encoders_own_tags_are_shown_where_there_are_any(
    page: Page, song_wav: Path, prediction: dict[str, Any]
) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#tags")).to_be_empty()
    tags = [{"tag": "<b>indie", "probability": 0.414}, {"tag": "rock", "probability": 0.25}]
    page.route("**/predict", lambda route: route.fulfill(json=prediction | {"tags": tags}))
    choose(page, song_wav)
    expect(page.locator("#tags")).to_have_text("The encoder's own tags: <b>indie 41 %, rock 25 %.")
    wait_for_prediction(page)


@pytest.mark.parametrize("delay", [delay_audio, delay_prediction])
def test_part_that_is_missing_from_a_cut_file_is_shown_as_not_decoded(
    page: Page, tmp_path: Path, synth_tone: Callable[..., np.ndarray], delay: Callable[[Page], None]
) -> None:
    delay(page)
    soundfile.write(tmp_path / "whole.mp3", synth_tone("Rock", 60, 20), 22_050)
    whole = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])  # its header is that of 20 s
    choose(page, tmp_path / "cut.mp3")
    wait_for_prediction(page)
    expect(page.locator("#clock")).to_contain_text(re.compile("0:00 / 0:(19|20)"))
    expect(page.locator("#truncation")).to_have_text(re.compile("Only the first 0:(09|10) could be decoded."))
    assert filled_at(page, 0.25, 0.75) == [True, False]
    page.set_viewport_size(PHONE)
    timeline = page.locator("#timeline")
    expect(timeline).to_have_js_property("width", timeline.evaluate("canvas => canvas.clientWidth"))
    assert filled_at(page, 0.25, 0.75) == [True, False]
    page.locator("#genres-heading").click()
    page.locator("#seek").press("End")
    expect(page.locator("#genres-heading")).to_contain_text("Not decoded at")
    expect(page.locator("#genres")).to_be_hidden()
    page.locator("#seek").press("Home")
    expect(page.locator("#genres")).to_be_visible()


@pytest.mark.parametrize("lane", ["#waveform", "#spectrogram", "#timeline"])
def test_click_on_a_lane_seeks(page: Page, song_wav: Path, lane: str) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    box = page.locator(lane).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    expect(page.locator("#clock")).to_have_text(re.compile("0:1[45] / 0:20"))
    assert current_time(page) == pytest.approx(15, abs=0.2)
    assert cursor_seconds(page) == pytest.approx(15, abs=0.2)


def test_page_works_by_keyboard_alone(page: Page, song_wav: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")
    chooser.value.set_files(song_wav)
    wait_for_prediction(page)
    reach(page, "play")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Space")
    reach(page, "seek")
    page.keyboard.press("Home")
    for key, seconds in (("ArrowRight", 5), ("ArrowUp", 10), ("ArrowLeft", 5), ("End", 20), ("Home", 0)):
        page.keyboard.press(key)
        assert current_time(page) == pytest.approx(seconds, abs=0.05), key
    assert page.locator("#seek").get_attribute("aria-valuetext").startswith("0:00 of 0:20, ")
    for summary, content in (("genres-heading", page.locator("#genres")), ("table-heading", page.get_by_role("table"))):
        reach(page, summary)
        page.keyboard.press("Enter")
        expect(content).to_be_visible()


def test_each_sample_clip_is_played_and_predicted(page: Page) -> None:
    for button in page.locator("[data-sample]").all():
        button.click()
        expect(page.locator("#file-name")).to_have_text(button.get_attribute("data-sample") or "")
        wait_for_prediction(page)
        assert page.locator("#audio").evaluate("audio => [audio.paused, audio.duration > 59]") == [True, True]
        expect(page.locator("#timeline-table caption")).to_have_count(1)
        page.get_by_role("button", name="Play").click()
        wait_until_playing(page)


def respond(page: Page, status: int, body: str) -> None:
    """Let all predictions have this response."""
    page.route("**/predict", lambda route: route.fulfill(status=status, body=body, content_type="application/json"))


def test_file_without_audio_is_an_error_and_the_next_song_is_predicted(
    page: Page, song_wav: Path, tmp_path: Path, messages: list[str]
) -> None:
    (tmp_path / "notes.mp3").write_text("no music at all " * 100)
    choose(page, tmp_path / "notes.mp3")
    expect(page.get_by_role("alert")).to_contain_text("This file cannot be decoded. (no recording, but text;")
    expect(page.locator("#player")).to_be_hidden()
    assert [line.split(" (")[0] for line in messages] == [
        "error: Failed to load resource: the server responded with a status of 422"
    ]
    messages.clear()
    choose(page, song_wav)
    expect(page.locator("#error")).to_be_hidden()
    wait_for_prediction(page)


@pytest.mark.parametrize(
    ("status", "body", "sentence", "can_retry"),
    [
        (422, {"code": "silent", "message": "no sound above -80 dBFS"}, "This recording is silent.", False),
        (422, {"code": "too_short", "message": "the minimum duration is 10 s"}, "the minimum duration is 10 s", False),
        (
            413,
            {"code": "too_large", "message": "the maximum size of a request is 50 MiB"},
            "This file is too large. (the maximum",
            False,
        ),
        (503, {"code": "busy", "message": "server busy: 32 concurrent requests"}, "The service is busy.", True),
        (500, None, "The service failed with status 500.", True),
    ],
)
def test_error_of_the_service_is_shown_as_a_sentence(
    page: Page,
    song_wav: Path,
    messages: list[str],
    status: int,
    body: dict[str, str] | None,
    sentence: str,
    can_retry: bool,
) -> None:
    respond(page, status, json.dumps({"error": body}) if body else "<html>oops</html>")
    choose(page, song_wav)
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Try again")).to_be_visible(visible=can_retry)
    messages.clear()
    page.unroute("**/predict")
    if can_retry:
        page.get_by_role("button", name="Try again").click()
        wait_for_prediction(page)


def test_unreachable_service_and_lost_network_have_different_errors(
    page: Page, song_wav: Path, messages: list[str]
) -> None:
    # The machine of the test may itself have no network.
    page.evaluate("Object.defineProperty(navigator, 'onLine', {value: true, configurable: true})")
    page.route("**/predict", lambda route: route.abort("connectionrefused"))
    choose(page, song_wav)
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    page.unroute("**/predict")
    page.evaluate("delete navigator.onLine")
    page.context.set_offline(True)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    wait_for_prediction(page)
    assert all("Failed to load resource" in line for line in messages)
    messages.clear()


def test_api_key_is_asked_for_and_sent(page: Page, song_wav: Path, messages: list[str]) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer open sesame":
            route.continue_()
        else:
            body = json.dumps({"error": {"code": "unauthorized", "message": "send the API key"}})
            route.fulfill(status=401, body=body, content_type="application/json")

    page.route("**/model", guard)
    page.route("**/predict", guard)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The API key is missing or wrong.")
    choose(page, song_wav)
    page.get_by_label("This service needs an API key").fill("open sesame")
    page.keyboard.press("Enter")
    wait_for_prediction(page)
    expect(page.locator("#key-form")).to_be_hidden()
    assert all("status of 401" in line for line in messages)
    messages.clear()


def fulfil(route: Route, request: Request, answer: dict[str, Any]) -> None:
    route.fulfill(json=answer)


def test_low_confidence_is_a_tag_that_tells_the_threshold(
    page: Page, song_wav: Path, prediction: dict[str, Any]
) -> None:
    def with_threshold(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"confidence_threshold": 0.62})

    page.route("**/model", with_threshold)
    page.reload()
    tag = page.locator("#prediction .tag")
    for confidence, text in (
        (0.38, "below the threshold of 62 %"),
        (0.6175, "just below the threshold of 62 %"),
        (0.9, ""),
    ):
        uncertain = prediction | {"confident": False, "confidence": confidence, "genre": "Folk"}
        page.route("**/predict", partial(fulfil, answer=uncertain))
        choose(page, song_wav)
        expect(page.locator(".headline")).to_contain_text(f"Folk{percent(confidence)}")
        expect(tag).to_have_text(f"Low confidence: {text}".replace("62 %", percent(0.62)) if text else "Low confidence")


def test_likeliest_genres_are_bars_as_long_as_their_probabilities(
    page: Page, song_wav: Path, prediction: dict[str, Any]
) -> None:
    probabilities = {"A": 0.1, "B": 0.5, "C": 0.05, "D": 0.3, "E": 0.05}
    segments = [{**segment, "probabilities": probabilities} for segment in prediction["segments"]]
    answer = prediction | {"genre": "B", "probabilities": probabilities, "segments": segments}
    page.route("**/predict", lambda route: route.fulfill(json=answer))
    choose(page, song_wav)
    top, others = page.locator("#top-genres li"), page.locator("#other-genres li")
    expect(top.locator("b")).to_have_text(["B", "D", "A"])
    expect(others).to_have_count(2)
    expect(others.first).to_be_hidden()
    page.get_by_text("All 5 genres").click()
    expect(others.locator("b")).to_have_text(["C", "E"])
    for row, probability in zip(top.all(), (0.5, 0.3, 0.1), strict=True):
        bar, filled = (row.locator(one).bounding_box() for one in (".bar", ".bar div"))
        assert filled["width"] / bar["width"] == pytest.approx(probability, abs=0.02)


def test_notes_are_shown(page: Page, song_wav: Path, prediction: dict[str, Any]) -> None:
    note = {"code": "band_limited", "message": "No sound above 4 kHz."}
    page.route("**/predict", lambda route: route.fulfill(json=prediction | {"notes": [note]}))
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#notes")).to_have_text("No sound above 4 kHz.")


def test_right_prediction_is_told_to_the_service(page: Page, song_wav: Path, log: Path) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    page.get_by_role("group", name="Is the genre right?").get_by_role("button", name="Right").click()
    expect(page.locator("#feedback-status")).to_contain_text("Thank you. Recorded as ")
    feedback = read_feedback(log).iloc[-1]
    expect(page.locator("#feedback-status")).to_have_text(f"Thank you. Recorded as {feedback['predicted']}.")
    assert (feedback["genre"], bool(feedback["right"])) == (feedback["predicted"], True)
    choose(page, song_wav)
    expect(page.locator("#feedback")).to_be_hidden()
    wait_for_prediction(page)
    expect(page.locator("#feedback-status")).to_be_empty()


def test_right_genre_is_told_by_keyboard(page: Page, song_wav: Path, log: Path, prediction: dict[str, Any]) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    wrong, select = page.get_by_role("button", name="Wrong"), page.get_by_label("The right genre")
    expect(select).to_be_hidden()
    wrong.focus()
    page.keyboard.press("Enter")
    expect(wrong).to_have_attribute("aria-expanded", "true")
    expect(select).to_be_focused()
    others = [genre for genre in prediction["probabilities"] if genre != prediction["genre"]]
    assert select.locator("option").all_text_contents() == ["Choose…", *others]
    n_before = len(read_feedback(log))
    page.get_by_role("button", name="Send").press("Enter")  # nothing is chosen
    select.focus()
    page.keyboard.press(others[-1][0])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Thank you. Recorded as {others[-1]}.")).to_be_visible()
    expect(wrong).to_be_focused()
    expect(select).to_be_hidden()
    feedback = read_feedback(log)
    assert (len(feedback), feedback["genre"].iloc[-1]) == (n_before + 1, others[-1])


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            404,
            {"code": "not_found", "message": "it is too old"},
            "The service no longer knows this song. (it is too old)",
        ),
        (
            429,
            {"code": "rate_limited", "message": "try again in 3 s"},
            "The service gets too much feedback. (try again in",
        ),
        (500, None, "The service failed with status 500."),
        (200, None, "The response of the service is not JSON."),
    ],
)
def test_feedback_that_fails_is_told_and_can_be_sent_again(
    page: Page, song_wav: Path, messages: list[str], status: int, body: dict[str, str] | None, sentence: str
) -> None:
    text = json.dumps({"error": body}) if body else "<html>oops</html>"
    page.route("**/feedback", lambda route: route.fulfill(status=status, body=text))
    choose(page, song_wav)
    wait_for_prediction(page)
    page.get_by_role("button", name="Right").click()
    expect(page.locator("#feedback-status")).to_contain_text(sentence)
    messages.clear()
    page.unroute("**/feedback")
    page.get_by_role("button", name="Right").click()
    expect(page.locator("#feedback-status")).to_contain_text("Thank you.")


def test_service_without_feedback_is_not_asked_for_it(page: Page, song_wav: Path) -> None:
    def without_feedback(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"feedback": False})

    page.route("**/model", without_feedback)
    page.reload()
    expect(page.locator("#model")).to_contain_text("version 1")
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#feedback")).to_be_hidden()


def test_scripts_of_other_origins_and_inline_scripts_are_blocked(page: Page, address: str, messages: list[str]) -> None:
    other = address.replace("127.0.0.1", "localhost") + "static/api.js"
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


def test_slow_upload_has_progress_and_the_song_plays_meanwhile(page: Page, song_wav: Path) -> None:
    slow = {"offline": False, "latency": 100, "downloadThroughput": 200_000, "uploadThroughput": 150_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    choose(page, song_wav)
    progress = page.get_by_role("progressbar", name="Uploading the song")
    expect(progress).to_be_visible()
    page.get_by_role("button", name="Play").click()
    wait_until_playing(page)
    expect(page.locator("#prediction")).to_have_text("Predicting…")
    assert 0 < float(progress.evaluate("progress => progress.value")) < 1
    wait_for_prediction(page)
    expect(progress).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible(
    browser: Browser, address: str, song_wav: Path, tmp_path: Path, messages: list[str], scheme: Any
) -> None:
    context = browser.new_context(viewport=PHONE if scheme == "dark" else WIDE, color_scheme=scheme)
    page = recorded(context.new_page(), messages)
    page.goto(address)
    assert accessibility_violations(page) == []
    choose(page, song_wav)
    wait_for_prediction(page)
    page.locator("#details summary").click()
    page.get_by_role("button", name="Wrong").click()
    assert accessibility_violations(page) == []
    (tmp_path / "empty.mp3").touch()
    choose(page, tmp_path / "empty.mp3")
    expect(page.get_by_role("alert")).to_contain_text("This file is empty.")
    assert accessibility_violations(page) == []
    messages.clear()
    context.close()


def test_page_fits_a_phone(browser: Browser, address: str, song_wav: Path, messages: list[str]) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 640}, device_scale_factor=2)
    page = recorded(context.new_page(), messages)
    page.goto(address)
    choose(page, song_wav)
    wait_for_prediction(page)
    page.locator("#details summary").click()
    page.get_by_role("button", name="Wrong").click()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 320
    context.close()


def test_parts_that_matter_are_drawn_over_the_spectrogram(page: Page, song_wav: Path) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#reasons")).to_be_hidden()
    button = page.get_by_role("button", name="Show what it depends on")
    button.press("Enter")
    expect(page.locator("#reasons-text")).not_to_be_empty()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert count_colours(page, "#reasons") > 1
    button.press("Enter")
    expect(page.locator("#reasons")).to_be_hidden()


def test_block_that_matters_most_is_told(page: Page, song_wav: Path, prediction: dict[str, Any]) -> None:
    explanation = {
        "genre": "Folk",
        "probability": 0.8,
        "time_edges_seconds": [2.0, 5.0, 8.0],
        "band_edges_hz": [0.0, 500.0, 11_025.0],
        "drops": [[0.01, -0.1], [0.02, 0.5]],
    }
    page.route("**/predict", lambda route: route.fulfill(json=prediction | {"explanation": explanation}))
    choose(page, song_wav)
    wait_for_prediction(page)
    page.get_by_role("button", name="Show what it depends on").click()
    text = f"From 0:02 to 0:08 it is Folk with {percent(0.8)}. That depends most on 0:05 to 0:08, 500 Hz to 11.0 kHz:"
    expect(page.locator("#reasons-text")).to_have_text(f"{text} without this part it is {percent(0.3)}.")


def test_challenger_is_shown_beside_where_it_is_asked_for(
    page: Page, song_wav: Path, prediction: dict[str, Any]
) -> None:
    def with_challenger(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"challenger": "7"})

    bodies: list[bytes] = []
    beside = {
        "version": "7",
        "genre": "Folk",
        "confidence": 0.9,
        "probabilities": {"Folk": 0.9, "R&B": 0.1, "Rock": 0.0},
    }

    def answer(route: Route) -> None:
        bodies.append(route.request.post_data_buffer or b"")
        is_asked = b'name="compare"' in bodies[-1]
        route.fulfill(json=prediction | ({"challenger": beside} if is_asked else {}))

    expect(page.get_by_label("Compare with")).to_be_hidden()
    page.route("**/model", with_challenger)
    page.route("**/predict", answer)
    page.reload()
    choose(page, song_wav)
    wait_for_prediction(page)
    expect(page.locator("#challenger")).to_be_hidden()
    page.get_by_label("Compare with version 7").check()
    expect(page.locator("#challenger")).to_contain_text("Version 7, the challenger")
    expect(page.locator("#challenger-genres b")).to_have_text(["Folk", "R&B", "Rock"])


@pytest.mark.parametrize(("source", "is_demo"), [("sample", True), ("fma+sample", True), ("fma", False), (None, False)])
def test_model_of_synthesised_sound_is_called_a_demo(page: Page, source: str | None, is_demo: bool) -> None:
    page.route("**/model", lambda route: route.fulfill(json=route.fetch().json() | {"data_source": source}))
    page.reload()
    expect(page.locator("#model")).to_contain_text("version 1")
    expect(page.get_by_text("Demo model, trained on synthesised sound.")).to_be_visible(visible=is_demo)


def test_model_card_opens_and_closes_by_keyboard(page: Page) -> None:
    page.get_by_role("button", name="Model card").press("Enter")
    dialog = page.get_by_role("dialog", name="Model card")
    expect(dialog.get_by_role("heading", name="Training data")).to_be_visible()
    expect(dialog.get_by_role("table").first).to_be_visible()
    assert accessibility_violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_api_documentation_loads_nothing_from_other_origins(page: Page, address: str, messages: list[str]) -> None:
    messages.clear()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.get_by_role("link", name="API documentation").click()
    expect(page.get_by_text("/predict", exact=True)).to_be_visible()
    assert all(url.startswith((address, "data:")) for url in urls)


def test_printed_page_has_the_answer_and_no_buttons(page: Page, song_wav: Path) -> None:
    choose(page, song_wav)
    wait_for_prediction(page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".headline")).to_be_visible()
    expect(page.get_by_role("table")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
