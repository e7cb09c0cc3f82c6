"""Predictions of many files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from music_genre.audio.folder import audio_files
from music_genre.errors import AudioError, IssueReason
from music_genre.features.params import MelConfig
from music_genre.inference.batch import load_clips, predict_files
from music_genre.models.bundle import Answer, BundledMember, BundleManifest

RATE = 8000
TRANSFORM = MelConfig(sample_rate_hz=RATE, n_fft=512, hop_length=400, n_mels=16, n_frames=40, clip_duration_s=2.5)
MEMBERS = (BundledMember("crnn", 1.0, 1.0, "crnn.keras", "spectrograms"),)
MANIFEST = BundleManifest("crnn", MEMBERS, 1.0, ("Blues", "Rock"), (40, 16), TRANSFORM, 1, 1.0)


class QuarterBlues:
    """A model whose prediction is always the same."""

    manifest = MANIFEST

    def answer(self, inputs: dict[str, np.ndarray]) -> Answer:
        n_clips = len(inputs["spectrograms"])
        return Answer(np.tile(np.float32([0.25, 0.75]), (n_clips, 1)), np.empty((n_clips, 0), np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A song, a text that is named like one, and a file of another type, in folders."""
    (tmp_path / "b").mkdir()
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    soundfile.write(tmp_path / "b/song.WAV", samples, RATE)
    (tmp_path / "a.mp3").write_bytes(b"text")
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_folder_is_replaced_by_the_audio_files_below_it(folder: Path) -> None:
    (folder / "empty").mkdir()
    other = folder / "notes.txt"
    assert audio_files([other, folder]) == [other, folder / "a.mp3", folder / "b/song.WAV"]
    assert audio_files([folder / "empty"]) == [folder / "empty"]


def test_files_that_are_audio_under_any_name_are_found_and_companions_are_named(folder: Path) -> None:
    song = (folder / "b/song.WAV").read_bytes()
    for name in ("untitled", "track.bin", ".hidden"):
        (folder / name).write_bytes(song)
    (folder / "._a.mp3").write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    found = audio_files([folder])
    assert [file.name for file in found] == ["._a.mp3", ".hidden", "a.mp3", "song.WAV", "track.bin", "untitled"]
    results = dict(predict_files(QuarterBlues(), 0.8, found))
    assert "AppleDouble" in str(results[folder / "._a.mp3"])
    assert results[folder / "untitled"]["genre"] == "Rock"


def test_each_file_has_its_prediction_or_the_reason_why_there_is_none(folder: Path) -> None:
    files = [*audio_files([folder]), folder / "none.wav"]
    results = dict(predict_files(QuarterBlues(), 0.8, files))
    assert list(results) == files
    torn, song, missing = results.values()
    assert (str(torn).split(":")[0], str(missing)) == ("undecodable", "missing: no such file")
    assert song == {
        "genre": "Rock",
        "confidence": 0.75,
        "confident": False,
        "probabilities": {"Blues": 0.25, "Rock": 0.75},
        "duration_seconds": 2.0,
    }


def test_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio files in this folder") as error:
        load_clips(tmp_path, MANIFEST)
    assert error.value.reason == IssueReason.MISSING
