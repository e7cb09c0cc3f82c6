"""The mel transform at its edges; that it is librosa's: test_librosa.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.errors import AudioError
from music_genre.features.audio import AudioSignal, decode
from music_genre.features.mel import FLOOR_DB, MelConfig, clip_starts, extract_clips, extract_first_clip, log_mel

RATE = 22_050
PUBLISHED = MelConfig(sample_rate_hz=RATE, n_fft=2048, hop_length=1024, n_mels=128, frames=640, clip_duration_s=31)
HALF_HOP = PUBLISHED.model_copy(update={"hop_length": 512})
BOTH_HOPS = pytest.mark.parametrize("transform", [PUBLISHED, HALF_HOP], ids=["hop 1024", "hop 512"])


def music(seconds: float, rate: int = RATE, seed: int = 3) -> np.ndarray:
    """(samples,) float32: a sweep over soft noise that swells, so that frames and bands differ."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time)) * (1.5 + np.sin(time))
    return (0.3 * np.sin(2 * np.pi * (200 * time + 40 * time**2)) + noise).astype(np.float32)


def test_a_process_makes_features_without_what_librosa_compiles_on_import() -> None:
    script = (
        "import sys, numpy as np\nfrom music_genre.features.audio import AudioSignal\n"
        "from music_genre.features.mel import extract_first_clip\nfrom music_genre.features.mel import MelConfig\n"
        "transform = MelConfig(sample_rate_hz=8000, n_fft=256, hop_length=128, n_mels=16, frames=9, clip_duration_s=1)"
        "\n"
        "extract_first_clip(AudioSignal(np.ones(11_025, np.float32), 11_025), transform)\n"
        "print(*(name for name in ('librosa.core.audio', 'librosa.util.utils', 'matplotlib') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_640_frames_of_1024_samples_are_29_7_seconds() -> None:
    assert PUBLISHED.frames_duration_s == pytest.approx(29.72, abs=0.01)
    assert HALF_HOP.frames_duration_s == pytest.approx(14.86, abs=0.01)


@BOTH_HOPS
def test_the_maximum_is_taken_before_the_cut(transform: MelConfig) -> None:
    audio = 0.1 * np.sin(2 * np.pi * 440 / RATE * np.arange(int(30.9 * RATE))).astype(np.float32)
    audio[int(30.0 * RATE) :] *= 3
    mel = extract_first_clip(AudioSignal(audio, RATE), transform)
    assert mel.max() == pytest.approx(-20 * np.log10(3), abs=0.5)


def test_what_lies_after_clip_seconds_is_not_heard() -> None:
    audio = music(33.0)
    audio[31 * RATE :] *= 3
    heard = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    np.testing.assert_array_equal(heard, extract_first_clip(AudioSignal(audio[: 31 * RATE], RATE), PUBLISHED))
    assert heard.max() == 0


def test_a_second_beyond_the_clip_is_enough_to_resample_its_end() -> None:
    audio = music(40.0, 44_100)
    audio[int(31.0 * 44_100) :] *= 3
    whole = extract_first_clip(AudioSignal(audio, 44_100), PUBLISHED)
    first = extract_first_clip(AudioSignal(audio[: 32 * 44_100], 44_100), PUBLISHED)
    np.testing.assert_allclose(first, whole, atol=1e-3)


def test_a_clip_a_little_short_is_padded_with_the_floor() -> None:
    audio = music(25.0)
    mel = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    heard = 1 + len(audio) // 1024
    assert mel.shape == (640, 128)
    assert (mel[heard:] == -80).all()
    assert (mel[:heard].max(axis=1) > -80).all()


def test_values_lie_between_the_floor_and_0_db() -> None:
    audio = music(30.0)
    audio[: 5 * RATE] = 0
    mel = extract_first_clip(AudioSignal(audio, RATE), PUBLISHED)
    assert mel.max() == 0
    assert mel.min() == FLOOR_DB == -80


def test_loudness_does_not_change_the_features() -> None:
    audio = music(30.0)
    loud, soft = (extract_first_clip(AudioSignal(audio * gain, RATE), PUBLISHED) for gain in (1.0, 0.1))
    np.testing.assert_allclose(soft, loud, atol=0.01)


@pytest.mark.parametrize("gain", [1.0, 1e3, 1e25])
def test_the_features_of_a_float_file_are_finite_or_it_is_a_fault(tmp_path: Path, gain: float) -> None:
    # The power of samples beyond 1e18 is no float32.
    soundfile.write(tmp_path / "clip.wav", music(5.0) * np.float32(gain), RATE, subtype="FLOAT")
    try:
        assert np.isfinite(extract_first_clip(decode(tmp_path / "clip.wav", 32.0), PUBLISHED)).all()
    except AudioError:
        assert gain > 1e3


@pytest.mark.parametrize("level", [0.0, 0.9e-4])
def test_a_silent_clip_is_a_fault(level: float) -> None:
    audio = np.full(30 * RATE, level, np.float32)
    for attempt in (extract_first_clip, extract_clips):
        with pytest.raises(AudioError) as caught:
            attempt(AudioSignal(audio, RATE), PUBLISHED)
        assert caught.value.reason == "silent"


def test_a_clip_under_one_window_of_the_fourier_transform_is_a_fault() -> None:
    for samples in (0, 1, 2047):
        with pytest.raises(AudioError) as caught:
            log_mel(music(1.0)[:samples], PUBLISHED)
        assert caught.value.reason == "short"
    assert log_mel(music(1.0)[:2048], PUBLISHED).shape == (640, 128)


@BOTH_HOPS
@pytest.mark.parametrize(("seconds", "rate"), [(5.0, RATE), (29.7, 44_100), (30.0, RATE), (31.0, 44_100)])
def test_a_recording_that_one_clip_spans_gives_exactly_the_clips_features(
    transform: MelConfig, seconds: float, rate: int
) -> None:
    recording = AudioSignal(music(seconds, rate), rate)
    starts, features = extract_clips(recording, transform)
    assert starts.tolist() == [0.0]
    np.testing.assert_array_equal(features, extract_first_clip(recording, transform)[np.newaxis])


@BOTH_HOPS
@pytest.mark.parametrize("seconds", [31.1, 35.0, 38.0, 45.0, 47.0, 61.5, 90.0, 200.0, 600.0])
def test_no_moment_of_a_song_lies_between_two_clips(transform: MelConfig, seconds: float) -> None:
    samples = int(seconds * RATE)
    window = transform.n_frames * transform.hop_length
    starts = clip_starts(samples, transform)
    assert starts[0] == 0
    assert starts[-1] + window == samples
    assert 0 < np.diff(starts).min() <= np.diff(starts).max() <= window


@BOTH_HOPS
@pytest.mark.parametrize("seconds", [90.0, 120.5, 200.0, 600.0])
def test_the_clips_of_a_long_song_overlap_by_about_half(transform: MelConfig, seconds: float) -> None:
    steps = np.diff(clip_starts(int(seconds * RATE), transform)) / (transform.n_frames * transform.hop_length)
    assert 0.4 <= steps.min() <= steps.max() <= 0.6


def test_each_clip_of_a_song_has_its_own_0_db() -> None:
    audio = music(90.0)
    audio[45 * RATE :] *= 0.05
    starts, features = extract_clips(AudioSignal(audio, RATE), PUBLISHED)
    assert len(starts) == len(features) >= 5
    assert features.shape[1:] == (640, 128)
    assert features.dtype == np.float32
    last = audio[round(starts[-1] * RATE) :]
    np.testing.assert_allclose(features[-1], extract_first_clip(AudioSignal(last, RATE), PUBLISHED), atol=1e-3)
    assert features[-1].max() > -1


def test_silent_parts_of_a_song_are_left_out() -> None:
    audio = music(180.0)
    audio[60 * RATE :] = 0
    starts, features = extract_clips(AudioSignal(audio, RATE), PUBLISHED)
    assert len(starts) == len(features) > 1
    assert starts.max() < 60
    assert len(starts) < len(clip_starts(len(audio), PUBLISHED))
    assert (features.max(axis=(1, 2)) > -1).all()
