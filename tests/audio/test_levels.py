"""Levels of samples: integers in float files, wild samples, 8 bits, constant offsets."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.audio.info import AudioInfo, inspect_recording
from music_genre.audio.signal import AudioSignal
from music_genre.errors import AudioError
from music_genre.features.mel import MelConfig, extract_first_clip

RATE = 22_050
ALL = 1e6  # seconds: the whole of any file here
TRANSFORM = MelConfig(sample_rate_hz=RATE, n_fft=2048, hop_length=1024, n_mels=64, n_frames=40, clip_duration_s=2)


def wav(samples: np.ndarray, subtype: str = "FLOAT", rate: int = RATE) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file


def eight_bit(values: np.ndarray) -> io.BytesIO:
    """A WAV file with bytes as they are; 128 is none."""
    return wav(((np.asarray(values, np.float64) - 128) / 128).astype(np.float32), "PCM_U8")


def inspect(file: io.BytesIO) -> tuple[AudioInfo, AudioSignal, list[str]]:
    info, recording = inspect_recording(file, ALL, ALL)
    return info, recording, [note.code for note in info.notes]


@pytest.fixture(scope="module")
def mono(music: Callable[..., np.ndarray]) -> np.ndarray:
    """(samples,) float32, peak 0.9."""
    samples = music(3.0, RATE).mean(axis=1)
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_integers_in_a_float_file_are_scaled(mono: np.ndarray, bits: int, subtype: str) -> None:
    integers = np.round(mono.astype(np.float64) * 2 ** (bits - 1))
    info, recording, codes = inspect(wav(integers, subtype))
    assert codes == ["rescaled"]
    np.testing.assert_allclose(recording.samples, integers / 2 ** (bits - 1), rtol=1e-6)
    assert info.peak == pytest.approx(0.9, abs=0.02)
    assert info.invalid_fraction == 0


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("beginning", ["fade-in", "slow fade-in", "silence", "silence for almost a second"])
def test_integers_that_begin_in_silence_are_scaled(mono: np.ndarray, bits: int, beginning: str) -> None:
    time = np.arange(len(mono)) / RATE
    gain = {
        "fade-in": np.minimum(1, time / 2),
        "slow fade-in": 1e-5 ** np.maximum(0, 1 - time / 2.5),
        "silence": (time >= 1.0) * 1.0,
        "silence for almost a second": (time >= 0.96) * 1.0,
    }[beginning]
    integers = np.round(gain * mono * 2.0 ** (bits - 1))
    info, recording, codes = inspect(wav(integers, "DOUBLE"))
    assert codes == ["rescaled"]
    np.testing.assert_allclose(recording.samples, integers / 2 ** (bits - 1), rtol=1e-6)
    assert info.invalid_fraction == 0


@pytest.mark.parametrize("gain", [1.0, 3.0, 12.0, 50.0])
def test_loud_floats_keep_their_level(mono: np.ndarray, gain: float) -> None:
    samples = gain * mono
    _, recording, codes = inspect(wav(samples))
    assert codes == []
    np.testing.assert_array_equal(recording.samples, samples)


@pytest.mark.parametrize("is_sound_there", [True, False])
def test_few_wild_samples_are_invalid_and_change_no_level(mono: np.ndarray, is_sound_there: bool) -> None:
    samples = mono.copy()
    if not is_sound_there:
        samples[:RATE] = 0
    wild = [100, 2000, 2001, 9000]
    samples[wild] = [1e8, -1e8, 1e20, 3e7]
    info, recording, codes = inspect(wav(samples))
    assert codes == ["not_finite"]
    samples[wild] = 0
    np.testing.assert_array_equal(recording.samples, samples)
    assert info.invalid_fraction == pytest.approx(4 / len(samples))


def test_samples_beyond_every_integer_are_all_invalid(mono: np.ndarray) -> None:
    info, recording, codes = inspect(wav(np.where(mono < 0, -1e30, 1e30)))
    assert codes == ["not_finite"]
    assert info.invalid_fraction == 1
    assert info.is_silent
    assert not recording.samples.any()


@pytest.mark.parametrize("values", [np.full(3 * RATE, 127), np.random.default_rng(0).integers(127, 130, 3 * RATE)])
def test_eight_bits_of_rounding_are_silent(values: np.ndarray) -> None:
    info, recording, codes = inspect(eight_bit(values))
    assert info.is_silent
    assert codes == []
    with pytest.raises(AudioError) as refused:
        extract_first_clip(recording, TRANSFORM)
    assert refused.value.reason == "silent"


def test_quiet_music_of_eight_bits_is_not_silent(mono: np.ndarray) -> None:
    info, recording, _ = inspect(eight_bit(np.round(128 + 6 * mono)))
    assert not info.is_silent
    assert np.isfinite(extract_first_clip(recording, TRANSFORM)).all()


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("offset", [0.5, -0.25, 0.01])
def test_constant_offset_is_silent(subtype: str, offset: float) -> None:
    info, recording, _ = inspect(wav(np.full(3 * RATE, offset), subtype))
    assert info.is_silent
    assert info.silent_fraction == 1
    with pytest.raises(AudioError) as refused:
        extract_first_clip(recording, TRANSFORM)
    assert refused.value.reason == "silent"


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_music_on_an_offset_is_not_changed_by_it(mono: np.ndarray, subtype: str) -> None:
    file = wav(0.5 * mono + 0.3, subtype)
    stored, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    info, recording, codes = inspect(file)
    np.testing.assert_array_equal(recording.samples, stored)
    assert codes == []
    assert not info.is_silent
    assert info.peak == pytest.approx(0.45, abs=0.02)
    np.testing.assert_array_equal(decode(file, ALL).samples, stored)


def test_music_under_the_noise_of_eight_bits_is_heard_in_sixteen(mono: np.ndarray) -> None:
    info, _, _ = inspect(wav(mono / 100, "PCM_16"))
    assert not info.is_silent
