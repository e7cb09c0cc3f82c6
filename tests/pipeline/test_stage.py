"""What all stages share."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from music_genre.paths import ProjectPaths
from music_genre.pipeline import fetch, stage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_is_told_in_one_line(checkout: Path, number: int) -> None:
    def work(project: ProjectPaths) -> None:
        raise OSError(number, os.strerror(number), "clip.wav")

    with pytest.raises(SystemExit, match=rf"{os.strerror(number)}: 'clip.wav'; mend that and run again$"):
        stage(work)()


def test_a_mistake_of_the_program_keeps_its_traceback(checkout: Path) -> None:
    def work(project: ProjectPaths) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "nowhere")

    with pytest.raises(FileNotFoundError):
        stage(work)()


def test_the_cache_may_lie_on_another_disk(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(raw: Path, *_: object) -> None:
        (raw / "Rock").mkdir(parents=True)
        (raw / "Rock/song.mp3").write_bytes(b"sound")

    real = os.rename

    def rename(source: str | Path, target: str | Path) -> None:
        if ".cache" in Path(source).parts and ".cache" not in Path(target).parts:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(fetch, "fetch", fill)
    fetch.main()
    assert (checkout / "data/raw/Rock/song.mp3").read_bytes() == b"sound"
    assert not (checkout / ".cache/fetch/raw").exists()


@pytest.mark.parametrize(("said", "found"), [(None, "1"), ("0", "0")])
def test_onednn_is_asked_for_before_tensorflow_is_there_unless_the_environment_says_otherwise(
    checkout: Path, said: str | None, found: str
) -> None:
    variable = "TF_ENABLE_ONEDNN_OPTS"
    code = (
        "import os, sys; from music_genre.pipeline import explain, stage, train;"
        f"stage(lambda _: print('tensorflow' in sys.modules, os.environ[{variable!r}]))()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if name != variable}
        | ({variable: said} if said else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["False", found]
