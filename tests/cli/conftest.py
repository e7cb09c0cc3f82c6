"""Commands run by their real entry: in this process, where TensorFlow starts once, or in a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from music_genre.cli.main import app
from onnx_project import register_onnx_champion


@dataclass(frozen=True)
class Finished:
    """A command that has run.

    Args:
        code: its exit code.
        out: what it printed on stdout.
        err: what it printed on stderr.
    """

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def reason(self) -> str:
        """The one line of reason of a command that failed and printed nothing else."""
        assert self.code == 1, self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("music-genre: ")
        return self.err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Runs ``music-genre <arguments>`` in the working directory."""

    def run(*arguments: object) -> Finished:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for this process
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return Finished(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def in_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registered checkout, to be read only, as the working directory."""
    monkeypatch.chdir(checkout)
    return checkout


@pytest.fixture(scope="package")
def clone(tmp_path_factory: pytest.TempPathFactory, describe_project: Callable[[Path], None]) -> Path:
    """A fresh clone: no stage has run in it."""
    folder = tmp_path_factory.mktemp("clone")
    describe_project(folder)
    return folder


@pytest.fixture
def in_clone(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone as the working directory."""
    monkeypatch.chdir(clone)
    return clone


@pytest.fixture(scope="package")
def song_wav(tmp_path_factory: pytest.TempPathFactory, synth_tone: Callable[..., np.ndarray]) -> Path:
    """9 s: a tone of Rock, then one of Folk."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, np.concatenate([synth_tone("Rock", 50, 4.5), synth_tone("Folk", 51, 4.5)]), 22_050)
    return path


@pytest.fixture(scope="package")
def onnx_project(tmp_path_factory: pytest.TempPathFactory, describe_project: Callable[[Path], None]) -> Path:
    """A project whose champion, of random weights, needs ONNX Runtime alone; to be read only."""
    folder = tmp_path_factory.mktemp("onnx")
    describe_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        register_onnx_champion(folder)
    return folder


@pytest.fixture
def in_onnx_project(onnx_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a project as the working directory."""
    monkeypatch.chdir(onnx_project)
    return onnx_project
