"""``music-genre forget`` asks before it removes, answers what still holds the recording, and can be called again."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from music_genre.cli.main import app
from music_genre.paths import ProjectPaths

SONG = Path("music/Hum/1.wav")
COMMAND = [sys.executable, "-m", "music_genre.cli", "forget", str(SONG)]


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["forget", *arguments], catch_exceptions=False)


def test_without_a_terminal_it_lists_and_removes_nothing(project: ProjectPaths) -> None:
    refused = command(str(SONG))
    assert refused.exit_code == 1
    assert refused.stderr == "music-genre: nothing was removed: without a terminal to ask on, --yes is needed\n"
    assert "is held by:" in refused.stdout.splitlines()[0]
    assert {f"  {project.root}/{SONG}".replace(f"{project.root}/", ""), "  data/spectrograms"} <= {
        *refused.stdout.splitlines()
    }
    assert SONG.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "removed"), [(b"y\n", True), (b"\n", False)])
def test_it_asks_on_a_terminal(project: ProjectPaths, answer: bytes, removed: bool) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = subprocess.run(COMMAND, stdin=theirs, capture_output=True, text=True)
    os.close(ours)
    os.close(theirs)
    assert "Remove all of this? [y/N]" in done.stdout
    assert (done.returncode == 0, not SONG.exists()) == (removed, removed)
    assert ("nothing was removed" in done.stderr) != removed


def test_answer_says_what_still_holds_it_and_a_second_call_finds_nothing(project: ProjectPaths) -> None:
    tracks = pd.read_parquet(project.tracks).set_index("path")
    track_id = str(tracks.loc[f"folder/{SONG}", "track_id"])
    (project.root / ".git").mkdir()
    done = command(track_id, "--yes")
    assert (done.exit_code, done.stderr) == (0, "")
    after = done.stdout.partition("removed\n")[2].splitlines()
    assert after[0].startswith("Still held by")
    assert [line for line in after if "git: earlier commits" in line or "backups" in line] == after[1:-1]
    assert after[-1] == "`dvc repro` makes everything anew without it."
    again = command(track_id, "--yes")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (0, f"nothing here holds track {track_id}")


def test_unknown_name_is_one_line(project: ProjectPaths) -> None:
    refused = command("nothing", "--yes")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "found no track with this id" in refused.stderr
