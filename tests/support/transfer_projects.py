"""Projects with a model on a pretrained encoder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from music_genre.encoders.description import EncoderConfig
from music_genre.features.store import SpectrogramStore

ROOT = Path(__file__).parents[2]
ENCODER = EncoderConfig(
    name="test",
    sample_rate_hz=1000,
    window_length=300,
    hop_length=200,
    dimension=6,
    level_dbfs=None,
    license="none",
    trained_on="nothing",
    source="here",
    sha256="0" * 64,
)


def add_transfer(project: Path) -> None:
    """Give a project the model and its encoder, as the committed params.yaml has them."""
    own, committed = (yaml.safe_load((folder / "params.yaml").read_text("utf-8")) for folder in (project, ROOT))
    own["encoders"] = committed["encoders"]
    own["models"]["transfer"] = committed["models"]["transfer"]
    (project / "params.yaml").write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")


def run_python(project: Path, *arguments: object) -> str:
    """What ``python <arguments>`` prints in a project; the store of a test before, whose address MLflow keeps in this
    process's environment, is not used.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    call = [sys.executable, *map(str, arguments)]
    done = subprocess.run(call, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_stages(project: Path, *stages: str) -> None:
    """Run stages, each as ``dvc repro`` does: ``train transfer``."""
    for stage in stages:
        run_python(project, "-m", *f"music_genre.pipeline.{stage}".split())


def held_out_recordings(project: Path, data: SpectrogramStore) -> list[Path]:
    """Of the test clips, in order."""
    paths = pd.read_parquet(project / "data/tracks.parquet").set_index("track_id")["path"]
    return [project / "data/audio" / paths[track_id] for track_id in data.split("test").track_id]
