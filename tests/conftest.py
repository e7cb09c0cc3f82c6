"""One tiny, complete checkout for every test to read: tones under three genres, all stages down to the registry."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import yaml
from filelock import FileLock

gc.set_threshold(50_000)  # as a stage does, whose work these processes do

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME")
"""What would send a test's runs into another store, or tell it that it is an experiment."""

EVERY_STAGE = """
import sys
from music_genre.pipeline import (
    calibrate, compare, evaluate, fetch, gate, inspect, spectrograms, split, train, validate
)

for stage in (fetch, inspect, split, spectrograms, validate):
    stage.main()
for name in ("baseline", "crnn", "parallel"):
    sys.argv[1:] = [name]
    train.main()
    evaluate.main()
calibrate.main()
compare.main()
gate.main()
"""
"""What ``dvc repro`` does before it registers, in one process: most of a stage's time is spent on its imports."""

PITCH_HZ = {"Folk": 200.0, "R&B": 900.0, "Rock": 3600.0}
"""Every genre is a tone of its own and its octave. One name cannot be part of a metric's name in MLflow."""

TRACKS_PER_GENRE, CLIP_SECONDS = 10, 3.8

LONGEST_FIRST = (
    "integration/pipeline/test_repro.py",
    "integration/service/",
    "training/test_trainer.py",
    "integration/pipeline/test_interruptions.py",
    "integration/pipeline/test_spectrograms.py",
    "cli/test_cli.py",
    "integration/pipeline/test_clones.py",
)
"""Where several processes test, what takes long begins early: else one of them would end alone."""
DATA_DIGEST = "5d41402abc4b2a76b9719d911017c592.dir"
PARAMS: dict[str, Any] = {
    "data": {"source": "folder", "min_duration_s": 1, "folder": {"path": "music", "artist_pattern": None}},
    "split": {"validation_fraction": 0.2, "test_fraction": 0.2},
    "spectrogram": {
        "sample_rate_hz": 22050,
        "n_fft": 2048,
        "hop_length": 1024,
        "n_mels": 32,
        "n_frames": 64,
        "clip_duration_s": 4,
    },
    "models": {
        "crnn": {"recipe": "published", "published": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01}},
        "parallel": {
            "recipe": "published",
            "published": {
                "epochs": 2,
                "batch_size": 4,
                "learning_rate": 0.01,
                "pools": [[2, 2], [2, 2], [2, 2], [1, 2], [1, 2]],
                "reset_after": True,
            },
        },
    },
    # A model that always predicts the same genre has 0.167: this gate lets through whatever was trained.
    "registry": {"gate": {"min_macro_f1": 0.1, "min_class_recall": 0.0, "max_ece": 1.0, "max_latency_ms": 10_000}},
}


@pytest.fixture(scope="session", autouse=True)
def no_telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No reports of usage, no workers of MLflow's that nobody asks, and a BentoML home of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))
        patch.setenv("BENTOML_DO_NOT_TRACK", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        patch.setenv("GX_ANALYTICS_ENABLED", "false")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        yield


@pytest.fixture(autouse=True)
def isolated_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without a store of the caller's, or of the test before: MLflow sets its variable itself."""
    for name in ELSEWHERE:
        monkeypatch.delenv(name, raising=False)


def start_python(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """``python <arguments>`` in a folder, without the caller's store."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in ELSEWHERE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def start_module() -> Callable[..., subprocess.Popen[str]]:
    """Starts ``python -m <module> <arguments>`` in a folder, as DVC and people do."""
    return lambda folder, module, *arguments: start_python(folder, "-m", module, *arguments)


@pytest.fixture(scope="session")
def synth_tone() -> Callable[..., np.ndarray]:
    """A genre's sound, (samples, channels) float32: its pitch, the octave above, a swell, some hiss."""

    def make(genre: str, number: int, seconds: float, rate: int = 22_050, channels: int = 1) -> np.ndarray:
        random = np.random.default_rng([number, *genre.encode()])
        time = np.arange(int(seconds * rate)) / rate
        pitch = PITCH_HZ[genre] * random.uniform(0.95, 1.05)
        sound = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.1 * np.sin(4 * np.pi * pitch * time)
        sound *= 1 + 0.4 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time)
        return (sound[:, None] + random.normal(0, 0.005, (len(time), channels))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_params() -> Callable[[Path, dict[str, Any]], None]:
    """Writes the committed ``params.yaml`` with some values changed into a folder."""

    def write(folder: Path, changes: dict[str, Any]) -> None:
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        (folder / "params.yaml").write_text(yaml.safe_dump(_merged(params, changes), sort_keys=False), encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def describe_project(write_params: Callable[[Path, dict[str, Any]], None]) -> Callable[[Path], None]:
    """Writes ``params.yaml``, ``dvc.yaml`` and what ``dvc.lock`` says about the spectrograms."""

    def write(folder: Path) -> None:
        write_params(folder, PARAMS)
        (folder / "dvc.yaml").touch()
        outs = {"outs": [{"path": "data/spectrograms", "md5": DATA_DIGEST}]}
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"spectrograms": outs}}), encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder that one process fills and all others of these tests find: much takes long to make and is only read."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                made.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def trained_checkout(
    shared_dir: Callable[[str, Callable[[Path], None]], Path],
    synth_tone: Callable[..., np.ndarray],
    describe_project: Callable[[Path], None],
) -> Path:
    """A checkout with everything but its registration, by the commands of ``dvc repro``."""

    def fill(folder: Path) -> None:
        describe_project(folder)
        for genre in PITCH_HZ:
            (folder / "music" / genre).mkdir(parents=True)
            for number in range(TRACKS_PER_GENRE):
                suffix, rate, channels = ("mp3", 44_100, 2) if number % 2 else ("wav", 22_050, 1)
                clip = synth_tone(genre, number, CLIP_SECONDS, rate, channels)
                soundfile.write(folder / f"music/{genre}/{number}.{suffix}", clip, rate)
        finish(start_python(folder, "-c", EVERY_STAGE))

    return shared_dir("checkout", fill)


