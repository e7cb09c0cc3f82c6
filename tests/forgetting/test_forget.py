"""What is found of a recording, what is removed, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from music_genre.datasets.corrections import read_corrections, write_corrections
from music_genre.errors import MusicGenreError
from music_genre.features.cache import cached_clips
from music_genre.forgetting.forget import ForgetPlan, plan_forgetting
from music_genre.paths import ProjectPaths


def track_id(project: ProjectPaths, name: str) -> int:
    tracks = pd.read_parquet(project.tracks).set_index("path")
    return int(tracks.loc[f"folder/{name}", "track_id"])


def forget(project: ProjectPaths, what: object) -> ForgetPlan:
    plan = plan_forgetting(project, str(what))
    assert plan.carry_out() == []
    return plan


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "what", ["music/Hum/0.wav", "music/Hum/copy.wav", "folder/music/Hum/0.wav", "data/audio/folder/music/Hum/copy.wav"]
)
def test_recording_is_known_by_any_of_its_files(project: ProjectPaths, what: str) -> None:
    plan = plan_forgetting(project, what)
    assert plan.recording.track_id == track_id(project, "music/Hum/0.wav")
    assert plan.recording.names == ("folder/music/Hum/0.wav", "folder/music/Hum/copy.wav")
    assert plan_forgetting(project, str(plan.recording.track_id)).recording.names == plan.recording.names


def test_all_copies_go_and_nothing_else(project: ProjectPaths) -> None:
    before, number = files(project.root), track_id(project, "music/Hum/0.wav")
    plan = forget(project, number)
    gone = before - files(project.root)
    audio = {
        f"{folder}/Hum/{name}" for folder in ("music", "data/audio/folder/music") for name in ("0.wav", "copy.wav")
    }
    assert {name for name in gone if name.endswith(".wav")} == audio
    for table in (project.tracks, project.splits):
        assert number not in pd.read_parquet(table)["track_id"].tolist()
        assert len(pd.read_parquet(table)) == 8
    assert "music/Hum/0.wav" not in (project.audio / "manifest.csv").read_text(encoding="utf-8")
    assert str(number) not in project.split_ledger.read_text(encoding="utf-8")
    assert not project.spectrograms.exists()
    clips = cached_clips(project.cache / "spectrograms")
    assert len(clips) == 8  # of the others, which need not be decoded again
    assert not any(key.startswith(str(plan.recording.audio_sha256)) for key in clips)
    assert len(read_corrections(project.corrections)) == 0
    assert plan_forgetting(project, str(number)).holders == []


def test_copy_that_was_made_after_the_last_run_goes_too(project: ProjectPaths) -> None:
    shutil.copy("music/Hum/1.wav", "music/Hiss/later.wav")
    forget(project, "music/Hum/1.wav")
    assert not Path("music/Hiss/later.wav").exists()


def test_other_recording_under_the_same_name_is_left_alone(project: ProjectPaths) -> None:
    number = track_id(project, "music/Hum/1.wav")
    soundfile.write("music/Hum/1.wav", np.random.default_rng(99).normal(0, 0.1, 2 * 22_050), 22_050)
    plan = forget(project, number)
    assert Path("music/Hum/1.wav").is_file()
    assert any("1.wav was left alone" in text for text in plan.remaining)
    assert read_corrections(project.corrections).values.tolist() == [[number, "drop", "forgotten"]]


def test_link_goes_and_its_target_is_named(project: ProjectPaths, tmp_path: Path) -> None:
    target = project.root / "music/Hum/deep/target.wav"
    target.parent.mkdir()
    Path("music/Hum/1.wav").rename(target)
    Path("music/Hum/1.wav").symlink_to(target)
    os.link("music/Hum/2.wav", tmp_path / "link.wav")
    plan = forget(project, "music/Hum/1.wav")
    assert not Path("music/Hum/1.wav").is_symlink()
    assert any(str(target) in text for text in plan.remaining)
    assert any("hard link" in text for text in forget(project, "music/Hum/2.wav").remaining)
    assert (tmp_path / "link.wav").is_file()


def test_file_that_cannot_be_deleted_is_named_and_kept_out_of_the_next_run(
    project: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, unlink = track_id(project, "music/Hum/1.wav"), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.absolute() == project.root / "music/Hum/1.wav":  # whoever runs this may delete everything
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    failures = plan_forgetting(project, str(number)).carry_out()
    assert len(failures) == 1
    assert "Permission denied" in failures[0]
    assert read_corrections(project.corrections).values.tolist() == [[number, "drop", "forgotten"]]
    monkeypatch.undo()
    os.chdir(project.root)
    forget(project, number)
    assert not Path("music/Hum/1.wav").exists()


def test_correction_of_a_label_goes_with_its_track(project: ProjectPaths) -> None:
    number, other = (track_id(project, f"music/Hum/{name}.wav") for name in (1, 2))
    write_corrections(project.corrections, [(number, "Hiss", "heard"), (other, "Hiss", "heard")])
    forget(project, number)
    assert read_corrections(project.corrections)["track_id"].tolist() == [other]


def test_request_takes_the_track_with_it_that_it_became(project: ProjectPaths) -> None:
    number = track_id(project, "audio/Hum/r1.wav")
    plan = forget(project, "r1")
    assert (plan.recording.track_id, plan.recording.request_ids) == (number, ("r1",))
    assert not any("r1" in name for name in files(project.root))
    assert "r1" not in "".join(path.read_text("utf-8") for path in Path("log").glob("*.jsonl*"))
    assert any("server that runs" in text for text in plan.remaining)
    assert forget(project, "r1").holders == []


def test_track_takes_the_request_with_it_that_brought_it(project: ProjectPaths) -> None:
    forget(project, track_id(project, "audio/Hum/r1.wav"))
    lines = Path("log/requests-0.jsonl").read_text("utf-8").splitlines()[:-1]
    assert [json.loads(line)["request_id"] for line in lines if line.strip()] == ["r2", "r3"]


def test_request_that_became_no_track_leaves_the_collection_alone(project: ProjectPaths) -> None:
    before = files(project.root)
    forget(project, "r2")
    assert before - files(project.root) == {"log/pending/r2.wav"}


@pytest.mark.parametrize("what", ["nothing", "music/Hum/9.wav", "../../etc/passwd", "*", "music", "r"])
def test_what_is_not_known_is_one_line(project: ProjectPaths, what: str) -> None:
    before = files(project.root)
    with pytest.raises(MusicGenreError, match="found no track with this id"):
        plan_forgetting(project, what)
    assert files(project.root) == before


def test_number_of_no_track_finds_nothing_and_writes_nothing(project: ProjectPaths) -> None:
    before = files(project.root)
    assert forget(project, 123).holders == []
    assert files(project.root) == before


def test_sources_that_are_not_here_are_named(project: ProjectPaths) -> None:
    number = track_id(project, "music/Hum/1.wav")
    shutil.move("music", "elsewhere")
    plan = forget(project, number)
    assert any("cannot be listed" in text for text in plan.remaining)
    assert read_corrections(project.corrections)["track_id"].tolist() == [number]
    assert not (project.audio / "folder/music/Hum/1.wav").exists()
