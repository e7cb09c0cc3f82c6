"""The service under load, against a plain FastAPI route with the same weights, against the same work without a server,
and with ``--before CHECKOUT`` against another build.

The checkout's champion is served: ``make repro`` makes one. wrk makes the load (Debian: ``apt-get install wrk``);
``--memory-minutes 10`` watches the memory for longer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile
from timing import memory_mb, ratios, spread, table, write

from features import N_FILES, prepare_clips
from music_genre.audio.decoding import decode_all
from music_genre.cli._context import bundle_dir, load_model
from music_genre.errors import AudioError
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle
from music_genre.runtime import THREAD_LIMITS, cores

SERVICE = (sys.executable, "-m", "bentoml", "serve", "music_genre.service.app:MusicGenre", "--host", "127.0.0.1")
PLAIN_ROUTE = (sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "plain_route:app")
OURS, PLAIN, BEFORE = "the service", "the plain route", "the build before"
WRK_SCRIPT = Path(__file__).with_suffix(".lua")
N_SONGS = 4
MAX_DURATION_S = 900.0  # of a recording, as in the service
WARM_UP_CLIENTS, MEMORY_CLIENTS = 4, 4
Load = Callable[[str, list[Path], int, float], dict[str, float]]  # URL, files, clients, seconds to VALUES
VALUES = ("p50", "p95", "p99", "rps", "failed")  # of a load: latencies in ms, requests a second, failed requests


@contextmanager
def running(*command: str, checkout: Path | None = None) -> Iterator[tuple[str, int]]:
    """A server on a free port, once it is ready, of this checkout's code or another's: its URL and process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        environment = os.environ | ({"PYTHONPATH": str(checkout / "src")} if checkout else {})
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=checkout, env=environment, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"
            while not is_ready(url):
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode())
                time.sleep(0.2)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait()


