"""A month in the life of a model, played in minutes on real clips: served, told wrong labels, surprised by a new genre,
trained again, shadowed, promoted, replaced by a bad model and rolled back by itself. In every week something is killed
with SIGKILL and gone on; after every kill and every week the state of the store is checked.

    python tools/month.py FMA_FOLDER [--folder KEEP]

``FMA_FOLDER`` holds ``fma_metadata`` and ``fma_small`` with at least 30 clips of each of four genres. A table of the
steps is printed; the exit code is 0 where every check held.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import soundfile
from dvc.utils.serialize import modify_yaml

from music_genre.audio.decoding import decode_all

ROOT = Path(__file__).parents[1]
KNOWN, NEW = ("Electronic", "Pop", "Rock"), "Classical"
N_TRAINING, PART_S, N_PARTS = 18, 29.8, 2  # clips a genre to train on first; requests are parts of the others
WRONG_LABELS = 4  # of the feedback of the second week
SETTINGS = """\
request_log = "../requests"
keep_audio = true
shadow = true
drift_window = 48
drift_min_requests = 40
rollback_min_feedback_accuracy = 0.5
"""


@dataclass
class Month:
    """What the steps share.

    Args:
        folder: of everything.
        clips: by genre, its recordings.
        rows: of the table at the end.
        server: that runs, if one does.
    """

    folder: Path
    clips: dict[str, list[Path]]
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_clips(fma: Path) -> dict[str, list[Path]]:
    """The clips of each genre, those of one artist together."""
    tracks = pd.read_csv(fma / "fma_metadata/tracks.csv", index_col=0, header=[0, 1], low_memory=False)
    tracks = tracks[tracks["set", "subset"] == "small"].sort_values([("artist", "name"), ("track", "title")])
    clips: dict[str, list[Path]] = {genre: [] for genre in (*KNOWN, NEW)}
    for track_id, genre in tracks["track", "genre_top"].items():
        path = fma / f"fma_small/{track_id // 1000:03}/{track_id:06}.mp3"
        if genre in clips and path.is_file() and path.stat().st_size > 100_000:
            clips[genre].append(path)
    return clips


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return own | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "TF_CPP_MIN_LOG_LEVEL": "3"}


def start(month: Month, log: str, *command: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start a command in the project, in a process group of its own; its output goes to ``<log>.log``."""
    with (month.folder / f"{log}.log").open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=month.project,
            env=environment() | variables,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(month: Month, log: str, *command: str, expected: int = 0) -> str:
    """Run a command to its end; what it printed."""
    file = month.folder / f"{log}.log"
    offset = file.stat().st_size if file.is_file() else 0
    code = start(month, log, *command).wait()
    printed = file.read_bytes()[offset:].decode(errors="replace")
    assert code == expected, f"{' '.join(command)}: exit code {code}, not {expected}; see {file}"
    return printed


def killed_at(month: Month, log: str, sign: str, *command: str, after_s: float = 1.0) -> None:
    """Start a command, and kill it ``after_s`` after its output shows a sign; where it ends earlier, that is fine."""
    file = month.folder / f"{log}.log"
    offset = file.stat().st_size if file.is_file() else 0
    process = start(month, log, *command)
    while process.poll() is None and sign.encode() not in file.read_bytes()[offset:]:
        time.sleep(0.05)
    time.sleep(after_s)
    if process.poll() is None:
        kill(process)
    check_store(month)


def check_store(month: Month) -> dict[str, Any]:
    """The state of the registry, which is valid at any time: aliases point at versions, every version has a verdict and
    its files, and the history ends with the champion.
    """
    script = """
import json
from pathlib import Path
from music_genre.registry import versions
from music_genre.registry.history import champion_periods
from music_genre.registry.listing import list_versions
from music_genre.tracking import runs
client = runs.connect(Path.cwd())
listed = list_versions(client, "music-genre")
periods = [(p.version, p.until, p.reason) for p in champion_periods(client, "music-genre")]
champion = versions.champion(client, "music-genre")
assert all(v.verdict in ("passed", "refused") for v in listed), listed
assert champion is None or champion in {v.version for v in listed}
assert (periods[-1][0] if periods and periods[-1][1] is None else None) == champion, periods
for version in listed:
    versions.download_bundle(client.get_model_version("music-genre", version.version))
print("STATE", json.dumps({"champion": champion, "challenger": versions.challenger(client, "music-genre"),
    "versions": {v.version: [v.model, v.verdict, v.forced] for v in listed}, "reasons": [p[2] for p in periods]}))
"""
    printed = run(month, "store", sys.executable, "-c", script)
    state: dict[str, Any] = json.loads(printed.rsplit("STATE ", 1)[1])
    return state


