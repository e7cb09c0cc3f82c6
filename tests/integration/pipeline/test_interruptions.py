"""``kill -9`` at any moment, then a run to the end: the result is that of an undisturbed run."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile
import yaml
from dvc.utils.hydra import apply_overrides

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[3]
OUTS = (
    *("data/listing.parquet", "data/audio", "data/tracks.parquet", "data/inspection.csv"),
    *("data/splits.parquet", "data/split_ledger.csv", "data/spectrograms"),
)
KILLS = {"fetch": 3, "inspect": 3, "spectrograms": 4}  # of each stage, at moments drawn with a fixed seed
STORE_VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME")


def environment() -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name not in STORE_VARIABLES}
    path = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    return variables | {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1"}


class Run:
    """A command in a process group of its own, and its output so far."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.output, self._lines, self._ended = "", queue.Queue[str | None](), False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def stages(self) -> Iterator[str]:
        """The name of each stage as it starts, until the command ends."""
        while not self._ended and (line := self._lines.get(timeout=120)) is not None:
            self.output += line
            if line.startswith("Running stage"):
                yield line.split("'")[1]
        self._ended = True

    def kill(self) -> bool:
        """Kill the command and its descendants; False if it had ended by itself."""
        alive = self.process.poll() is None
        if alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return alive

    def finish(self) -> str:
        for _ in self.stages():
            pass
        assert self.process.wait() == 0, self.output
        return self.output


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of the outs."""
    files = [path for out in OUTS for path in ((folder / out), *(folder / out).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, describe_short_clips: Callable[..., None]) -> Path:
    """What ``dvc repro spectrograms`` needs: code to depend on, params, 41 songs; one is a copy, one is broken."""
    base, rng = tmp_path_factory.mktemp("interrupted"), np.random.default_rng(0)
    folder, music = base / "checkout", base / "music"
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data/corrections.csv", folder / "data")
    describe_short_clips(folder, source="folder", folder={"path": str(music)})
    for number in range(40):
        path = music / ("Hiss", "Hum")[number % 2] / f"{number:02d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, (2 * 44_100, 2)), 44_100)
    shutil.copy(music / "Hum/01.mp3", music / "Hum/copy.mp3")
    (music / "Hum/03.mp3").write_text("no music")
    Run(folder, "dvc", "init", "--no-scm", "--quiet").finish()
    return folder


@pytest.mark.slow
def test_outs_after_ten_kills_are_those_of_an_undisturbed_run(checkout: Path, tmp_path: Path) -> None:
    disturbed = tmp_path / "disturbed"
    shutil.copytree(checkout, disturbed)
    durations = stage_durations(checkout)
    rng = np.random.default_rng(11)
    for stage, n_kills in KILLS.items():
        for moment in rng.uniform(0.02, 0.9, n_kills):
            before = lock(disturbed) if (disturbed / "dvc.lock").exists() else "schema: '2.0'\n"
            while not kill_in_stage(disturbed, stage, moment * durations[stage]):
                moment *= 0.6  # the stage had ended: other processes may have slowed down the run that was timed
            repair_torn_files(disturbed, before)
    assert "ERROR" not in Run(disturbed, "dvc", "repro", "spectrograms").finish()
    assert digests(disturbed) == digests(checkout)
    # Stages that do not depend on each other may come in another order.
    assert yaml.safe_load(lock(disturbed)) == yaml.safe_load(lock(checkout))
    assert [path for path in (disturbed / "data").rglob("*") if ".part" in path.name] == []
    assert list(Run(disturbed, "dvc", "repro", "spectrograms").stages()) == ["scan"]


def kill_in_stage(folder: Path, stage: str, after_s: float) -> bool:
    """Start ``dvc repro`` and kill it so long after the stage started; False if it had ended by then."""
    run = Run(folder, "dvc", "repro", "spectrograms")
    if stage not in run.stages():
        # An earlier kill came after the stage had finished.
        run.kill()
        run = Run(folder, "dvc", "repro", "--force", stage)
        assert stage in run.stages(), run.output
    time.sleep(after_s)
    return run.kill()


def repair_torn_files(folder: Path, before: str) -> None:
    """DVC writes its list of locks and dvc.lock in place: after a kill at that moment it refuses them, and people do
    what docs/operations.md says: they delete the first, and take the second from git.
    """
    errors = subprocess.run(["dvc", "status"], cwd=folder, env=environment(), capture_output=True, text=True).stderr
    if "rwlock" in errors:
        (folder / ".dvc/tmp/rwlock").unlink()
    elif "dvc.lock" in errors:
        (folder / "dvc.lock").write_text(before, encoding="utf-8")


def stage_durations(folder: Path) -> dict[str, float]:
    """Seconds that each stage takes in an undisturbed run."""
    run, starts = Run(folder, "dvc", "repro", "spectrograms"), dict[str, float]()
    for stage in run.stages():
        starts[stage] = time.monotonic()
    run.finish()
    ends = [*list(starts.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(starts.items(), ends, strict=True)}


def lock(folder: Path) -> str:
    return (folder / "dvc.lock").read_text(encoding="utf-8")


def test_next_run_clears_the_lock_of_a_killed_one(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("data", "dvc.lock", "reports", "cache"))
    run = Run(folder, "dvc", "repro", "fetch")
    assert "fetch" in run.stages()
    run.kill()
    locks = json.loads((folder / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))
    assert run.process.pid in {owner["pid"] for owner in locks["write"].values()}
    assert "ERROR" not in Run(folder, "dvc", "repro", "fetch").finish()
    assert len(list((folder / "data/audio").rglob("*.mp3"))) == 41
    assert json.loads((folder / ".dvc/tmp/rwlock").read_text(encoding="utf-8")).get("write", {}) == {}


METADATA = """,set,set,artist,artist,track,track,track
,split,subset,id,name,genre_top,title,license
track_id,,,,,,,
2,training,small,1,The Ones,Rock,One,CC0
5,test,small,2,Two,Pop,Two,CC0
"""
# The stage itself, with the sizes and digests of other archives than the published ones.
FETCH = """
import sys
from music_genre.datasets import fma
from music_genre.datasets.download import RemoteFile
for key, sha1, size in zip(("metadata", "small"), sys.argv[1::2], sys.argv[2::2]):
    fma.ARCHIVES[key] = RemoteFile(f"fma_{key}.zip", sha1, int(size))
