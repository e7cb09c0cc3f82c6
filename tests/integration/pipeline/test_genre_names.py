"""Genres whose names look like nothing, like numbers or like formulas, from the first stage to the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.evaluation.results import read_result
from music_genre.files import read_csv

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

GENRES = ("1", "NA", "None", "A$AP $x$", "_音乐")
RATE = 22_050


@pytest.fixture
def project(
    tmp_path: Path,
    run: Callable[..., str],
    copy_code: Callable[[Path], None],
    write_params: Callable[[Path, dict[str, Any]], None],
) -> Path:
    rng = np.random.default_rng(0)
    for position, genre in enumerate(GENRES):
        for number in range(10):
            path = tmp_path / f"music/{genre}/{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = np.sin(2 * np.pi * 300 * 2**position * np.arange(4 * RATE) / RATE)
            soundfile.write(path, 0.2 * tone * rng.uniform(0.5, 1) + rng.normal(0, 0.01, 4 * RATE), RATE)
    folder = tmp_path / "project"
    copy_code(folder)
    published = {"epochs": 2, "batch_size": 4}
    write_params(
        folder,
        {
            "data": {"source": "folder", "min_duration_s": 1, "folder": {"path": str(tmp_path / "music")}},
            "split": {"validation_fraction": 0.2, "test_fraction": 0.2},
            "spectrogram": {"n_mels": 32, "n_frames": 64, "clip_duration_s": 5},
            "models": {
                "crnn": {"recipe": "published", "published": published},
                "parallel": {"improved": published},
            },
        },
    )
    run(folder, "dvc", "init", "--no-scm", "-q")
    return folder


def test_names_that_look_like_nothing_are_text_in_every_table(project: Path, run: Callable[..., str]) -> None:
    run(project, "dvc", "repro")
    for name in ("tracks", "splits"):
        assert set(pd.read_parquet(project / f"data/{name}.parquet")["genre"]) == set(GENRES)
    assert set(pd.read_parquet(project / "data/spectrograms/index.parquet")["genre"]) == set(GENRES)
    assert read_csv(project / "reports/splits.csv")["genre"].tolist() == sorted(GENRES)
    for model in ("baseline", "crnn", "parallel", "ensemble"):
        result = read_result(project / "reports/evaluation", model)
        assert set(result.per_class["genre"]) == set(GENRES)
        assert set(result.predictions["actual"]) == set(GENRES)
        assert set(result.predictions["predicted"]) <= set(GENRES)
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert all(f"<td>{genre}</td>" in page for genre in GENRES)
