"""One tiny, complete checkout for every test: tones under three genres, all stages, the registry.

``pytest --fixtures tests`` lists what a test can ask for. ``checkout`` is to be read, ``writable_checkout`` to be
changed; both are made once for all processes of a test run.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
STORE_VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME")  # would send a test's runs to another store

# All stages of `dvc repro` before `register`, in one process: most of a stage's time is spent on its imports.
STAGES_BEFORE_REGISTER = """
import sys
from music_genre.pipeline import (
    calibrate, compare, evaluate, fetch, gate, inspect, label_quality, scan, spectrograms, split, train, validate
)

for stage in (scan, fetch, inspect, split, spectrograms, validate, label_quality):
    stage.main()
for name in ("baseline", "crnn", "parallel"):
    sys.argv[1:] = [name]
    train.main()
    evaluate.main()
calibrate.main()
compare.main()
gate.main()
"""

PITCH_HZ = {"Folk": 200.0, "R&B": 900.0, "Rock": 3600.0}  # "R&B" cannot be part of a metric's name in MLflow
TRACKS_PER_GENRE, CLIP_SECONDS = 10, 3.8
SPECTROGRAMS_DIGEST = "5d41402abc4b2a76b9719d911017c592.dir"
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
    "encoders": {"musicnn": ...},
    "models": {
        "transfer": ...,
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What `make test` runs in several processes: each takes whole files, and one takes all files that use the one
    server of ``integration/service``.
    """
    from xdist.scheduler import LoadFileScheduling

    class FileScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "service" if "integration/service/" in file else file

    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: else one process would end alone."""
    items.sort(key=lambda item: "integration/" not in item.nodeid and "behaviour/" not in item.nodeid)


def pytest_collection_finish() -> None:
    """Keep imported objects out of garbage collection: Keras collects before every training, and TensorFlow alone has a
    million of them.
    """
    gc.set_threshold(50_000)
    gc.freeze()


class Dask:
    """A scheduler and workers that were started by hand.

    Args:
        folder: for their files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.scheduler = self._run("scheduler", "--port", "0", "--scheduler-file", str(file))
        while not (file.exists() and file.read_text()):
            time.sleep(0.05)
        self.address: str = json.loads(file.read_text())["address"]

    def start_worker(self, path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker with a nanny, which looks for packages in ``path`` first."""
        searched = os.pathsep.join([*([str(path)] if path else []), os.environ.get("PYTHONPATH", "")])
        options = ("--nthreads", "1", "--local-directory", str(self.folder))
        return self._run("worker", self.address, *options, PYTHONPATH=searched)

    def _run(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a scheduler, or a nanny and its worker, without notice."""
        if process.poll() is None:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
            process.wait()


@pytest.fixture
def hand_started_dask(tmp_path: Path) -> Iterator[Dask]:
    """A Dask scheduler without workers, and the means to start and to kill them."""
    dask = Dask(tmp_path)
    yield dask
    for process in reversed(dask.processes):
        dask.kill(process)


@pytest.fixture(scope="session", autouse=True)
def no_telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No usage reports, none of MLflow's background workers, and a BentoML home of this process' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))
        patch.setenv("BENTOML_DO_NOT_TRACK", "true")
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        patch.setenv("GX_ANALYTICS_ENABLED", "false")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        yield


