"""What several stages read beside their stores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from music_genre.files import read_csv
from music_genre.paths import ProjectPaths


def local_recordings(project: ProjectPaths) -> dict[int, Path]:
    """The recordings of the collection by track id, as far as they are on this machine."""
    tracks = pd.read_parquet(project.tracks)
    if tracks["duration_s"].isna().all():  # ready spectrograms
        return {}
    files = {int(row.track_id): project.audio / row.path for row in tracks.itertuples()}
    return {track_id: file for track_id, file in files.items() if file.is_file()}


def read_encoder_tags(project: ProjectPaths, models: Iterable[str]) -> pd.DataFrame | None:
    """What the encoder of the first of some models that has one says about each genre; None where none tags."""
    files = [project.encoder_tags(name) for name in models]
    tables = [table for table in map(read_csv, filter(Path.is_file, files)) if len(table)]
    return tables[0] if tables else None