def is_ready(url: str) -> bool:
    """Whether a server can predict."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def load(url: str, files: list[Path], clients: int, duration_s: float) -> dict[str, float]:
    """``VALUES`` of a server under load from wrk."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{duration_s:.0f}s", "--timeout", "60s", "-s", str(WRK_SCRIPT), url],  # noqa: S607  # the one on PATH
        env=os.environ | {"CLIPS": "\n".join(map(str, files))},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def quick_load(url: str, files: list[Path], clients: int, duration_s: float) -> dict[str, float]:
    """``VALUES`` of a server with one request a file, one after the other: too few to measure with."""
    latencies_ms, n_failed = [], 0
    for path in files:
        content, start = path.read_bytes(), time.perf_counter()
        response = httpx.post(f"{url}/predict", files={"audio": ("clip.mp3", content)}, timeout=60)
        latencies_ms.append(1000 * (time.perf_counter() - start))
        n_failed += response.status_code != 200
    percentiles = np.percentile(latencies_ms, [50, 95, 99]).tolist()
    return dict(zip(VALUES, [*percentiles, 1000 / np.mean(latencies_ms), n_failed], strict=True))


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Args:
        clip_clients: numbers of concurrent clients that send clips.
        song_clients: of those that send songs.
        n_rounds: repetitions of each load.
        clip_s: seconds of each load with clips.
        song_s: seconds of each load with songs.
        warm_up_s: seconds of the load before the first measurement.
        memory_minutes: minutes of load during which the memory is watched.
        n_files: number of different clips.
        clips_per_song: 8 are about four minutes.
        load: measures a server.
    """

    clip_clients: tuple[int, ...] = (1, 16)
    song_clients: tuple[int, ...] = (4,)
    n_rounds: int = 3
    clip_s: float = 8
    song_s: float = 15
    warm_up_s: float = 5
    memory_minutes: float = 1
    n_files: int = N_FILES
    clips_per_song: int = 8
    load: Load = load


QUICK = Plan((1,), (1,), n_rounds=1, memory_minutes=0.01, n_files=2, clips_per_song=2, load=quick_load)


def make_songs(folder: Path, clips: list[Path], clips_per_song: int) -> list[Path]:
    """Write songs that consist of clips."""
    songs = []
    for number in range(N_SONGS):
        parts = [clips[(number * clips_per_song + index) % len(clips)] for index in range(clips_per_song)]
        decoded = [soundfile.read(path, dtype="float32", always_2d=True) for path in parts]
        songs.append(folder / f"song{number}.mp3")
        soundfile.write(songs[-1], np.concatenate([samples for samples, _ in decoded]), decoded[0][1], format="MP3")
    return songs


def usable(files: list[Path], model: ModelBundle) -> list[Path]:
    """The files that have a prediction: real collections contain silence."""
    usable_files = []
    for path in files:
        with suppress(AudioError):
            extract_clip_batch(decode_all(path, MAX_DURATION_S), model.manifest)
            usable_files.append(path)
    return usable_files


def work_without_server(files: list[Path], duration_s: float) -> float:
    """Clips a second from bytes to probabilities, in this process."""
    with bundle_dir("champion") as (folder, _):
        model = ModelBundle(folder)

    def predict(path: Path) -> None:
        with path.open("rb") as audio:
            clips = extract_clip_batch(decode_all(audio, MAX_DURATION_S), model.manifest)
            model.predict(clips.inputs(model.manifest))

    predict(files[0])
    start = time.perf_counter()
    for n_done, path in enumerate(itertools.cycle(files), start=1):
        predict(path)
        if time.perf_counter() > start + duration_s:
            return n_done / (time.perf_counter() - start)
    return 0.0


def without_server(files: list[Path], duration_s: float) -> float:
    """Clips a second of as many processes as there are cores, together."""
    script, names = str(Path(__file__).resolve()), [str(path) for path in files]
    command = [sys.executable, script, "--without-server", f"{duration_s:g}", *names]
    processes = [
        subprocess.Popen(command, env=os.environ | dict.fromkeys(THREAD_LIMITS, "1"), stdout=subprocess.PIPE, text=True)
        for _ in range(cores())
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def measure(kind: str, files: list[Path], plan: Plan, servers: dict[str, str]) -> list[list[str]]:
    """A row of the table for each number of clients; the servers, of which ours is the first, take turns."""
    of_songs = kind == "song"
    numbers, duration_s = (plan.song_clients, plan.song_s) if of_songs else (plan.clip_clients, plan.clip_s)
    limits: list[float] = []
    values: dict[tuple[str, int], list[dict[str, float]]] = {}
    for url in servers.values():
        if plan.load(url, files, WARM_UP_CLIENTS, plan.warm_up_s)["failed"]:
            raise RuntimeError(f"{url} fails")
    for _ in range(plan.n_rounds):
        limits.append(without_server(files, duration_s))
        for clients in numbers:
            for name, url in servers.items():
                values.setdefault((name, clients), []).append(plan.load(url, files, clients, duration_s))
    rows = []
    for clients in numbers:
        ours, *others = (
            {value: [each[value] for each in values[name, clients]] for value in VALUES} for name in servers
        )
        row = [kind, str(clients), *(spread(ours[value]) for value in ("p50", "p95", "p99", "rps"))]
        row += [f"{sum(ours['failed']):.0f}", spread(ratios(ours["rps"], limits))]
        for other in others:
            row += [spread(other["rps"]), spread(other["p99"]), spread(ratios(ours["rps"], other["rps"]))]
        rows.append(row)
    return rows


def measure_memory(name: str, url: str, process: int, files: list[Path], plan: Plan) -> str:
    """A sentence on the memory of a service under load: at a fifth of the time, and at its end."""
    samples, n_failed, end = [memory_mb(process)], 0.0, time.monotonic() + 60 * plan.memory_minutes
    while time.monotonic() < end:
        n_failed += plan.load(url, files, MEMORY_CLIENTS, max(1, 60 * plan.memory_minutes / 20))["failed"]
        samples.append(memory_mb(process))
    early, late = samples[max(1, len(samples) // 5)], samples[-1]
    return (
        f"Memory of all processes of {name} under {plan.memory_minutes:g} minutes of load from {MEMORY_CLIENTS}"
        f" clients: {early:.0f} MB after a fifth of it, {late:.0f} MB at the end ({(late / early - 1):+.1%});"
        f" {n_failed:.0f} failed requests."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory-minutes", type=float, default=Plan.memory_minutes)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another build, with a champion of its own")
    parser.add_argument("--without-server", nargs="+", metavar="SECONDS FILE", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one round of few requests; writes nothing, needs no wrk")
    options = parser.parse_args()
    if options.without_server:
        duration_s, *names = options.without_server
        print(work_without_server(list(map(Path, names)), float(duration_s)))
        return
    if shutil.which("wrk") is None and not options.quick:
        sys.exit("benchmarks/serving.py: wrk makes the load; apt-get install wrk")
    plan = QUICK if options.quick else Plan(memory_minutes=options.memory_minutes)
    model, _ = load_model("champion")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        started: dict[str, tuple[str, int]] = {}
        start_s: dict[str, float] = {}
        for name, command, checkout in (
            (OURS, SERVICE, None),
            (PLAIN, PLAIN_ROUTE, None),
            *([(BEFORE, SERVICE, options.before.resolve())] if options.before else []),
        ):
            begin = time.perf_counter()
            started[name] = stack.enter_context(running(*command, checkout=checkout))
            start_s[name] = time.perf_counter() - begin
        servers = {name: url for name, (url, _) in started.items()}
        clip_dir, song_dir = Path(temporary) / "clips", Path(temporary) / "songs"
        clip_dir.mkdir()
        song_dir.mkdir()
        source = prepare_clips(clip_dir, plan.n_files)
        clips = usable(sorted(clip_dir.iterdir()), model)
        rows = measure("clip", clips, plan, servers)
        songs = make_songs(song_dir, clips, plan.clips_per_song)
        rows += measure("song", songs, plan, servers)
        memory = [measure_memory(name, *started[name], clips, plan) for name in started if name != PLAIN]
    header = [
        "request",
        "clients",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "requests/s",
        "failed",
        "of the processes' clips/s",
    ]
    for name in (*servers,)[1:]:
        header += [f"{name}, requests/s", f"{name}, p99, ms", f"times {name}"]
    write(
        "serving",
        f"Clips of 30 s, stereo, 44.1 kHz, mp3, from {source}; songs are {plan.clips_per_song} of them; the champion is"
        f" the {model.manifest.name}. wrk on the same machine, {plan.clip_s:g} or {plan.song_s:g} s a value. The plain"
        " route calls librosa.load, librosa.feature.melspectrogram and the model's predict with the same weights. The"
        " processes, one a core, do decoding, features and forward pass without a server.",
        table(header, rows),
        "Ready after " + ", ".join(f"{start_s[name]:.1f} s ({name})" for name in started if name != PLAIN) + ".",
        *memory,
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
