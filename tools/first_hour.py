"""A stranger's first hour: a fresh clone in an empty home, in which every command of README.md and docs/ is run, or
named with the reason why it is not, and every link of the pages and of the built site is followed.

    python tools/first_hour.py [--folder KEEP]

The environment that runs this is lent to the clone, so that nothing is installed. The collection and the trainings are
made tiny. A table of the commands is printed; the exit code is 0 where all did what the pages say.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEPENDENCIES = ("requirements/cpu.lock", "requirements/bootstrap.lock", "requirements/encoders.lock", "pyproject.toml")
TIMEOUT_S = 1800.0
START_S = 300.0  # of a server
QUIET = {
    "BENTOML_DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
TINY: dict[str, Any] = {
    "data": {"min_duration_s": 3, "sample": {"tracks_per_genre": 6, "duration_s": 4}},
    "spectrogram": {"n_frames": 64, "clip_duration_s": 4},
    "models": {name: {"improved": {"epochs": 1}, "published": {"epochs": 1}} for name in ("crnn", "parallel")},
    "registry": {"gate": {"min_macro_f1": 0.0, "min_class_recall": 0.0, "max_ece": 1.0, "max_macro_f1_drop": 1.0}},
}
# What is not run, by how it begins.
NOT_RUN = {
    "make test": "the tests: CI runs them",
    "make slow": "the long tests: CI runs them",
    "make lint": "CI runs it",
    "make bench": "it takes an hour",
    "make repro LOCK=requirements/gpu.lock": "it needs a GPU and installs another environment",
    "dvc exp run -S data.source=fma": "it needs FMA-small",
    "dvc exp run -S data.source=arrays": "it needs FMA-small as spectrograms",
    "taskset -c 0 dvc exp run -S data.source=arrays": "it needs FMA-small as spectrograms",
    "dvc exp run -S models.crnn.recipe=published": "its pools do not fit tiny clips",
    "dask ": "it needs other machines",
    "DASK_SCHEDULER_ADDRESS=": "it needs other machines",
}
# Pages whose Python is run by a test.
PYTHON_TESTS = {
    "adding-a-dataset.md": "tests/datasets/test_adding_a_dataset.py",
    "adding-a-model.md": "tests/models/test_guide.py",
    "encoders.md": "tests/encoders/test_guide.py",
}
LINKS = "python -m pytest tests/test_docs.py tests/test_repository.py -k 'link or site'"
SERVERS = {"make serve": "/readyz", "make ui": "/health", "music-genre review": "/"}
MAKE_FILES = """
import json, shutil
from pathlib import Path
import numpy as np
clip = next(Path("data/audio/sample/fma_small").rglob("*.mp3"))
shutil.copy(clip, "song.mp3")
Path("my-music").mkdir()
shutil.copy(clip, "my-music/one.mp3")
mel = np.load("data/spectrograms/test-00000.npy").astype("float32")
np.savez("clips.npz", mel=mel, track_id=np.arange(len(mel)))
"""


@dataclass
class Hour:
    """What the steps share.

    Args:
        folder: of everything.
        server: that runs, if one does.
        rows: of the table at the end: page, command, seconds, outcome.
    """

    folder: Path
    server: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[str, str, float, str]] = field(default_factory=list)

    @property
    def project(self) -> Path:
        return self.folder / "music-genre"

    @property
    def environment(self) -> dict[str, str]:
        """PATH, LANG and an empty home; and what points the lent environment to the clone."""
        programs = [str(self.project / ".venv/bin"), "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "PATH": os.pathsep.join(programs),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(self.project / "src"),
            "BENTOML_PORT": str(self.ports["make serve"]),
            "MLFLOW_PORT": str(self.ports["make ui"]),
            "MUSIC_GENRE_REQUEST_LOG": str(self.folder / "requests"),
            **QUIET,
        }

    @property
    def failures(self) -> list[str]:
        return [f"{page}: {command}: {outcome}" for page, command, _, outcome in self.rows if "FAILED" in outcome]


def run(hour: Hour, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=hour.project,
        env=hour.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
    )


def must(hour: Hour, command: str) -> str:
    """What a command of the preparation prints; it must succeed."""
    done = run(hour, command)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def clone(hour: Hour) -> None:
    """A clone of what is committed, with the environment of this process and tiny params."""
    from dvc.utils.serialize import modify_yaml

    (hour.folder / "home").mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(hour.project)], check=True)
    for name in DEPENDENCIES:  # older than the environment, or `make setup` would build another
        os.utime(hour.project / name, (0, 0))
    (hour.project / ".venv").symlink_to(sys.prefix)
    with modify_yaml(hour.project / "params.yaml") as params:
        change(params, TINY)
    must(hour, "git config user.name Stranger && git config user.email stranger@example.org")
    must(hour, "git commit --quiet --all --message 'Make it tiny'")


def change(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Change some of nested values; no key may be new."""
    for key, value in changes.items():
        if key not in values:
            raise SystemExit(f"params.yaml has no {key}; correct TINY")
        if isinstance(value, dict):
            change(values[key], value)
        else:
            values[key] = value