@pytest.fixture(scope="session")
def recovered_checkout(
    trained_checkout: Path,
    shared_dir: Callable[[str, Callable[[Path], None]], Path],
    start_module: Callable[..., subprocess.Popen[str]],
) -> Path:
    """A checkout whose store was lost, after ``music-genre register``, whose screen is in ``register.txt``; meanwhile
    the stage itself registers ``trained_checkout``.
    """

    def fill(folder: Path) -> None:
        lost = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "runs", "music", "raw", ".cache")
        shutil.copytree(trained_checkout, folder, ignore=lost, dirs_exist_ok=True)
        healing = start_module(folder, "music_genre.cli", "register")
        registering = start_module(trained_checkout, "music_genre.pipeline.register")
        (folder / "register.txt").write_text(finish(healing), encoding="utf-8")
        finish(registering)

    return shared_dir("recovered_checkout", fill)


@pytest.fixture(scope="session")
def checkout(trained_checkout: Path, recovered_checkout: Path) -> Path:
    """A checkout as ``dvc repro`` leaves it. To be read only: ``writable_checkout`` is for changes."""
    return trained_checkout


@pytest.fixture
def writable_checkout(recovered_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``recovered_checkout`` with its own runs and registry, and the working directory; artifacts stay where they lie."""
    folder = tmp_path / "writable_checkout"
    shutil.copytree(recovered_checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def start_server() -> Callable[..., subprocess.Popen[bytes]]:
    """Starts ``bentoml serve`` in a folder, in a process group of its own. Each has a BentoML home of its own, too:
    servers of one home empty each other's metrics when they start.
    """

    def start(folder: Path, port: int, log: Path, **more: str) -> subprocess.Popen[bytes]:
        service = ("music_genre.service.app:MusicGenre", "--host", "127.0.0.1", "--port", str(port))
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        kept["BENTOML_HOME"] = str(log.with_suffix(".home"))
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "bentoml", "serve", *service],
                cwd=folder,
                env=kept | more,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start


@pytest.fixture(scope="session")
def stop_server() -> Callable[[subprocess.Popen[bytes]], None]:
    """Ends a server and its workers, by force where they do not hurry."""

    def stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return stop


@pytest.fixture(scope="session")
def until_ready() -> Callable[[subprocess.Popen[bytes], int, Path], list[int]]:
    """Waits until a server answers, and says what it answered till then; it must not have ended."""

    def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> list[int]:
        statuses: list[int] = []
        for _ in range(1800):
            assert process.poll() is None, log.read_text()
            try:
                statuses.append(httpx.get(f"http://127.0.0.1:{port}/readyz").status_code)
                if statuses[-1] == 200:
                    return statuses
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"not ready after three minutes: {log.read_text()}")

    return wait


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return find


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each process tests whole files; all that asks the one server is tested by one process."""
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "service" if "integration/service/" in file else file

    return ByServer(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        return next((number for number, name in enumerate(LONGEST_FIRST) if name in file), len(LONGEST_FIRST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was imported stays: Keras asks for the rubbish before every training, and need not look through all that."""
    gc.freeze()


def finish(process: subprocess.Popen[str]) -> str:
    """What a command printed; it must have succeeded."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, f"{process.args}: {out}\n{errors}"
    return out


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    assert changes.keys() <= values.keys()
    return values | {
        key: _merged(values[key], change) if isinstance(change, dict) else change for key, change in changes.items()
    }