from music_genre.pipeline.fetch import main
main()
"""


class Handler(BaseHTTPRequestHandler):
    """Serves byte ranges, but stalls after a third of an archive until ``resume`` is set."""

    def __init__(
        self, files: dict[str, bytes], range_starts: list[int], resume: threading.Event, *rest: object
    ) -> None:
        self.files, self.range_starts, self.resume = files, range_starts, resume
        super().__init__(*rest)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self.files[self.path.removeprefix("/")]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if "small" not in self.path:
            self.wfile.write(content)
            return
        self.range_starts.append(start)
        third = start + len(content) // 3
        self.wfile.write(content[start:third])
        self.wfile.flush()
        if self.resume.wait(30):
            self.wfile.write(content[third:])


def test_killed_download_resumes_at_its_last_byte(tmp_path: Path, describe_short_clips: Callable[..., None]) -> None:
    files, rng = dict[str, bytes](), np.random.default_rng(0)
    clips = {f"fma_small/000/{track_id:06d}.mp3": rng.bytes(300_000) for track_id in (2, 5)}
    for key, members in (("metadata", {"fma_metadata/tracks.csv": METADATA.encode()}), ("small", clips)):
        with ZipFile(tmp_path / key, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        files[f"fma_{key}.zip"] = (tmp_path / key).read_bytes()
    archives = [value for file in files.values() for value in (hashlib.sha1(file).hexdigest(), str(len(file)))]
    range_starts, resume = list[int](), threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, files, range_starts, resume)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}"
        describe_short_clips(tmp_path, source="fma", fma={"mirror": mirror})
        partial_file = tmp_path / ".cache/fetch/fma_small.zip.part"
        before = 0
        for _ in range(2):
            run = Run(tmp_path, sys.executable, "-c", FETCH, *archives)
            while not (
                partial_file.exists() and partial_file.stat().st_size >= before + len(files["fma_small.zip"]) // 3
            ):
                assert run.process.poll() is None, "it ended before it could be killed"
                time.sleep(0.01)
            run.kill()
            before = partial_file.stat().st_size
            assert list((tmp_path / "data/audio").rglob("*.mp3")) == []
        resume.set()
        Run(tmp_path, sys.executable, "-c", FETCH, *archives).finish()
        server.shutdown()
    assert range_starts[0] == 0
    assert range_starts[1:] == [len(files["fma_small.zip"]) // 3, before]
    audio = tmp_path / "data/audio/fma"
    written = {str(path.relative_to(audio)): path.read_bytes() for path in audio.rglob("*") if path.is_file()}
    assert written == {**clips, "fma_metadata/tracks.csv": METADATA.encode()}


def epochs_done(folder: Path) -> int:
    """How many epochs the checkpoint of a training in ``folder`` has."""
    states = list((folder / ".cache/train/crnn").rglob("state.json"))
    return len(json.loads(states[0].read_text(encoding="utf-8"))["history"]) if states else 0


@pytest.mark.slow
def test_killed_training_resumes_at_its_last_epoch_and_gives_the_same_model(
    trained_checkout: Path, recovered_checkout: Path, tmp_path: Path
) -> None:
    # Once the second checkout exists, no process writes into the first.
    assert recovered_checkout.is_dir()
    train = (sys.executable, "-m", "music_genre.pipeline.train", "crnn")
    for name in ("undisturbed", "disturbed"):
        ignored = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "music", "audio", ".cache")
        shutil.copytree(trained_checkout, tmp_path / name, ignore=ignored)
        apply_overrides(tmp_path / name / "params.yaml", ["models.crnn.published.epochs=20"])
    Run(tmp_path / "undisturbed", *train).finish()
    for n_epochs in (3, 8):
        run = Run(tmp_path / "disturbed", *train)
        while epochs_done(tmp_path / "disturbed") < n_epochs:
            assert run.process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        run.kill()
    done = epochs_done(tmp_path / "disturbed")
    last = Run(tmp_path / "disturbed", *train)
    last.finish()
    assert 8 <= done < 20
    assert f"Epoch {done + 1}/20" in last.output
    assert f"Epoch {done}/20" not in last.output
    for file in ("model.keras", "history.csv"):
        undisturbed, disturbed = (
            (tmp_path / name / "models/crnn" / file).read_bytes() for name in ("undisturbed", "disturbed")
        )
        assert disturbed == undisturbed
    assert not (tmp_path / "disturbed/.cache/train/crnn").exists()
