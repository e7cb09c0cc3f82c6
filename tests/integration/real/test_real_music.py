"""Real recordings in FMA's layout, the real FMA-small as spectrograms; ``MUSIC_GENRE_REAL_DATA`` is their folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from music_genre.audio.decoding import decode
from music_genre.features.store import SpectrogramStore

WriteParams = Callable[[Path, dict[str, Any]], None]
NO_DATA = "MUSIC_GENRE_REAL_DATA is not set"
pytestmark = [pytest.mark.real, pytest.mark.skipif("MUSIC_GENRE_REAL_DATA" not in os.environ, reason=NO_DATA)]

# Reasons by track id.
DROPPED = {
    98565: "short",
    98567: "short",
    98569: "short",
    99134: "empty",
    107535: "silent",
    108925: "undecodable",
    110736: "missing",
    133297: "undecodable",
}


def run_stages_to_validate(folder: Path) -> None:
    for name in ("scan", "fetch", "inspect", "split", "spectrograms", "validate"):
        command = [sys.executable, "-m", f"music_genre.pipeline.{name}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, write_params: WriteParams) -> Path:
    """A project with real recordings, after stage ``validate``."""
    folder, path = tmp_path_factory.mktemp("recordings"), f"{os.environ['MUSIC_GENRE_REAL_DATA']}/fma_layout"
    (folder / "dvc.yaml").touch()
    write_params(folder, {"data": {"source": "fma", "fma": {"path": path}}})
    run_stages_to_validate(folder)
    return folder


def test_every_known_fault_is_in_the_table(recordings: Path) -> None:
    faults = pd.read_csv(recordings / "data/faults.csv").set_index("track_id")
    dropped = faults[faults["severity"] == "dropped"]
    assert dropped["reason"].to_dict() == DROPPED
    warned = faults[faults["severity"] == "warned"]
    assert warned["reason"].to_dict() == {57371: "duplicate", 700_017: "band_limited", 700_117: "band_limited"}


def test_only_genres_with_usable_audio_become_classes(recordings: Path) -> None:
    assert SpectrogramStore.open(recordings / "data/spectrograms").genres == ("Classical", "Electronic", "Pop", "Rock")


def test_official_splits_are_used_and_shared_artists_are_reported(recordings: Path) -> None:
    table = pd.read_csv(recordings / "data/audio/fma/fma_metadata/tracks.csv", index_col=0, header=[0, 1])
    splits = pd.read_parquet(recordings / "data/splits.parquet").set_index("track_id")["split"]
    assert (table.loc[splits.index, ("set", "split")] == splits).all()
    summary = json.loads((recordings / "reports/data_quality/summary.json").read_text(encoding="utf-8"))
    failed = [result for result in summary["suites"]["artists"]["expectations"] if not result["success"]]
    # The samplers of one label have one artist number, in training and in test.
    assert [(result["severity"], result["unexpected_count"]) for result in failed] == [("warning", 1)]


def test_stored_features_equal_librosas(recordings: Path) -> None:
    import librosa

    store = SpectrogramStore.open(recordings / "data/spectrograms")
    paths = pd.read_parquet(recordings / "data/tracks.parquet").set_index("track_id")["path"]
    clips = store.split("validation")
    for position in range(0, len(clips), 5):
        y, sr = librosa.load(recordings / "data/audio" / paths[clips.track_id[position]], sr=22050)
        mel = librosa.feature.melspectrogram(y=y, sr=sr, n_fft=2048, hop_length=1024)
        expected = librosa.power_to_db(mel, ref=np.max).T[:640]
        np.testing.assert_allclose(clips.read(np.array([position]))[0], expected, atol=0.05)


def test_decoded_recording_equals_librosas(recordings: Path) -> None:
    import librosa

    path = next((recordings / "data/audio").rglob("700*.mp3"))
    y, sr = librosa.load(path, sr=None)
    signal = decode(path, 60)
    assert signal.sample_rate_hz == sr
    np.testing.assert_allclose(signal.samples, y, atol=1e-6)


def test_ready_spectrograms_of_fma_small_pass_the_checks(tmp_path: Path, write_params: WriteParams) -> None:
    folder, path = tmp_path, Path(os.environ["MUSIC_GENRE_REAL_DATA"]) / "fma_small_mel"
    (folder / "dvc.yaml").touch()
    write_params(folder, {"data": {"source": "arrays", "arrays": {"path": str(path)}}})
    run_stages_to_validate(folder)
    faults = pd.read_csv(folder / "data/faults.csv")
    assert faults[["track_id", "reason"]].to_numpy().tolist() == [[107535, "silent"]]
    data = SpectrogramStore.open(folder / "data/spectrograms")
    assert data.transform is None
    assert [len(data.split(name)) for name in ("training", "validation", "test")] == [5594, 800, 799]
    with np.load(path / "test.npz") as archive:
        row = int(np.flatnonzero(archive["track_id"] == data.split("test").track_id[9])[0])
        expected = archive["mel"][row] / 255 * 80 - 80
    np.testing.assert_allclose(data.split("test").read(np.array([9]))[0], expected, atol=0.05)
