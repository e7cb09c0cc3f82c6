"""What several stages read beside their stores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from music_genre.files import read_csv
from music_genre.models.registry import ENSEMBLE
from music_genre.params import Params
from music_genre.paths import ProjectPaths


def local_recordings(project: ProjectPaths) -> dict[int, Path]:
    """The recordings of the collection by track id, as far as they are on this machine."""
    tracks = pd.read_parquet(project.tracks)
    if tracks["duration_s"].isna().all():  # ready spectrograms
        return {}
    files = {int(row.track_id): project.audio / row.path for row in tracks.itertuples()}
    return {track_id: file for track_id, file in files.items() if file.is_file()}


def read_encoder_tags(project: ProjectPaths, params: Params, name: str) -> pd.DataFrame | None:
    """What the encoder of a model, or of a member of the ensemble, says about each genre; None without an encoder."""
    members = params.ensemble.members if name == ENSEMBLE else (name,)
    files = [project.encoder_tags(member) for member in members]
    tables = [read_csv(file) for file in files if file.is_file()]
    return tables[0] if tables and len(tables[0]) else None
