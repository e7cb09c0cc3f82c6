"""Long recordings: refused by their length in seconds, and held in bounded memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import soxr

from music_genre.audio import decoding
from music_genre.audio.decoding import MonoReader, decode, decode_all
from music_genre.audio.signal import resample
from music_genre.errors import AudioError

LAYOUTS = [(44_100, 1), (44_100, 2), (48_000, 8), (96_000, 2), (192_000, 2), (192_000, 1)]


def file_of(samples: np.ndarray, rate: int, form: str = "WAV", subtype: str | None = None) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file


@pytest.mark.parametrize(("rate", "channels"), LAYOUTS)
def test_limit_is_in_seconds_at_any_rate_and_channels(rate: int, channels: int) -> None:
    file = file_of(np.random.default_rng(0).normal(0, 0.1, (int(2.5 * rate), channels)), rate)
    assert decode_all(file, 2.5).duration_s == 2.5
    assert decode(file, 1.5).duration_s == 1.5
    with pytest.raises(AudioError, match="too_long: 2 s; maximum duration is 2 s"):
        decode_all(file, 2.0)


@pytest.mark.parametrize(("rate", "channels"), LAYOUTS)
def test_limit_without_a_stated_length_is_in_seconds(encode: Callable[..., bytes], rate: int, channels: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (5 * rate, channels)).astype(np.float32)
    content = encode(samples, rate, "", "-c:a wavpack -f wv -seekable 0")
    assert MonoReader(io.BytesIO(content), 9).header.duration_s is None
    assert decode_all(io.BytesIO(content), 5.0).duration_s == 5.0
    with pytest.raises(AudioError, match="too_long: maximum duration is 3 s"):
        decode_all(io.BytesIO(content), 3.0)


def test_long_recording_without_a_stated_length_takes_no_memory_beyond_the_limit(
    encode: Callable[..., bytes], music: Callable[..., np.ndarray]
) -> None:
    content = encode(np.tile(music(10.0, 16_000), (12, 1)), 16_000, ".aac", "-c:a aac -b:a 32k")
    assert decode_all(io.BytesIO(content), 400).duration_s == pytest.approx(120, abs=0.2)
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="too_long: maximum duration is 10 s"):
            decode_all(io.BytesIO(content), 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 10 * 16_000 * 4


def test_inspection_of_a_long_recording_takes_no_memory_for_its_samples(music: Callable[..., np.ndarray]) -> None:
    file = file_of(np.tile(music(10.0, 16_000), (30, 1)), 16_000)
    tracemalloc.start()
    try:
        n_samples = sum(len(block) for block in MonoReader(file, 1e6).blocks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_samples == 300 * 16_000
    assert peak < 10 * 16_000 * 4


@pytest.mark.parametrize(("rate", "channels"), [(96_000, 2), (192_000, 1), (88_200, 2)])
def test_much_of_a_high_rate_is_held_at_48_khz(
    monkeypatch: pytest.MonkeyPatch, music: Callable[..., np.ndarray], rate: int, channels: int
) -> None:
    file = file_of(music(6.0, rate)[:, :channels], rate, subtype="FLOAT")
    own = decode_all(file, 10)
    assert own.sample_rate_hz == rate
    monkeypatch.setattr(decoding, "MAX_HELD_SAMPLES", 3 * rate)
    held = decode_all(file, 10)
    assert held.sample_rate_hz == 48_000
    assert held.duration_s == pytest.approx(6.0, abs=1e-4)
    at_once = soxr.resample(own.samples, rate, 48_000, "HQ")
    np.testing.assert_allclose(held.samples, at_once[: len(held.samples)], atol=1e-5)
    # What follows is the same: the rate of the models' input is lower still.
    both = [resample(signal, 22_050) for signal in (own, held)]
    length = min(map(len, both))
    inner = slice(200, length - 200)
    np.testing.assert_allclose(both[1][inner], both[0][inner], atol=2e-3)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_ordinary_rates_are_held_as_they_are(
    monkeypatch: pytest.MonkeyPatch, music: Callable[..., np.ndarray], rate: int
) -> None:
    file = file_of(music(3.0, rate), rate, subtype="FLOAT")
    monkeypatch.setattr(decoding, "MAX_HELD_SAMPLES", rate)
    held = decode_all(file, 10)
    assert held.sample_rate_hz == rate
    np.testing.assert_array_equal(held.samples, music(3.0, rate).mean(axis=1))


def test_held_samples_keep_their_notes_and_scale(
    monkeypatch: pytest.MonkeyPatch, music: Callable[..., np.ndarray]
) -> None:
    samples = np.round(music(4.0, 96_000) * 30_000)
    monkeypatch.setattr(decoding, "MAX_HELD_SAMPLES", 96_000)
    held = decode_all(file_of(samples, 96_000, subtype="FLOAT"), 10)
    assert [note.code for note in held.notes] == ["rescaled"]
    expected = soxr.resample(samples.mean(axis=1).astype(np.float32) / 2**15, 96_000, 48_000, "HQ")
    np.testing.assert_allclose(held.samples, expected[: len(held.samples)], atol=1e-5)
