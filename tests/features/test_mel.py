"""The mel transform: limits, silence, clips of a recording. That its numbers are librosa's is in test_librosa.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.audio.signal import AudioSignal
from music_genre.errors import AudioError
from music_genre.features.mel import clip_starts, extract_clips, extract_first_clip, log_mel, to_db
from music_genre.features.params import FLOOR_DB, MelConfig

RATE = 22_050
PUBLISHED = MelConfig(sample_rate_hz=RATE, n_fft=2048, hop_length=1024, n_mels=128, n_frames=640, clip_duration_s=31)
HALF_HOP = PUBLISHED.model_copy(update={"hop_length": 512})
BOTH_HOPS = pytest.mark.parametrize("transform", [PUBLISHED, HALF_HOP], ids=["hop 1024", "hop 512"])


def music(seconds: float, rate: int = RATE, seed: int = 3) -> np.ndarray:
    """(samples,) float32: a sweep over soft noise that swells, so that frames and bands differ."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time)) * (1.5 + np.sin(time))
    return (0.3 * np.sin(2 * np.pi * (200 * time + 40 * time**2)) + noise).astype(np.float32)


def test_features_need_no_slow_imports() -> None:
    script = """
import sys, numpy as np
from music_genre.audio.signal import AudioSignal
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import MelConfig
transform = MelConfig(sample_rate_hz=8000, n_fft=256, hop_length=128, n_mels=16, n_frames=9, clip_duration_s=1)
extract_first_clip(AudioSignal(np.ones(11_025, np.float32), 11_025), transform)
print(*(name for name in ("librosa", "scipy.signal", "pandas", "matplotlib") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_640_frames_of_1024_samples_are_29_7_seconds() -> None:
    assert PUBLISHED.frames_duration_s == pytest.approx(29.72, abs=0.01)
    assert HALF_HOP.frames_duration_s == pytest.approx(14.86, abs=0.01)


@BOTH_HOPS
def test_loudest_cell_may_lie_after_the_last_frame(transform: MelConfig) -> None:
    audio = 0.1 * np.sin(2 * np.pi * 440 / RATE * np.arange(int(30.9 * RATE))).astype(np.float32)
    audio[int(30.0 * RATE) :] *= 3
    mel = extract_first_clip(AudioSignal(audio, RATE), transform)
    assert mel.max() == pytest.approx(-20 * np.log10(3), abs=0.5)


def test_audio_after_the_clip_duration_is_not_used() -> None:
    audio = music(33.0)
    audio[31 * RATE :] *= 3
    mel = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    np.testing.assert_array_equal(mel, extract_first_clip(AudioSignal(audio[: 31 * RATE], RATE), PUBLISHED))
    assert mel.max() == 0


def test_one_second_beyond_the_clip_suffices_to_resample_its_end() -> None:
    audio = music(40.0, 44_100)
    audio[int(31.0 * 44_100) :] *= 3
    whole = extract_first_clip(AudioSignal(audio, 44_100), PUBLISHED)
    first = extract_first_clip(AudioSignal(audio[: 32 * 44_100], 44_100), PUBLISHED)
    np.testing.assert_allclose(first, whole, atol=1e-3)


def test_short_clip_is_padded_with_the_floor() -> None:
    audio = music(25.0)
    mel = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    n_frames = 1 + len(audio) // 1024
    assert mel.shape == (640, 128)
    assert (mel[n_frames:] == -80).all()
    assert (mel[:n_frames].max(axis=1) > -80).all()


def test_values_are_between_the_floor_and_0_db() -> None:
    audio = music(30.0)
    audio[: 5 * RATE] = 0
    mel = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    assert mel.max() == 0
    assert mel.min() == FLOOR_DB == -80


def test_gain_does_not_change_features() -> None:
    audio = music(30.0)
    loud, soft = (extract_first_clip(AudioSignal(audio * gain, RATE), PUBLISHED) for gain in (1.0, 0.1))
    np.testing.assert_allclose(soft, loud, atol=0.01)


@pytest.mark.parametrize("gain", [1.0, 1e3, 1e25])
def test_features_of_float_files_are_finite_or_refused(tmp_path: Path, gain: float) -> None:
    # The power of samples beyond 1e18 is no float32.
    soundfile.write(tmp_path / "clip.wav", music(5.0) * np.float32(gain), RATE, subtype="FLOAT")
    try:
        assert np.isfinite(extract_first_clip(decode(tmp_path / "clip.wav", 32.0), PUBLISHED)).all()
    except AudioError:
        assert gain > 1e3


@pytest.mark.parametrize("level", [0.0, 0.9e-4])
def test_silent_clip_is_refused(level: float) -> None:
    audio = np.full(30 * RATE, level, np.float32)
    for attempt in (extract_first_clip, extract_clips):
        with pytest.raises(AudioError) as caught:
            attempt(AudioSignal(audio, RATE), PUBLISHED)
        assert caught.value.reason == "silent"


def test_clip_with_sound_after_its_last_frame_alone_is_refused() -> None:
    audio = np.zeros(31 * RATE, np.float32)
    audio[-RATE // 2 :] = music(1.0)[: RATE // 2]
    with pytest.raises(AudioError, match=r"silent: the first 29\.7 s are silent"):
        log_mel(audio, PUBLISHED)


def test_clip_shorter_than_one_window_is_refused() -> None:
    for samples in (0, 1, 2047):
        with pytest.raises(AudioError) as caught:
            log_mel(music(1.0)[:samples], PUBLISHED)
        assert caught.value.reason == "short"
    assert log_mel(music(1.0)[:2048], PUBLISHED).shape == (640, 128)


@BOTH_HOPS
@pytest.mark.parametrize(("seconds", "rate"), [(5.0, RATE), (29.7, 44_100), (30.0, RATE), (31.0, 44_100)])
def test_recording_of_one_clip_gives_exactly_the_clips_features(
    transform: MelConfig, seconds: float, rate: int
) -> None:
    recording = AudioSignal(music(seconds, rate), rate)
    starts, features = extract_clips(recording, transform)
    assert starts.tolist() == [0.0]
    np.testing.assert_array_equal(features, extract_first_clip(recording, transform)[np.newaxis])


@BOTH_HOPS
@pytest.mark.parametrize("seconds", [31.1, 35.0, 38.0, 45.0, 47.0, 61.5, 90.0, 200.0, 600.0])
def test_clips_of_a_long_recording_leave_no_gap(transform: MelConfig, seconds: float) -> None:
    samples = int(seconds * RATE)
    window = transform.n_frames * transform.hop_length
    starts = clip_starts(samples, transform)
    assert starts[0] == 0
    assert starts[-1] + window == samples
    assert 0 < np.diff(starts).min() <= np.diff(starts).max() <= window


@BOTH_HOPS
@pytest.mark.parametrize("seconds", [90.0, 120.5, 200.0, 600.0])
def test_clips_of_a_long_recording_overlap_by_about_half(transform: MelConfig, seconds: float) -> None:
    steps = np.diff(clip_starts(int(seconds * RATE), transform)) / (transform.n_frames * transform.hop_length)
    assert 0.4 <= steps.min() <= steps.max() <= 0.6


def test_each_clip_of_a_recording_has_its_own_0_db() -> None:
    audio = music(90.0)
    audio[45 * RATE :] *= 0.05
    starts, features = extract_clips(AudioSignal(audio, RATE), PUBLISHED)
    assert len(starts) == len(features) >= 5
    assert features.shape[1:] == (640, 128)
    assert features.dtype == np.float32
    last = audio[round(starts[-1] * RATE) :]
    np.testing.assert_allclose(features[-1], extract_first_clip(AudioSignal(last, RATE), PUBLISHED), atol=1e-3)
    assert features[-1].max() > -1


def test_silent_clips_of_a_recording_are_left_out() -> None:
    audio = music(180.0)
    audio[60 * RATE :] = 0
    starts, features = extract_clips(AudioSignal(audio, RATE), PUBLISHED)
    assert len(starts) == len(features) > 1
    assert starts.max() < 60
    assert len(starts) < len(clip_starts(len(audio), PUBLISHED))
    assert (features.max(axis=(1, 2)) > -1).all()


def test_bytes_of_ready_spectrograms_span_80_db() -> None:
    mel = to_db(np.array([0, 51, 204, 255], np.uint8), "db")
    np.testing.assert_allclose(mel, [-80, -64, -16, 0], atol=1e-5)
    assert mel.dtype == np.float32
    assert mel.max() <= 0


def test_bytes_are_decibels_in_both_scales() -> None:
    mel = np.array([0, 100, 255], np.uint8)
    np.testing.assert_array_equal(to_db(mel, "ln_power"), to_db(mel, "db"))


def test_natural_logarithm_of_power_becomes_decibels() -> None:
    power = np.array([1.0, 0.5, 0.1, 1e-8])
    stored = to_db(np.log(power).astype(np.float32), "ln_power")
    np.testing.assert_allclose(stored, 10 * np.log10(power), atol=1e-4)
    assert stored.dtype == np.float32
    assert stored.astype(np.float16).min() == -80


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_decibels_are_unchanged(kind: type) -> None:
    mel = np.random.default_rng(1).uniform(-80, 0, (3, 8, 4)).astype(kind)
    np.testing.assert_array_equal(to_db(mel, "db"), mel.astype(np.float32))
