"""The encoder that comes with the set-up gives what the published network gave."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from music_genre.encoders import musicnn, package
from music_genre.encoders.encoder import Encoder
from music_genre.errors import MusicGenreError
from music_genre.files import file_sha256

WHEEL = Path(sys.prefix) / "share" / package.WHEEL
OUTPUTS = Path(__file__).parent / "musicnn_outputs.npz"  # of the published graph, by TensorFlow, from librosa's mel


def synthetic_clips() -> np.ndarray:
    """(3, 48,000) float32 at 16 kHz: a tone with tremolo, noise in beats, a sweep over soft noise."""
    time, rng = np.arange(48_000) / 16_000, np.random.default_rng(5)
    tone = 0.3 * np.sin(2 * np.pi * 220 * time)
    tone += 0.1 * np.sin(2 * np.pi * 440 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    beat = rng.normal(0, 0.3, 48_000) * np.exp(-8 * (time % 0.5))
    sweep = 0.2 * np.sin(2 * np.pi * (100 * time + 600 * time**2)) + rng.normal(0, 0.005, 48_000)
    return np.stack([tone, beat, sweep]).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("musicnn")
    package.write_encoder(WHEEL, folder)
    return Encoder.open(folder)


def test_outputs_are_those_of_the_published_graph(encoder: Encoder) -> None:
    loaded = encoder.load()
    with np.load(OUTPUTS) as published:
        np.testing.assert_allclose(loaded.encode(synthetic_clips()), published["embedding"], atol=1e-4)
        np.testing.assert_allclose(loaded.encode_and_tag(synthetic_clips())[1], published["tags"], atol=1e-5)


def test_every_weight_is_used_and_the_file_is_the_same_bytes_again(encoder: Encoder, tmp_path: Path) -> None:
    assert musicnn.convert(WHEEL, tmp_path / "encoder.onnx") == 792_079
    assert file_sha256(tmp_path / "encoder.onnx") == encoder.config.sha256


def test_description_says_what_it_was_trained_on_and_its_licence(encoder: Encoder) -> None:
    assert (encoder.config.license, len(encoder.config.tags), encoder.config.dimension) == ("ISC", 50, 200)
    assert "Million Song Dataset" in encoder.config.trained_on


def test_window_is_encoded_alike_alone_and_among_others(encoder: Encoder) -> None:
    loaded, windows = encoder.load(2), np.tile(synthetic_clips(), (7, 1))  # more than are run at once
    alone = np.concatenate([loaded.encode(window[np.newaxis]) for window in windows])
    np.testing.assert_allclose(loaded.encode(windows), alone, atol=1e-5)
    assert loaded.encode(windows[:0]).shape == (0, 200)


def test_missing_and_other_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MusicGenreError, match="is missing: `make setup` brings it"):
        package.write_encoder(tmp_path / package.WHEEL, tmp_path)
    (tmp_path / package.WHEEL).write_bytes(b"PK")
    with pytest.raises(MusicGenreError, match="not the file that was published"):
        package.write_encoder(tmp_path / package.WHEEL, tmp_path)
    with pytest.raises(MusicGenreError, match=r"not the wheel of musicnn 0\.1\.0"):
        musicnn.convert(tmp_path / package.WHEEL, tmp_path / "encoder.onnx")
