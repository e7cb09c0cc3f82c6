"""Measurements of a model as it will be served."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from music_genre.audio.decoding import decode
from music_genre.evaluation.serving_checks import (
    N_LATENCY_RUNS,
    bundle_size_mb,
    feature_positions,
    feature_skew_db,
    latency_ms,
)
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import MelConfig
from music_genre.models.bundle import BundleManifest

TRANSFORM = MelConfig(sample_rate_hz=22050, n_fft=2048, hop_length=1024, n_mels=32, n_frames=64, clip_duration_s=4)


@pytest.fixture
def audio(tmp_path: Path, synth_tone: Callable[..., np.ndarray]) -> list[Path]:
    paths = [tmp_path / f"{genre}.wav" for genre in ("Folk", "Rock")]
    for path in paths:
        soundfile.write(path, synth_tone(path.stem, 1, 3.5), 22050)
    return paths


def stored(audio: list[Path], transform: MelConfig) -> np.ndarray:
    """Features as the pipeline stores and reads them."""
    features = [extract_first_clip(decode(path, transform.clip_duration_s + 1), transform) for path in audio]
    return np.stack(features).astype(np.float16).astype(np.float32)


def test_features_of_the_same_transform_differ_by_the_rounding_of_float16_only(audio: list[Path]) -> None:
    assert feature_skew_db(TRANSFORM, audio, stored(audio, TRANSFORM)) <= 0.032


def test_features_of_another_transform_are_skewed(audio: list[Path]) -> None:
    other = TRANSFORM.model_copy(update={"n_fft": 1024})
    assert feature_skew_db(other, audio, stored(audio, TRANSFORM)) > 1


def test_one_skewed_clip_among_others_is_enough(audio: list[Path]) -> None:
    features = stored(audio, TRANSFORM)
    features[1, 10, 5] += 2
    assert feature_skew_db(TRANSFORM, audio, features) == pytest.approx(2, abs=0.04)


@pytest.mark.parametrize(("n_clips", "n_positions"), [(1, 1), (5, 5), (8, 8), (100, 8)])
def test_feature_clips_are_spread_over_the_data_set(n_clips: int, n_positions: int) -> None:
    positions = feature_positions(np.zeros(n_clips))  # type: ignore[arg-type]  # only its length is used
    assert len(positions) == len(set(positions)) == n_positions
    assert (positions[0], positions[-1]) == (0, n_clips - 1)


def test_latency_is_that_of_the_fastest_run() -> None:
    delays = iter([0.05, *[0.03] * (N_LATENCY_RUNS - 1), 0.005])

    def predict(clip: np.ndarray) -> None:
        time.sleep(next(delays))

    manifest = BundleManifest("crnn", (), 1.0, ("Folk", "Rock"), (64, 32), None, None, 1.0)
    model = SimpleNamespace(predict=predict, manifest=manifest)
    assert 5 <= latency_ms(model) < 30  # type: ignore[arg-type]


def test_size_is_that_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(bytes(1_500_000))
    (tmp_path / "manifest.json").write_bytes(bytes(500_000))
    assert bundle_size_mb(tmp_path) == 2.0