def serve(month: Month) -> None:
    """Start the service and wait until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        month.port = listener.getsockname()[1]
    home = {"BENTOML_HOME": str(month.folder / "bentoml")}
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    month.server = start(month, "serve", bentoml, "serve", "--host", "127.0.0.1", "--port", str(month.port), **home)
    until(lambda: is_ready(month), 120, "the service is ready")


def kill_and_serve(month: Month) -> None:
    """Kill the service and start it again."""
    assert month.server is not None
    kill(month.server)
    check_store(month)
    serve(month)


def is_ready(month: Month) -> bool:
    assert month.server is None or month.server.poll() is None, "the service has ended; see serve.log"
    try:
        return httpx.get(f"{month.address}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def served_version(month: Month) -> str:
    return str(httpx.get(f"{month.address}/model", timeout=30).json()["version"])


def ask(month: Month, files: list[tuple[str, Path]], wrong: int = 0) -> list[bool]:
    """Have recordings predicted, and tell the right genre of each, but for some that are told wrong ones.

    Returns:
        Whether each prediction was right.
    """
    right = []
    for number, (genre, file) in enumerate(files):
        with file.open("rb") as audio:
            answer = httpx.post(f"{month.address}/predict", files={"audio": (file.name, audio)}, timeout=60)
        assert answer.status_code == 200, answer.text
        prediction = answer.json()
        right.append(prediction["genre"] == genre)
        told = genre if number >= wrong else next(other for other in KNOWN if other != genre)
        if told in prediction["probabilities"]:
            feedback = {"request_id": prediction["request_id"], "genre": told}
            assert httpx.post(f"{month.address}/feedback", json=feedback, timeout=30).status_code == 200
    return right


def make_parts(month: Month, genre: str, clips: list[Path]) -> list[tuple[str, Path]]:
    """Parts of clips, a little apart, as listeners would send them, in another format."""
    parts = []
    for clip in clips:
        signal_ = decode_all(clip, 900.0)
        for number in range(N_PARTS):
            first, last = (int(s * signal_.sample_rate_hz) for s in (0.1 * number, 0.1 * number + PART_S))
            path = month.folder / f"requests-of-users/{genre}-{clip.stem}-{number}.flac"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, signal_.samples[first:last], signal_.sample_rate_hz)
            parts.append((genre, path))
    return parts


def first_week(month: Month) -> str:
    """A collection of three genres, trained and registered; killed while it trains and while it registers."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(month.project)], check=True)
    for genre in KNOWN:
        for clip in month.clips[genre][:N_TRAINING]:
            target = month.folder / f"music/{genre}/{clip.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clip, target)
    with modify_yaml(month.project / "params.yaml") as params:
        params["data"] |= {"source": "folder", "folder": {"path": str(month.folder / "music"), "artist_pattern": None}}
        params["split"]["method"] = "random"
        del params["models"]["crnn"], params["models"]["parallel"]
        params["ensemble"]["members"] = ["baseline", "transfer"]
    (month.project / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    retrain_with_kills(month, "first")
    state = check_store(month)
    assert state["champion"] == "1", state
    return f"version 1, {state['versions']['1'][0]}, is champion"


def retrain_with_kills(month: Month, name: str, expected: int = 0) -> None:
    """Train again, killed twice on the way; the exit code is as expected."""
    retrain = (sys.executable, "-m", "music_genre.cli", "retrain")
    for sign in ("Running stage 'train@", "Running stage 'register'"):
        killed_at(month, f"retrain-{name}", sign, *retrain)
    run(month, f"retrain-{name}", *retrain, expected=expected)
    shutil.copyfile(month.project / "reports/retrain.md", month.folder / f"retrain-{name}.md")


def second_week(month: Month) -> str:
    """Requests and feedback, some of it wrong; the server is killed and started again. No drift."""
    serve(month)
    files = [part for genre in KNOWN for part in make_parts(month, genre, month.clips[genre][N_TRAINING:26])]
    right = ask(month, files[:20], wrong=WRONG_LABELS)
    kill_and_serve(month)
    right += ask(month, files[20:])
    kept = len(list((month.folder / "requests/audio").glob("*/*.flac")))
    assert kept == len(files), f"{kept} of {len(files)} recordings kept"
    versions = run(month, "versions", sys.executable, "-m", "music_genre.cli", "versions")
    assert "feedback: " in versions
    drift = start(month, "drift", sys.executable, "-m", "music_genre.cli", "drift").wait()
    return f"{sum(right)} of {len(right)} right, {kept} recordings kept; `drift` ended with {drift}"


def third_week(month: Month) -> str:
    """A genre that the model does not know; `drift` tells."""
    files = make_parts(month, NEW, month.clips[NEW][:24])
    assert not any(ask(month, files[:24]))
    kill_and_serve(month)
    assert not any(ask(month, files[24:]))
    drift = (sys.executable, "-m", "music_genre.cli", "drift")
    killed_at(month, "drift", "", *drift, after_s=3.0)
    printed = run(month, "drift", *drift, expected=3)
    return printed.strip().splitlines()[-1]


def fourth_week(month: Month) -> str:
    """Trained again with the new genre and what users sent; the challenger runs in the shadow and is promoted."""
    for clip in month.clips[NEW][:N_TRAINING]:
        target = month.folder / f"music/{NEW}/{clip.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip, target)
    with modify_yaml(month.project / "params.yaml") as params:
        params["data"]["folder"]["path"] = [str(month.folder / "music"), str(month.folder / "requests/audio")]
    retrain_with_kills(month, "second")
    state = check_store(month)
    assert state["champion"] == "1", state
    challenger = state["challenger"]
    assert challenger not in (None, "1"), state
    files = [part for genre in KNOWN for part in make_parts(month, genre, month.clips[genre][26:29])]
    ask(month, files)
    until(lambda: "shadow of version 1" in command_output(month, "versions"), 60, "shadow statistics are stored")
    promote = (sys.executable, "-m", "music_genre.cli", "promote")
    killed_at(month, "promote", "", *promote, after_s=4.0)
    run(month, "promote", *promote)
    state = check_store(month)
    assert state["champion"] == challenger, state
    until(lambda: served_version(month) == challenger, 60, "the new champion is served")
    with files[0][1].open("rb") as audio:
        answer = httpx.post(f"{month.address}/predict", files={"audio": ("a.flac", audio)}, timeout=60).json()
    assert answer["model"]["genre_changes"] == {"since": "1", "new": [NEW], "gone": []}, answer["model"]
    return f"version {challenger} shadowed, promoted, served without a restart; answers tell that {NEW} is new"


def command_output(month: Month, command: str) -> str:
    return run(month, command, sys.executable, "-m", "music_genre.cli", command)


def fifth_week(month: Month) -> str:
    """A model of mixed-up labels, which the gate refuses, promoted by force; the service rolls back by itself."""
    before = check_store(month)["champion"]
    genres = (*KNOWN, NEW)
    for number, genre in enumerate(genres):
        shutil.copytree(month.folder / f"music/{genre}", month.folder / f"mixed-up/{genres[number - 1]}")
    with modify_yaml(month.project / "params.yaml") as params:
        params["data"]["folder"]["path"] = str(month.folder / "mixed-up")
        params["registry"]["gate"]["max_size_mb"] = 0.001
    retrain_with_kills(month, "bad", expected=3)
    state = check_store(month)
    bad = max(state["versions"], key=int)
    assert (state["champion"], state["versions"][bad][1]) == (before, "refused"), state
    promote = (sys.executable, "-m", "music_genre.cli", "promote", "--version", bad)
    run(month, "promote", *promote, expected=3)
    force = ("--force", "--reason", "in a hurry")
    killed_at(month, "promote", "", *promote, *force, after_s=4.0)
    run(month, "promote", *promote, *force)
    until(lambda: served_version(month) == bad, 60, "the bad model is served")
    files = [part for genre in genres for part in make_parts(month, genre, month.clips[genre][26:30])]
    right = ask(month, files[:16])
    kill_and_serve(month)
    right += ask(month, files[16:])
    until(lambda: check_store(month)["champion"] == before, 90, "the champion is rolled back")
    until(lambda: served_version(month) == before, 30, "the former champion is served")
    reason = check_store(month)["reasons"][-1]
    assert reason.startswith(f"rolled back from version {bad}: "), reason
    return f"{sum(right)} of {len(right)} right; {reason}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fma", metavar="FMA_FOLDER", type=Path)
    parser.add_argument("--folder", type=Path, help="of all files; kept. Default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        month = Month(folder, read_clips(arguments.fma))
        try:
            for step in (first_week, second_week, third_week, fourth_week, fifth_week):
                begun = time.monotonic()
                outcome = step(month)
                check_store(month)
                month.rows.append((step.__name__.replace("_", " "), time.monotonic() - begun, outcome))
                print(*month.rows[-1], flush=True)
        finally:
            if month.server and month.server.poll() is None:
                kill(month.server)
    writer = csv.writer(sys.stdout, delimiter="|")
    writer.writerow(("step", "seconds", "what was checked"))
    writer.writerows((name, f"{seconds:.0f}", outcome) for name, seconds, outcome in month.rows)


if __name__ == "__main__":
    main()
