"""Pictures and sounds in a page are small, whole and the same each time."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from music_genre.reporting.media import SAMPLE_DURATION_S, audio_sample, inline_picture

RATE = 44_100


def content(uri: str, media_type: str) -> io.BytesIO:
    assert uri.startswith(f"data:{media_type};base64,")
    return io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True))


def tone(path: Path, seconds: float) -> Path:
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE), RATE)
    return path


def test_diagram_is_kept_to_the_pixel(tmp_path: Path) -> None:
    diagram = Image.new("RGB", (400, 300), "white")
    diagram.paste((200, 30, 30), (50, 50, 120, 90))
    diagram.save(tmp_path / "diagram.png")
    picture = inline_picture(tmp_path / "diagram.png")
    with Image.open(content(picture.uri, "image/webp")) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(diagram))
    assert (picture.width, picture.height) == (400, 300)


def test_photograph_like_picture_is_far_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert len(inline_picture(tmp_path / "noise.png").uri) < (tmp_path / "noise.png").stat().st_size / 2


def test_picture_that_is_too_tall_for_webp_is_scaled_down(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20_000)).save(tmp_path / "tall.png")
    assert inline_picture(tmp_path / "tall.png").height == 16_000


@pytest.mark.parametrize(("seconds", "heard"), [(30, SAMPLE_DURATION_S), (7, SAMPLE_DURATION_S), (2, 2)])
def test_sample_is_some_seconds_of_the_recording(tmp_path: Path, seconds: float, heard: float) -> None:
    sample = audio_sample(tone(tmp_path / "tone.wav", seconds))
    assert sample is not None
    assert len(sample) < 40_000
    samples, rate = soundfile.read(content(sample, "audio/mpeg"))
    assert len(samples) / rate == pytest.approx(heard, abs=0.2)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    frequency = np.abs(np.fft.rfft(middle)).argmax() * rate / len(middle)
    assert frequency == pytest.approx(440, abs=2)


def test_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tone(tmp_path / "tone.wav", 8)
    assert audio_sample(path) == audio_sample(path)


@pytest.mark.parametrize("damaged", [b"", b"no audio at all" * 100])
def test_recording_that_cannot_be_read_has_no_sample(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "damaged.mp3").write_bytes(damaged)
    assert audio_sample(tmp_path / "damaged.mp3") is None
    assert audio_sample(tmp_path / "missing.mp3") is None
