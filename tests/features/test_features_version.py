"""A change of numbers needs a new ``FEATURES_VERSION``: stored spectrograms are known by it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import soundfile

from music_genre.audio.decoding import decode
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import FEATURES_VERSION, MelConfig

TRANSFORM = MelConfig(sample_rate_hz=16_000, n_fft=512, hop_length=512, n_mels=24, n_frames=20, clip_duration_s=1)
# By features version, the SHA-256 of the features of `recording` in steps of 0.1 dB.
GOLDEN = {2: "4a5843ae7c7415c166bbfa83606e025f98c05e0e1d4dae5e7cb613496f323375"}


def recording(path: Path) -> Path:
    """A second of stereo at 44.1 kHz, so that decoding, downmix, resampling and mel bands all have a part in it."""
    time, noise = np.arange(44_100) / 44_100, np.random.default_rng(0).normal(0, 0.05, 44_100)
    left = 0.3 * np.sin(2 * np.pi * (300 * time + 2_000 * time**2)) * (1 + np.sin(40 * time)) / 2
    soundfile.write(path, np.stack([left + noise, 0.5 * left - noise[::-1]], axis=1), 44_100, subtype="PCM_16")
    return path


def test_features_have_the_golden_digest_of_their_version(tmp_path: Path) -> None:
    mel = extract_first_clip(decode(recording(tmp_path / "sweep.wav"), 2), TRANSFORM).astype(np.float64)
    distance = np.abs(mel * 10 - np.floor(mel * 10) - 0.5)
    # Floats differ by 2e-5 dB between processors; that must not change how a value is rounded.
    assert distance.min() > 1e-3
    steps = np.round(mel * 10).astype("<i2")
    assert hashlib.sha256(steps.tobytes()).hexdigest() == GOLDEN[FEATURES_VERSION], (
        "the features changed: raise FEATURES_VERSION and add their digest here"
    )
