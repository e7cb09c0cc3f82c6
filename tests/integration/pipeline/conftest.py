"""What the tests of the pipeline share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
STORE_VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME")  # would send a test's runs to another store
SHORT = {"spectrogram": {"n_frames": 40, "clip_duration_s": 3}}
TINY = {
    "data": {"min_duration_s": 3, "sample": {"tracks_per_genre": 4, "duration_s": 4}},
    "spectrogram": {"n_mels": 32, "n_frames": 64, "clip_duration_s": 5},
    "models": {
        "crnn": {"recipe": "published", "published": {"epochs": 2}},
        "parallel": {"improved": {"epochs": 2}},
    },
    "registry": {"gate": {"min_macro_f1": 0.0, "min_class_recall": 0.0, "max_ece": 1.0}},
}


@pytest.fixture(scope="session")
def describe_short_clips(write_params: Callable[[Path, dict[str, Any]], None]) -> Callable[..., None]:
    """Writes ``dvc.yaml`` and the params of a collection of clips of two seconds; keywords are of section ``data``."""

    def write(project: Path, /, **data: Any) -> None:
        shutil.copy(ROOT / "dvc.yaml", project)
        write_params(project, SHORT | {"data": {"min_duration_s": 1, **data}})

    return write


@pytest.fixture(scope="session")
def copy_code() -> Callable[[Path], None]:
    """Makes a folder a checkout: the code, the stages, and what people write beside the data."""

    def copy(folder: Path) -> None:
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".gitignore", "dvc.yaml", "data/corrections.csv", "data/split_ledger.csv"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)

    return copy


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a command of the environment in a folder and returns what it printed; keywords are variables."""

    def run_in(folder: Path, *command: str, ok: bool = True, **variables: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in STORE_VARIABLES}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) == ok, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    return run_in


@pytest.fixture(scope="session")
def reproduced(
    shared_dir: Callable[[str, Callable[[Path], None]], Path],
    run: Callable[..., str],
    write_params: Callable[[Path, dict[str, Any]], None],
) -> Path:
    """A folder with ``checkout``: these very files with tiny params, after their first ``dvc repro``; and with what
    others have of it: its commits in ``published.git``, its data and models in ``storage`` (DVC's remote), its tracking
    store as ``mlflow.db``.
    """

    def commit(folder: Path, message: str) -> None:
        run(folder, "git", "add", "--all")
        run(folder, "git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-qm", message)

    def fill(base: Path) -> None:
        folder = base / "checkout"
        files = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        for name in files:
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        run(folder, "git", "init", "-q", "-b", "main")
        run(folder, "dvc", "remote", "add", "--default", "storage", str(base / "storage"))
        commit(folder, "Before the first run")
        # Run before they are committed: so the model's origin is a commit and a patch.
        write_params(folder, TINY)
        run(folder, "dvc", "repro")
        commit(folder, "After the first run")
        run(folder, "dvc", "push")
        run(base, "git", "clone", "-q", "--bare", "checkout", "published.git")
        shutil.copy(folder / "mlflow.db", base)

    return shared_dir("reproduced", fill)


@pytest.fixture(scope="session")
def kill_stage() -> Callable[[Path, str, Callable[[], object]], None]:
    """Starts a stage in a folder and kills it, with all processes that it started, as soon as a condition holds."""

    def kill(folder: Path, stage: str, condition: Callable[[], object]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", f"music_genre.pipeline.{stage}"],
            cwd=folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not condition():
            time.sleep(0.005)
        assert process.poll() is None, "the stage ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    return kill
