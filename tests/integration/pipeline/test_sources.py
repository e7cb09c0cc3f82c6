"""The user's own files: untouched by everything that DVC does, and seen when they change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

Run = Callable[..., str]
GENRES = ("1", "NA", "None")  # names are text, whatever they look like
PER_GENRE = 6


def write_song(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 2 * 22_050).astype(np.float32), 22_050)


@pytest.fixture
def project(
    tmp_path: Path, run: Run, copy_code: Callable[[Path], None], describe_short_clips: Callable[..., None]
) -> Path:
    """A checkout in git whose DVC is set to hard links, with a folder of music beside it."""
    for number in range(PER_GENRE * len(GENRES)):
        write_song(tmp_path / f"music/{GENRES[number % 3]}/{number:02d}.wav", number)
    folder = tmp_path / "project"
    copy_code(folder)
    describe_short_clips(folder, source="folder", folder={"path": str(tmp_path / "music")})
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "config", "cache.type", "hardlink")
    commit(folder, run)
    return folder


def commit(folder: Path, run: Run) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-qm", "State")


def state(music: Path) -> dict[str, Any]:
    """Everything of the user's files that must not change."""
    return {
        str(path.relative_to(music)): (
            *(status.st_mode, status.st_ino, status.st_nlink, status.st_mtime_ns),
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(music.rglob("*"))
        for status in [path.stat()]
    }


def splits(project: Path) -> pd.Series:
    return pd.read_parquet(project / "data/splits.parquet").set_index("track_id")["split"]


def test_users_files_are_untouched_and_their_changes_seen(project: Path, run: Run, tmp_path: Path) -> None:
    music = tmp_path / "music"
    before = state(music)
    assert "18 files: 18 new" in run(project, "dvc", "repro", "spectrograms")
    commit(project, run)
    first = splits(project)
    assert set(pd.read_parquet(project / "data/tracks.parquet")["genre"]) == set(GENRES)
    printed = run(project, "dvc", "repro", "spectrograms")
    assert "18 files: nothing changed" in printed
    assert printed.count("didn't change, skipping") == 5
    assert run(project, "git", "status", "--porcelain") == ""
    run(project, "dvc", "exp", "run", "-S", "seed=8", "split")
    assert splits(project).equals(first)
    run(project, "dvc", "checkout", "--force", "spectrograms", "fetch")
    run(project, "dvc", "gc", "--workspace", "--force")
    assert state(music) == before

    (music / "1/00.wav").rename(music / "None/moved.wav")
    (music / "NA/01.wav").unlink()
    for number in (100, 101):
        write_song(music / f"NA/{number}.wav", number)
    changed = state(music)
    printed = run(project, "dvc", "repro", "spectrograms")
    assert "19 files: 3 new, 2 gone" in printed
    assert "Inspecting: 100%" in printed
    assert "2/2" in printed
    assert "Spectrograms" not in printed  # made in the same pass
    later = splits(project)
    kept = first.index.intersection(later.index)
    assert (len(first), len(kept), len(later)) == (18, 17, 19)
    assert later[kept].equals(first[kept])
    run(project, "dvc", "remove", "fetch", "--outs")
    assert state(music) == changed


@pytest.mark.parametrize("source", ["data/audio", "data", ".", ".."])
def test_source_that_overlaps_the_projects_folders_is_refused(
    project: Path, run: Run, describe_short_clips: Callable[..., None], source: str
) -> None:
    precious = project / "data/audio/Rock/only copy.wav"
    write_song(precious, 0)
    write_song(project / "data/audio/Pop/other.wav", 1)
    describe_short_clips(project, source="folder", folder={"path": source})
    assert "overlaps" in run(project, "dvc", "repro", "--force", ok=False)
    assert precious.is_file()


def test_files_that_lie_in_the_pipelines_copy_are_refused_and_stay(project: Path, run: Run) -> None:
    precious = project / "data/audio/Rock/only copy.wav"
    write_song(precious, 0)
    assert "move them to a folder of yours" in run(project, "dvc", "repro", ok=False)
    assert precious.is_file()


def test_music_in_data_raw_is_left_alone_by_experiments(
    project: Path, run: Run, describe_short_clips: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "music", project / "data/raw")
    describe_short_clips(project, source="folder", folder={"path": "data/raw"})
    before = state(project / "data/raw")
    run(project, "dvc", "exp", "run", "split")
    run(project, "dvc", "exp", "run", "--force", "-S", "seed=8", "split")
    assert state(project / "data/raw") == before


def test_lost_ledger_is_refused_and_an_empty_one_deals_anew(project: Path, run: Run) -> None:
    run(project, "dvc", "repro", "split")
    first, ledger = splits(project), project / "data/split_ledger.csv"
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == 1 + len(first)
    ledger.unlink()
    assert "data/split_ledger.csv` brings it back" in run(project, "dvc", "repro", "split", ok=False)
    ledger.write_text("method,track_id,split\n", encoding="utf-8")
    run(project, "dvc", "repro", "split")
    assert splits(project).index.equals(first.index)


def test_corrections_are_applied_to_what_follows(project: Path, run: Run) -> None:
    run(project, "dvc", "repro", "split")
    tracks = pd.read_parquet(project / "data/tracks.parquet")
    wrong, silly = tracks.loc[tracks["genre"] == "NA", "track_id"].tolist()[:2]
    text = f"track_id,genre,reason\n{wrong},None,by ear\n{silly},drop,speech\n"
    (project / "data/corrections.csv").write_text(text, encoding="utf-8")
    first = splits(project)
    assert "1 genres corrected; 0 corrections of tracks that are not here" in run(project, "dvc", "repro", "split")
    corrected = pd.read_parquet(project / "data/splits.parquet").set_index("track_id")
    assert corrected.loc[wrong, "genre"] == "None"
    assert silly not in corrected.index
    assert corrected["split"].equals(first.drop(silly))