def prepare(hour: Hour) -> None:
    """After `make repro`: the files that the pages name, and a second version, for promotions."""
    must(hour, f"python - <<'END'\n{MAKE_FILES}END")
    must(hour, "git add --all data reports dvc.lock && git commit --quiet --message 'Run'")
    must(hour, "sed -i 's/^seed: .*/seed: 8/' params.yaml && dvc repro --quiet")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(hour: Hour, command: str) -> str:
    """Start a server and wait until it answers; the outcome."""
    port = hour.ports[command]
    line = f"{command} --port {port}" if command == "music-genre review" else command
    with (hour.folder / "server.log").open("wb") as log:
        hour.server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=hour.project,
            env=hour.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}{SERVERS[command]}"
    end = time.monotonic() + START_S
    while hour.server.poll() is None and time.monotonic() < end:
        if run(hour, f"curl --silent --fail --output /dev/null {address}").returncode == 0:
            return "answers"
        time.sleep(1)
    return f"FAILED: no answer; {(hour.folder / 'server.log').read_text(errors='replace')[-1500:]}"


def stop(hour: Hour) -> None:
    """Stop the server with all its processes, if one runs."""
    if hour.server is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(hour.server.pid, number)
            hour.server.wait(timeout=20)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    hour.server = None


def adapt(hour: Hour, command: str) -> str:
    """A command as it is run here: versions, tracks and ports that there are, and no question."""
    served = f"127.0.0.1:{hour.ports['make serve']}"
    command = command.replace("--version 3", "--version 1").replace("localhost:3000", served)
    command = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
    if "forget" in command:
        first = must(hour, "python -c 'import pandas as p; print(p.read_parquet(\"data/tracks.parquet\").track_id[0])'")
        command = re.sub(r"forget \S+", f"forget {first.strip()} --yes", command)
    return command


def try_command(hour: Hour, page: str, line: str) -> None:
    """Run one documented line and note its outcome."""
    command = " ".join(re.sub(r"\s#\s.*$", "", line).split())
    reason = next((why for begin, why in NOT_RUN.items() if command.startswith(begin)), None)
    ran = {row[1] for row in hour.rows} - {"dvc repro"}
    begun = time.monotonic()
    if reason or (command in ran and not command.startswith(("curl", *SERVERS))):
        hour.rows.append((page, command, 0.0, f"not run: {reason or 'run above'}"))
        return
    if command in SERVERS:
        stop(hour)
        outcome = start(hour, command)
    else:
        if not command.startswith("curl"):
            stop(hour)
        elif hour.server is None:
            start(hour, "make serve")
        done = run(hour, adapt(hour, command))
        outcome = "done" if done.returncode == 0 else f"FAILED with {done.returncode}: {done.stdout[-1500:]}"
    hour.rows.append((page, command, time.monotonic() - begun, outcome))
    print(f"{hour.rows[-1][2]:6.0f} s  {page}  {command}  {outcome}", flush=True)
    if command == "make repro" and outcome == "done":
        prepare(hour)


def follow_pages(hour: Hour) -> None:
    """Run the commands of every page, README.md first."""
    sys.path.append(str(ROOT / "tests"))
    from test_commands import DOCS, fenced_lines

    for path in DOCS:
        text = (hour.project / path.relative_to(ROOT)).read_text(encoding="utf-8")
        if "```python" in text and not (ROOT / PYTHON_TESTS.get(path.name, "missing")).is_file():
            hour.rows.append((path.name, "Python", 0.0, "FAILED: no test of PYTHON_TESTS runs it"))
        for line in fenced_lines(text):
            try_command(hour, path.name, line)
    stop(hour)
    try_command(hour, "all", LINKS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of all files, a new one; kept. Default: a temporary one")
    arguments = parser.parse_args()
    temporary = Path(tempfile.mkdtemp())
    folder = (arguments.folder or temporary).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    hour = Hour(folder, ports={name: free_port() for name in SERVERS})
    try:
        clone(hour)
        follow_pages(hour)
    finally:
        stop(hour)
        shutil.rmtree(temporary, ignore_errors=True)
    print(
        *(f"{page} | {command} | {seconds:.0f} s | {outcome}" for page, command, seconds, outcome in hour.rows),
        sep="\n",
    )
    print(json.dumps({"run": sum("not run" not in row[3] for row in hour.rows), "commands": len(hour.rows)}))
    if hour.failures:
        raise SystemExit("\n".join(hour.failures))


if __name__ == "__main__":
    main()
