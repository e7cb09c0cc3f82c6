"""The example of docs/adding-a-dataset.md works with nothing else edited."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/adding-a-dataset.md").read_text(encoding="utf-8")
GENRES = ("Hiss", "Hum")
LISTED_PER_GENRE = 12


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project's code with the guide's two additions, and params for clips of two seconds."""
    (code,), (section,) = (re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL) for kind in ("python", "yaml"))
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "src/music_genre", folder / "src/music_genre", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    for name in ("dvc.yaml", "data/corrections.csv"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "src/music_genre/datasets/table.py").write_text(code, encoding="utf-8")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("\nsplit:", f"{section.replace('/music', str(tmp_path / 'music'))}\nsplit:", 1)
    for key, value in {"source": "table", "min_duration_s": 1, "n_frames": 40, "clip_duration_s": 3}.items():
        params = re.sub(rf"(?m)^(  {key}:) *\S+", rf"\1 {value}", params, count=1)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    return folder


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Noises of two seconds that a table lists, with one that does not exist and one outside of the folder."""
    folder, rng, rows = tmp_path / "music", np.random.default_rng(0), []
    for number in range(LISTED_PER_GENRE * len(GENRES)):
        genre = GENRES[number % 2]
        path = folder / f"clips/{number:02d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 2 * 22_050), 22_050)
        rows.append((path.relative_to(folder).as_posix(), genre, f"{genre} artist {number // 4}"))
    soundfile.write(tmp_path / "outside.flac", rng.normal(0, 0.1, 2 * 22_050), 22_050)
    rows += [("clips/none.flac", "Hum", None), ("../outside.flac", "Hum", None)]
    pd.DataFrame(rows, columns=["path", "genre", "artist"]).to_csv(folder / "tracks.csv", index=False)
    return folder


def test_example_of_the_guide_goes_through_dvc_repro(checkout: Path, music: Path) -> None:
    def run(*command: str) -> None:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(checkout / "src"),
            "DVC_NO_ANALYTICS": "1",
        }
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    run("dvc", "init", "--no-scm", "--quiet")
    run("dvc", "repro", "validate")
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet")
    assert index["genre"].value_counts().to_dict() == dict.fromkeys(GENRES, LISTED_PER_GENRE)
    faults = pd.read_csv(checkout / "data/faults.csv")
    assert faults[["path", "severity", "reason"]].sort_values("path").to_numpy().tolist() == [
        ["table/../outside.flac", "dropped", "missing"],
        ["table/clips/none.flac", "dropped", "missing"],
    ]
    copied = {path.name for path in (checkout / "data/audio").rglob("*.*")}
    assert copied == {"manifest.csv", "tracks.csv", *(path.name for path in (music / "clips").iterdir())}
    artists = pd.read_parquet(checkout / "data/splits.parquet").groupby("artist_id")["split"].nunique()
    assert artists.eq(1).all()
