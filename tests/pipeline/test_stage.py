"""The entry point that all stages share."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_disk_error_is_reported_in_one_line(checkout: Path, number: int) -> None:
    def work(project: ProjectPaths) -> None:
        raise OSError(number, os.strerror(number), "clip.wav")

    with pytest.raises(SystemExit, match=rf"{os.strerror(number)}: 'clip.wav'; fix this and run again$"):
        stage(work)()


def test_unexpected_error_keeps_its_traceback(checkout: Path) -> None:
    def work(project: ProjectPaths) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "nowhere")

    with pytest.raises(FileNotFoundError):
        stage(work)()


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "1"), ("0", "0")])
def test_onednn_is_on_before_tensorflow_is_imported_unless_turned_off(
    checkout: Path, set_by_user: str | None, expected: str
) -> None:
    variable = "TF_ENABLE_ONEDNN_OPTS"
    code = (
        "import os, sys; from music_genre.pipeline import interpret, stage, train;"
        f"stage(lambda _: print('tensorflow' in sys.modules, os.environ[{variable!r}]))()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if name != variable}
        | ({variable: set_by_user} if set_by_user else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", expected]
