"""What must not change the genre does not, and what is no music is not called confident.

A small CRNN of the improved recipe, trained by the pipeline's stages on the synthetic sample; every clip here is of
artists that no split has.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from music_genre.audio.decoding import decode_all
from music_genre.datasets.instruments import SAMPLE_RATE_HZ
from music_genre.datasets.synthesis import STYLES, synthesize
from music_genre.errors import AudioError, IssueReason
from music_genre.inference.batch import predict_clips
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle

pytestmark = pytest.mark.slow

CLIP_SECONDS, RECORDING_SECONDS = 10, 14
ARTISTS = (1000, 1001, 1002)  # beyond those of the sample
PARAMS: dict[str, Any] = {
    "data": {"source": "sample", "min_duration_s": 5, "sample": {"tracks_per_genre": 16, "duration_s": CLIP_SECONDS}},
    "spectrogram": {"n_mels": 64, "n_frames": 214, "clip_duration_s": CLIP_SECONDS},
}
STAGES = """
import sys
from music_genre.pipeline import evaluate, fetch, inspect, spectrograms, split, train, validate

for stage in (fetch, inspect, split, spectrograms, validate):
    stage.main()
sys.argv[1:] = ["crnn"]
train.main()
evaluate.main()
"""

Predict = Callable[[np.ndarray], dict[str, Any]]


@pytest.fixture(scope="module")
def model(
    shared_dir: Callable[[str, Callable[[Path], None]], Path], write_params: Callable[[Path, dict[str, Any]], None]
) -> tuple[ModelBundle, float]:
    """The trained CRNN and its confidence threshold, as ``music-genre predict --model crnn`` takes them."""
    from music_genre.cli._context import load_model

    def fill(folder: Path) -> None:
        write_params(folder, PARAMS)
        (folder / "dvc.yaml").touch()
        subprocess.run([sys.executable, "-c", STAGES], cwd=folder, check=True, capture_output=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared_dir("sample_model", fill))
        return load_model("crnn")


@pytest.fixture(scope="module")
def predict(model: tuple[ModelBundle, float]) -> Callable[..., dict[str, Any]]:
    """The prediction of samples at ``SAMPLE_RATE_HZ``, after a file of some format (default: float WAV) and rate."""
    bundle, threshold = model

    def run(samples: np.ndarray, rate: int = SAMPLE_RATE_HZ, format: str = "WAV", subtype: str = "FLOAT") -> Any:
        file = io.BytesIO()
        resampled = soxr.resample(samples, SAMPLE_RATE_HZ, rate) if rate != SAMPLE_RATE_HZ else samples
        soundfile.write(file, resampled, rate, format=format, subtype=subtype)
        file.seek(0)
        clips = extract_clip_batch(decode_all(file, 60), bundle.manifest)
        return predict_clips(bundle, clips, threshold)

    return run


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    """A recording by each artist of each genre, (samples,) float32."""
    return [synthesize(genre, artist, 0, RECORDING_SECONDS, 7) for genre in STYLES for artist in ARTISTS]


@pytest.fixture(scope="module")
def genres(recordings: list[np.ndarray], predict: Predict) -> list[str]:
    """What is predicted of the first seconds of each recording."""
    return [predict(first_seconds(recording))["genre"] for recording in recordings]


def first_seconds(recording: np.ndarray, start_seconds: float = 0.0) -> np.ndarray:
    """(samples,) of ``CLIP_SECONDS`` from a moment on."""
    start = int(start_seconds * SAMPLE_RATE_HZ)
    return recording[start : start + CLIP_SECONDS * SAMPLE_RATE_HZ]


def test_genres_of_new_artists_are_recognized(genres: list[str]) -> None:
    # Without this the invariances below would say nothing: a constant prediction has them all.
    assert genres == [genre for genre in STYLES for _ in ARTISTS]


@pytest.mark.parametrize("gain_db", [-12, -6, 3, 6])
def test_gain_does_not_change_the_genre(
    gain_db: float, recordings: list[np.ndarray], genres: list[str], predict: Predict
) -> None:
    factor = 10 ** (gain_db / 20)
    assert [predict(first_seconds(recording) * factor)["genre"] for recording in recordings] == genres


@pytest.mark.parametrize("start_seconds", [0.1, 0.5, 1.3, 2.7, 4.0])
def test_start_does_not_change_the_genre(
    start_seconds: float, recordings: list[np.ndarray], genres: list[str], predict: Predict
) -> None:
    shifted = [predict(first_seconds(recording, start_seconds))["genre"] for recording in recordings]
    assert shifted == genres


@pytest.mark.parametrize(
    ("format", "subtype", "rate"),
    [
        ("MP3", "MPEG_LAYER_III", 44_100),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("FLAC", "PCM_16", 44_100),
        ("WAV", "PCM_16", 44_100),
    ],
)
def test_codec_does_not_change_the_genre(
    format: str,
    subtype: str,
    rate: int,
    recordings: list[np.ndarray],
    genres: list[str],
    predict: Callable[..., dict[str, Any]],
) -> None:
    coded = [predict(first_seconds(recording), rate, format, subtype)["genre"] for recording in recordings]
    assert coded == genres


@pytest.mark.parametrize("rate", [48_000, 32_000, 22_050, 16_000])
def test_resampling_does_not_change_the_genre(
    rate: int, recordings: list[np.ndarray], genres: list[str], predict: Callable[..., dict[str, Any]]
) -> None:
    assert [predict(first_seconds(recording), rate)["genre"] for recording in recordings] == genres


def test_second_channel_does_not_change_the_genre(
    recordings: list[np.ndarray], genres: list[str], predict: Predict
) -> None:
    doubled = [np.stack([first_seconds(recording)] * 2, axis=1) for recording in recordings]
    assert [predict(samples)["genre"] for samples in doubled] == genres


def test_silence_is_refused(predict: Predict) -> None:
    with pytest.raises(AudioError) as error:
        predict(np.zeros(CLIP_SECONDS * SAMPLE_RATE_HZ, np.float32))
    assert error.value.reason == IssueReason.SILENT


@pytest.mark.parametrize("level", [0.1, 0.01])
def test_white_noise_is_not_called_confident(level: float, predict: Predict) -> None:
    noise = np.random.default_rng(0).normal(0, level, CLIP_SECONDS * SAMPLE_RATE_HZ).astype(np.float32)
    prediction = predict(noise)
    assert prediction["confident"] is False
    assert [note["code"] for note in prediction["notes"]] == ["steady_level"]
