"""``music-genre forget`` between two runs of ``dvc repro``: nothing of the recording is left but what it names."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from dvc.utils.serialize import modify_yaml

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

Run = Callable[..., str]
STAGES = ("validate", "label_quality")
# The command, which ends itself without notice before it takes the recording out of the n-th thing.
KILLED = """
import os, signal, sys
from pathlib import Path
from music_genre.forgetting.forget import plan_forgetting
from music_genre.forgetting.holders import Holder
from music_genre.paths import ProjectPaths
plan = plan_forgetting(ProjectPaths(Path.cwd()), sys.argv[1])
plan.holders.insert(int(sys.argv[2]), Holder("", lambda: os.kill(os.getpid(), signal.SIGKILL)))
plan.carry_out()
"""


class Traces:
    """What a recording looks like wherever it is.

    Args:
        folder: of a project that has it.
        path: of its file, below ``music``.
    """

    def __init__(self, folder: Path, path: str) -> None:
        tracks = pd.read_parquet(folder / "data/tracks.parquet").set_index("path")
        index = pd.read_parquet(folder / "data/spectrograms/index.parquet").set_index("track_id")
        self.track_id = int(tracks.loc[f"folder/music/{path}", "track_id"])
        shard, row = index.loc[self.track_id, ["shard", "row"]]
        mel = np.load(folder / "data/spectrograms" / shard)[row]
        self.bytes = {
            "audio": (folder / "music" / path).read_bytes()[5000:5200],
            "features": mel[8:12].tobytes(),
            "id": str(self.track_id).encode(),
            "id as int64": np.int64(self.track_id).tobytes(),
        }

    def found(self, folder: Path) -> dict[str, list[str]]:
        """The files below a folder that hold something of it, and what."""
        found: dict[str, list[str]] = {}
        for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
            content = path.read_bytes()
            kinds = [kind for kind, value in self.bytes.items() if value in content]
            if content.startswith(b"PAR1"):
                table = pd.read_parquet(io.BytesIO(content))
                kinds += ["row"] * ("track_id" in table and self.track_id in table["track_id"].to_numpy())
            if kinds:
                found[str(path.relative_to(folder))] = kinds
        return found


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    copy_code: Callable[[Path], None],
    describe_short_clips: Callable[..., None],
    run: Run,
) -> Path:
    """Sixteen short songs and a copy of one, after two runs: the second has songs more than the first."""
    folder, rng = tmp_path_factory.mktemp("forgetting") / "project", np.random.default_rng(0)
    copy_code(folder)
    (folder / "data/split_ledger.csv").write_text("method,track_id,split\n", encoding="utf-8")
    describe_short_clips(folder, source="folder", folder={"path": "music"})
    with modify_yaml(folder / "params.yaml") as params:
        params["encoders"].clear()
        del params["models"]["transfer"]
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    for numbers in (range(6), range(6, 8)):
        for number in numbers:
            for genre in ("Hiss", "Hum"):
                path = folder / f"music/{genre}/{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, rng.normal(0, 0.1, 2 * 22_050), 22_050)
        shutil.copy(folder / "music/Hum/1.wav", folder / "music/Hum/copy.wav")
        run(folder, "dvc", "repro", *STAGES)
    return folder


def copy_project(project: Path, folder: Path) -> Path:
    shutil.copytree(project, folder, symlinks=True)
    return folder


def test_forgotten_recording_leaves_no_trace_and_does_not_return(project: Path, tmp_path: Path, run: Run) -> None:
    folder, traces = copy_project(project, tmp_path / "project"), Traces(project, "Hum/1.wav")
    before = traces.found(folder)
    assert {kind for kinds in before.values() for kind in kinds} == {*traces.bytes, "row"}
    assert sum(name.startswith(".dvc/cache") and "features" in kinds for name, kinds in before.items()) == 2
    printed = run(folder, "music-genre", "forget", "music/Hum/copy.wav", "--yes")
    assert f"track {traces.track_id} is held by" in printed
    assert "dvc gc --workspace" in printed
    # Of the first run's tables DVC's cache is said to hold rows.
    assert {name.rpartition("/")[0][:-2] for name in traces.found(folder)} <= {".dvc/cache/files/md5/"}
    assert not any({"audio", "features"} & {*kinds} for kinds in traces.found(folder).values())
    assert f"nothing here holds track {traces.track_id}" in run(
        folder, "music-genre", "forget", str(traces.track_id), "--yes"
    )
    run(folder, "dvc", "repro", *STAGES)
    assert len(pd.read_parquet(folder / "data/spectrograms/index.parquet")) == 15
    assert len(list((folder / "music").rglob("*.wav"))) == len(list((folder / "data/audio").rglob("*.wav"))) == 15
    run(folder, "dvc", "gc", "--workspace", "--force")
    assert traces.found(folder) == {}
    assert (folder / "data/corrections.csv").read_text(encoding="utf-8") == "track_id,genre,reason\n"


def test_other_recordings_are_kept_in_every_revision(project: Path, tmp_path: Path, run: Run) -> None:
    folder, kept = copy_project(project, tmp_path / "project"), Traces(project, "Hiss/7.wav")
    run(folder, "music-genre", "forget", str(Traces(project, "Hum/1.wav").track_id), "--yes")
    assert (folder / "music/Hiss/7.wav").is_file()
    held = {name for name, kinds in kept.found(folder).items() if {"audio", "features"} & {*kinds}}
    assert "data/audio/folder/music/Hiss/7.wav" in held
    assert any(name.startswith(".cache/spectrograms/new-") for name in held), held  # not to be decoded again
    assert "Inspecting" not in run(folder, "dvc", "repro", *STAGES)


@pytest.mark.parametrize("fraction", [0.3, 0.7, 1.0])
def test_killed_command_goes_on_when_it_is_run_again(project: Path, tmp_path: Path, run: Run, fraction: float) -> None:
    folder, traces = copy_project(project, tmp_path / "project"), Traces(project, "Hum/1.wav")
    listed = run(folder, "music-genre", "forget", str(traces.track_id), ok=False)
    n_holders = sum(line.startswith("  ") for line in listed.splitlines())
    assert traces.found(folder) == traces.found(project)
    command = [sys.executable, "-c", KILLED, str(traces.track_id), str(int(fraction * n_holders))]
    killed = subprocess.run(command, cwd=folder, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    run(folder, "music-genre", "forget", str(traces.track_id), "--yes")
    undisturbed = copy_project(project, tmp_path / "undisturbed")
    run(undisturbed, "music-genre", "forget", str(traces.track_id), "--yes")
    assert traces.found(folder) == traces.found(undisturbed)
    assert list((folder / ".cache/forget").glob("*.json")) == []
    assert not any("Hum/1.wav" in str(path) for path in folder.rglob("*"))


def test_recording_that_its_source_brings_again_stays_out(
    tmp_path: Path, copy_code: Callable[[Path], None], describe_short_clips: Callable[..., None], run: Run
) -> None:
    copy_code(tmp_path)
    describe_short_clips(tmp_path, source="sample", sample={"tracks_per_genre": 3, "duration_s": 2})
    run(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    run(tmp_path, "dvc", "repro", "spectrograms")
    tracks = pd.read_parquet(tmp_path / "data/tracks.parquet")
    track_id, path = tracks.loc[0, ["track_id", "path"]]
    assert "the source sample" in run(tmp_path, "music-genre", "forget", str(track_id), "--yes")
    assert f"{track_id},drop,forgotten" in (tmp_path / "data/corrections.csv").read_text(encoding="utf-8")
    run(tmp_path, "dvc", "repro", "spectrograms")
    again: Any = pd.read_parquet(tmp_path / "data/tracks.parquet")
    assert len(again) == len(tracks) - 1
    assert not (tmp_path / "data/audio" / path).exists()
    assert "nothing here holds" in run(tmp_path, "music-genre", "forget", str(track_id), "--yes")
