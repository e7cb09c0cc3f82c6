"""Resampling, decibels, spectrograms and MFCC equal librosa's. One file, because the first process of a new environment
that imports these parts of librosa compiles them.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile

from music_genre.audio.decoding import decode
from music_genre.audio.signal import AudioSignal, resample
from music_genre.features.mel import _hann, _mel_filters, extract_first_clip, power_to_db
from music_genre.features.params import MelConfig
from music_genre.models import baseline

RATE = 22_050


def music(seconds: float, rate: int) -> np.ndarray:
    """(samples,) float32: a sweep over soft noise that swells, so that frames and bands differ."""
    sweep = librosa.chirp(fmin=200, fmax=rate / 4, sr=rate, duration=seconds)
    swell = 1.5 + np.sin(np.arange(len(sweep)) / rate)
    return (0.3 * sweep + swell * np.random.default_rng(3).normal(0, 0.01, len(sweep))).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [2.0, 0.3337])
def test_resampling_equals_librosa_load_to_the_bit(tmp_path: Path, rate: int, seconds: float) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, music(seconds, rate), rate)
    expected, _ = librosa.load(path, sr=RATE, mono=True)
    resampled = resample(decode(path, seconds + 1), RATE)
    assert resampled.dtype == np.float32
    np.testing.assert_array_equal(resampled, expected)


@pytest.mark.parametrize("max_power", [1e-12, 3.0, 4e5])
def test_decibels_equal_librosas_to_the_bit(max_power: float) -> None:
    power = (max_power * np.random.default_rng(0).random((50, 16)) ** 20).astype(np.float32)
    expected = librosa.power_to_db(power, ref=np.max)
    decibels = power_to_db(power)
    assert decibels.dtype == expected.dtype
    np.testing.assert_array_equal(decibels, expected)


@pytest.mark.parametrize("seconds", [30.0, 25.0])
@pytest.mark.parametrize("hop_length", [1024, 512])
def test_clip_equals_the_studys_spectrogram_within_half_precision(hop_length: int, seconds: float) -> None:
    transform = MelConfig(
        sample_rate_hz=RATE, n_fft=2048, hop_length=hop_length, n_mels=128, n_frames=640, clip_duration_s=31
    )
    audio = music(seconds, RATE)
    power = librosa.feature.melspectrogram(y=audio, sr=RATE, n_fft=2048, hop_length=hop_length)
    expected = librosa.power_to_db(power, ref=np.max).T[:640]
    mel = extract_first_clip(AudioSignal(audio, RATE), transform)
    assert mel.shape == (640, 128)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel[: len(expected)], expected, atol=1e-3)
    np.testing.assert_allclose(mel[: len(expected)].astype(np.float16).astype(np.float32), expected, atol=0.05)


def test_mfcc_equal_librosas() -> None:
    mel = np.random.default_rng(0).uniform(-80, 0, (2, 5, 32)).astype(np.float32)
    expected = librosa.feature.mfcc(S=mel.transpose(0, 2, 1), n_mfcc=20).transpose(0, 2, 1)
    np.testing.assert_allclose(baseline.mfcc(mel), expected, atol=1e-3)
    assert baseline.clip_statistics(baseline.mfcc(mel)).shape == (2, 80)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000, 1_500])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(512, 24), (2048, 128), (1024, 96), (4096, 256)])
def test_filters_and_window_equal_librosas_and_scipys_to_the_bit(rate: int, n_fft: int, n_mels: int) -> None:
    transform = MelConfig(
        sample_rate_hz=rate, n_fft=n_fft, hop_length=n_fft, n_mels=n_mels, n_frames=1, clip_duration_s=10
    )
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_array_equal(_mel_filters(transform), expected.T)
    window = scipy.signal.get_window("hann", n_fft).astype(np.float32)
    np.testing.assert_array_equal(_hann(n_fft), window)
