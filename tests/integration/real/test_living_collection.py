"""A folder of real songs that grows and is corrected; labels of the real FMA-small that look wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from music_genre.datasets.arrays import read_arrays
from music_genre.datasets.fma import load_subset
from music_genre.evaluation.label_quality import find_label_issues, recording_digest
from music_genre.features.mel import to_db
from music_genre.models.baseline import clip_statistics

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("MUSIC_GENRE_REAL_DATA" not in os.environ, reason="MUSIC_GENRE_REAL_DATA is not set"),
]

REAL_DATA = Path(os.environ.get("MUSIC_GENRE_REAL_DATA", ""))
PER_GENRE, N_NEW = 25, 10
STAGES = ("scan", "fetch", "inspect", "split", "spectrograms")
SAME_RECORDING = {57371, 72149}  # the one pair of FMA-small with equal spectrograms and two labels
FLIPPED_FRACTION = 0.05


def songs() -> pd.DataFrame:
    """The faultless music of ``fma_layout``: columns genre, artist, file; ``number`` counts within a genre."""
    tracks = load_subset(REAL_DATA / "fma_layout", "small")
    tracks = tracks[tracks["track_id"] >= 700_000]
    files = [REAL_DATA / "fma_layout" / path for path in tracks["path"]]
    return tracks.assign(file=files, number=tracks.groupby("genre").cumcount())


def put(music: Path, chosen: pd.DataFrame) -> None:
    for row in chosen.itertuples():
        (music / row.genre).mkdir(parents=True, exist_ok=True)
        shutil.copy(row.file, music / row.genre / f"{row.artist} - {row.track_id}.mp3")


def tag(path: Path, **tags: str) -> None:
    """Rewrite a file's tags and keep its packets."""
    tagged = path.with_suffix(".tagged.mp3")
    with av.open(path) as reader, av.open(tagged, "w") as writer:
        source = reader.streams.audio[0]
        stream = writer.add_stream_from_template(source)
        writer.metadata.update(tags)
        for packet in reader.demux(source):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    tagged.replace(path)


def run_stages(folder: Path) -> tuple[dict[str, str], float]:
    """What each stage printed, and the seconds of all."""
    start, printed = time.perf_counter(), {}
    for name in STAGES:
        command = [sys.executable, "-m", f"music_genre.pipeline.{name}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout + done.stderr
    return printed, time.perf_counter() - start


def test_collection_that_changes_keeps_ids_and_splits_and_decodes_new_clips_only(
    tmp_path: Path,
    write_params: Callable[[Path, dict[str, Any]], None],
    record_property: Callable[[str, object], None],
) -> None:
    music, every = tmp_path / "music", songs()
    put(music, every[every["number"] < PER_GENRE])
    (tmp_path / "dvc.yaml").touch()
    folder = {"path": str(music), "artist_pattern": "[^/]*/(.*) - "}
    write_params(tmp_path, {"data": {"source": "folder", "folder": folder}})
    _, first_seconds = run_stages(tmp_path)
    first = pd.read_parquet(tmp_path / "data/splits.parquet").set_index("track_id")
    assert len(first) == 4 * PER_GENRE

    put(music, every[every["number"].between(PER_GENRE, PER_GENRE + 2)].head(N_NEW))
    moved = sorted((music / "Rock").iterdir())[0]
    moved.rename(music / "Pop" / moved.name)
    tag(sorted((music / "Classical").iterdir())[0], title="Another title")
    printed, seconds = run_stages(tmp_path)
    second = pd.read_parquet(tmp_path / "data/splits.parquet").set_index("track_id")
    assert "110 files: 11 new, 1 gone, 1 changed" in printed["scan"]
    assert set(first.index) <= set(second.index)
    assert second.loc[first.index, "split"].equals(first["split"])
    assert (second.loc[first.index, "genre"] != first["genre"]).sum() == 1
    assert len(second) == len(first) + N_NEW
    assert re.search(rf"Inspecting: 100%.* {N_NEW}/{N_NEW} ", printed["inspect"]), printed["inspect"]
    assert "Spectrograms" not in printed["spectrograms"]  # made in the same pass
    record_property("seconds of the first run and of the second", (round(first_seconds, 1), round(seconds, 1)))


def test_wrong_labels_of_fma_small_are_found_far_above_chance(record_property: Callable[[str, object], None]) -> None:
    folder, names = REAL_DATA / "fma_small_mel", ("training", "validation", "test")
    genres = json.loads((folder / "genres.json").read_text(encoding="utf-8"))
    archives = [read_arrays(folder / f"{name}.npz") for name in names]
    mel = [to_db(clip, "db") for archive in archives for clip in archive.mel]
    features = np.concatenate([clip_statistics(np.stack(mel[at : at + 256])) for at in range(0, len(mel), 256)])
    labels = np.concatenate([archive.label for archive in archives if archive.label is not None])
    ids = np.concatenate([archive.track_id for archive in archives if archive.track_id is not None])
    recordings = [recording_digest(clip) for clip in mel]
    tracks = pd.DataFrame({"track_id": ids, "artist_id": pd.array([None] * len(ids), "string")})

    given = tracks.assign(genre=pd.array(np.array(genres)[labels], "string"))
    issues = find_label_issues(features, given, recordings, sorted(genres), seed=7)
    assert set(issues["track_id"][:2]) == SAME_RECORDING
    assert (issues["note"] != "").sum() == 2

    rng, n_flipped = np.random.default_rng(0), round(FLIPPED_FRACTION * len(labels))
    flipped = rng.choice(len(labels), n_flipped, replace=False)
    wrong = labels.copy()
    wrong[flipped] = (wrong[flipped] + rng.integers(1, len(genres), n_flipped)) % len(genres)
    alone = [f"{number}" for number in range(len(labels))]
    given = tracks.assign(genre=pd.array(np.array(genres)[wrong], "string"))
    first = find_label_issues(features, given, alone, sorted(genres), seed=7)["track_id"][:n_flipped]
    precision = float(np.isin(first, ids[flipped]).mean())
    assert precision > 5 * FLIPPED_FRACTION
    record_property("precision among the first 5 %", round(precision, 3))
