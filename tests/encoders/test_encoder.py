"""Windows of a clip, and their level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music_genre.encoders.description import read_config
from music_genre.encoders.encoder import at_level, clip_windows
from music_genre.encoders.params import EncoderParams
from music_genre.errors import MusicGenreError
from transfer_projects import ENCODER


@pytest.mark.parametrize(("seconds", "n_windows"), [(0.1, 1), (0.3, 1), (0.49, 1), (0.5, 2), (1.0, 4)])
def test_clip_has_as_many_whole_windows_as_fit(seconds: float, n_windows: int) -> None:
    audio = np.arange(2000, dtype=np.float32)
    windows = clip_windows(audio, ENCODER, seconds)
    assert windows.shape == (n_windows, 300)
    assert windows[:, 0].tolist() == [200 * number for number in range(n_windows)]


def test_clip_shorter_than_its_windows_is_repeated() -> None:
    audio = np.arange(100, dtype=np.float32)
    windows = clip_windows(audio, ENCODER, 0.5)
    np.testing.assert_array_equal(windows, np.tile(audio, 5)[[np.arange(300), np.arange(200, 500)]])


@pytest.mark.parametrize("gain", [1e-3, 0.1, 1.0])
def test_level_does_not_depend_on_the_recordings_own(gain: float) -> None:
    audio = gain * np.random.default_rng(0).normal(0, 0.3, 1000).astype(np.float32)
    leveled = at_level(audio, -20.0)
    assert 20 * np.log10(np.sqrt(np.mean(leveled**2))) == pytest.approx(-20, abs=0.01)
    assert leveled.dtype == np.float32
    np.testing.assert_array_equal(at_level(audio, None), audio)


def test_silence_has_no_level() -> None:
    np.testing.assert_array_equal(at_level(np.zeros(10, np.float32), -20.0), np.zeros(10))


def test_wrong_descriptions_are_refused_by_key(tmp_path: Path) -> None:
    path = tmp_path / "encoder.json"
    with pytest.raises(MusicGenreError, match=r"encoder\.json cannot be read"):
        read_config(path)
    path.write_text(ENCODER.model_dump_json().replace('"dimension":6', '"dimension":0').replace("here", "there"))
    with pytest.raises(MusicGenreError, match=r"encoder\.json: dimension: .*greater than or equal to 1"):
        read_config(path)
    path.write_text("[]")
    with pytest.raises(MusicGenreError, match=r"encoder\.json: the file: "):
        read_config(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"package": None}, "name one of package, path and url"),
        ({"path": "/encoder"}, "name one of package, path and url"),
        ({"package": None, "path": "/encoder"}, "sha256: is missing"),
        ({"package": None, "url": "http://localhost/encoder"}, "sha256: is missing"),
    ],
)
def test_encoder_has_one_source_and_ones_own_a_digest(values: dict[str, object], message: str) -> None:
    section = {"package": "musicnn", "path": None, "url": None, "sha256": None} | values
    with pytest.raises(ValueError, match=message):
        EncoderParams.model_validate(section)