@pytest.fixture(autouse=True)
def isolated_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracking store of the caller or of the test before: MLflow sets its variable itself."""
    for name in STORE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def start_module() -> Callable[..., subprocess.Popen[str]]:
    """Starts ``python -m <module> <arguments>`` in a folder, as DVC and people do."""
    return lambda folder, module, *arguments: start_python(folder, "-m", module, *arguments)


@pytest.fixture(scope="session")
def synth_tone() -> Callable[..., np.ndarray]:
    """Makes a clip of a genre, (samples, channels) float32: its pitch and octave, slow tremolo, faint noise."""

    def make(genre: str, seed: int, seconds: float, rate: int = 22_050, channels: int = 1) -> np.ndarray:
        rng = np.random.default_rng([seed, *genre.encode()])
        time = np.arange(int(seconds * rate)) / rate
        pitch = PITCH_HZ[genre] * rng.uniform(0.95, 1.05)
        signal = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.1 * np.sin(4 * np.pi * pitch * time)
        signal *= 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time)
        return (signal[:, None] + rng.normal(0, 0.005, (len(time), channels))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def write_params() -> Callable[[Path, dict[str, Any]], None]:
    """Writes the committed ``params.yaml`` with some values changed into a folder, in the form that DVC writes."""
    from dvc.utils.serialize import modify_yaml

    def write(folder: Path, changes: dict[str, Any]) -> None:
        with modify_yaml(shutil.copy(ROOT / "params.yaml", folder)) as params:
            update(params, changes)

    return write


@pytest.fixture(scope="session")
def describe_project(write_params: Callable[[Path, dict[str, Any]], None]) -> Callable[[Path], None]:
    """Writes tiny ``params.yaml``, an empty ``dvc.yaml`` and a ``dvc.lock`` that knows the spectrograms' digest."""

    def write(folder: Path) -> None:
        write_params(folder, PARAMS)
        (folder / "dvc.yaml").touch()
        outs = {"outs": [{"path": "data/spectrograms", "md5": SPECTROGRAMS_DIGEST}]}
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"spectrograms": outs}}), encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder by name, which the first process that asks fills and all processes read."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, fill: Callable[[Path], None]) -> Path:
        folder, complete = base / name, base / f"{name}.complete"
        with FileLock(base / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                complete.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def trained_checkout(
    shared_dir: Callable[[str, Callable[[Path], None]], Path],
    synth_tone: Callable[..., np.ndarray],
    describe_project: Callable[[Path], None],
) -> Path:
    """A checkout with everything but its registration, made by the stages of ``dvc repro``; to be read only."""

    def fill(folder: Path) -> None:
        describe_project(folder)
        for genre in PITCH_HZ:
            (folder / "music" / genre).mkdir(parents=True)
            for number in range(TRACKS_PER_GENRE):
                suffix, rate, channels = ("mp3", 44_100, 2) if number % 2 else ("wav", 22_050, 1)
                clip = synth_tone(genre, number, CLIP_SECONDS, rate, channels)
                soundfile.write(folder / f"music/{genre}/{number}.{suffix}", clip, rate)
        output_of(start_python(folder, "-c", STAGES_BEFORE_REGISTER))

    return shared_dir("checkout", fill)


@pytest.fixture(scope="session")
def recovered_checkout(
    trained_checkout: Path,
    shared_dir: Callable[[str, Callable[[Path], None]], Path],
    start_module: Callable[..., subprocess.Popen[str]],
) -> Path:
    """A copy of ``trained_checkout`` whose lost tracking store ``music-genre register`` filled again; what it printed
    is in ``register.txt``. To be read only.
    """

    def fill(folder: Path) -> None:
        lost = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "runs", "music", "audio", ".cache")
        shutil.copytree(trained_checkout, folder, ignore=lost, dirs_exist_ok=True)
        # At the same time, because it saves ten seconds: stage `register` makes `checkout` of `trained_checkout`.
        recovering = start_module(folder, "music_genre.cli", "register")
        registering = start_module(trained_checkout, "music_genre.pipeline.register")
        (folder / "register.txt").write_text(output_of(recovering), encoding="utf-8")
        output_of(registering)

    return shared_dir("recovered_checkout", fill)


@pytest.fixture(scope="session")
def checkout(trained_checkout: Path, recovered_checkout: Path) -> Path:
    """A checkout as ``dvc repro`` leaves it, to be read only."""
    return trained_checkout


@pytest.fixture
def writable_checkout(recovered_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout to change, with a store and registry of its own; it is the working directory."""
    folder = tmp_path / "writable_checkout"
    shutil.copytree(recovered_checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache"))
    monkeypatch.chdir(folder)
    return folder


def start_python(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start ``python <arguments>`` in a folder, with the folder's own store."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in STORE_VARIABLES},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """What a command printed; it must succeed."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, f"{process.args}: {out}\n{errors}"
    return out


def update(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change some of nested values, and remove those that are ``...``; no key may be new."""
    assert changes.keys() <= values.keys()
    for key, change in changes.items():
        if isinstance(change, dict):
            update(values[key], change)
        elif change is ...:
            del values[key]
        else:
            values[key] = change
