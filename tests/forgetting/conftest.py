"""A small collection of a folder of songs and of recordings that the service kept, as its first stages leave it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.datasets.listing import ListedFile, write_listing
from music_genre.paths import ProjectPaths

STAGES = """
from music_genre.pipeline import fetch, inspect, scan, spectrograms, split
for stage in (scan, fetch, inspect, split, spectrograms):
    stage.main()
"""


@pytest.fixture(scope="session")
def collected(
    shared_dir: Callable[[str, Callable[[Path], None]], Path], write_params: Callable[[Path, dict[str, Any]], None]
) -> Path:
    """Four songs a genre and a copy of one; request ``r1`` became a track, ``r2`` waits. To be read only."""

    def fill(folder: Path) -> None:
        sources = {"source": "folder", "min_duration_s": 1, "folder": {"path": ["music", "log/audio"]}}
        spectrogram = {"n_mels": 32, "n_frames": 40, "clip_duration_s": 3}
        models = {"encoders": {"musicnn": ...}, "models": {"transfer": ...}}
        write_params(folder, {"data": sources, "spectrogram": spectrogram, **models})
        (folder / "dvc.yaml").touch()
        (folder / "settings.toml").write_text('request_log = "log"\n', encoding="utf-8")
        (folder / "data").mkdir()
        names = [f"music/{genre}/{number}.wav" for genre in ("Hiss", "Hum") for number in range(4)]
        for seed, name in enumerate((*names, "log/audio/Hum/r1.wav", "log/pending/r2.wav")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, np.random.default_rng(seed).normal(0, 0.1, 2 * 22_050), 22_050)
        shutil.copy(folder / "music/Hum/0.wav", folder / "music/Hum/copy.wav")
        lines = [json.dumps({"request_id": request_id, "genre": "Hum"}) for request_id in ("r1", "r2", "r3")]
        (folder / "log/requests-0.jsonl").write_text("\n".join([*lines, "torn"]) + "\n", encoding="utf-8")
        (folder / "log/feedback-0.jsonl.1").write_text(lines[0] + "\n", encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", STAGES], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return shared_dir("collected", fill)


@pytest.fixture
def project(collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    """A copy to change; the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(collected, folder)
    listing = pd.read_parquet(folder / "data/listing.parquet")
    listing["path"] = listing["path"].str.replace(str(collected), str(folder), regex=False)  # else it names originals
    write_listing(folder / "data/listing.parquet", [ListedFile(**row) for row in listing.to_dict("records")], {})
    monkeypatch.chdir(folder)
    return ProjectPaths(folder)
