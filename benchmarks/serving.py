"""The service under load, against a plain FastAPI route with the same weights, and against the same work without a
server.

The checkout's champion is served: ``make repro`` makes one. wrk makes the load (Debian: ``apt-get install wrk``);
``--memory-minutes 10`` watches the memory for longer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile
from timing import memory_mb, ratios, seconds, spread, table, write

from features import N_FILES, prepare_clips
from music_genre.audio.decoding import decode_all
from music_genre.cli._context import load_model
from music_genre.errors import AudioError
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle

SERVICE = (sys.executable, "-m", "bentoml", "serve", "music_genre.service.app:MusicGenre", "--host", "127.0.0.1")
PLAIN_ROUTE = (sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "plain_route:app")
WRK_SCRIPT = Path(__file__).with_suffix(".lua")
N_SONGS = 4
MAX_DURATION_S = 900.0  # of a recording, as in the service
WARM_UP_CLIENTS, MEMORY_CLIENTS = 4, 4
Load = Callable[[str, list[Path], int, float], dict[str, float]]  # URL, files, clients, seconds to VALUES
VALUES = ("p50", "p95", "p99", "rps", "failed")  # of a load: latencies in ms, requests a second, failed requests


@contextmanager
def running(*command: str) -> Iterator[tuple[str, int]]:
    """A server on a free port, once it is ready: its URL and process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
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
        clients: numbers of concurrent clients.
        n_rounds: repetitions of each load.
        clip_s: seconds of each load with clips.
        song_s: seconds of each load with songs.
        warm_up_s: seconds of the load before the first measurement.
        memory_minutes: minutes of load during which the memory is watched.
        n_files: number of different clips.
        clips_per_song: 8 are about four minutes.
        load: measures a server.
    """

    clients: tuple[int, ...] = (1, 4, 16)
    n_rounds: int = 3
    clip_s: float = 10
    song_s: float = 20
    warm_up_s: float = 5
    memory_minutes: float = 1
    n_files: int = N_FILES
    clips_per_song: int = 8
    load: Load = load


QUICK = Plan((1,), n_rounds=1, memory_minutes=0.01, n_files=2, clips_per_song=2, load=quick_load)


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


def limit_ms(model: ModelBundle, files: list[Path]) -> float:
    """The median over files of the milliseconds from bytes to probabilities, in this process, without a server."""

    def predict(path: Path) -> None:
        with path.open("rb") as audio:
            clips = extract_clip_batch(decode_all(audio, MAX_DURATION_S), model.manifest)
            model.predict(clips.inputs(model.manifest))

    predict(files[0])
    return statistics.median(1000 * seconds(lambda path=path: predict(path)) for path in files)


def measure(
    kind: str, files: list[Path], model: ModelBundle, plan: Plan, duration_s: float, service: str, plain_route: str
) -> list[list[str]]:
    """A row of the table for each number of clients; the service and the plain route take turns."""
    limits: list[float] = []
    values: dict[tuple[str, int], list[dict[str, float]]] = {}
    for url in (service, plain_route):
        if plan.load(url, files, WARM_UP_CLIENTS, plan.warm_up_s)["failed"]:
            raise RuntimeError(f"{url} fails")
    for _ in range(plan.n_rounds):
        limits.append(limit_ms(model, files))
        for clients in plan.clients:
            for url in (service, plain_route):
                values.setdefault((url, clients), []).append(plan.load(url, files, clients, duration_s))
    rows = []
    for clients in plan.clients:
        ours, theirs = (
            {name: [each[name] for each in values[url, clients]] for name in VALUES} for url in (service, plain_route)
        )
        rows.append(
            [
                kind,
                str(clients),
                *(spread(ours[name]) for name in ("p50", "p95", "p99", "rps")),
                f"{sum(ours['failed']):.0f}",
                spread(theirs["rps"]),
                spread(theirs["p50"]),
                spread(ratios(ours["rps"], theirs["rps"])),
                spread(ratios(ours["p50"], limits)),
            ]
        )
    return rows


def measure_memory(url: str, process: int, files: list[Path], plan: Plan) -> str:
    """A sentence on the memory of the service under load: at a fifth of the time, and at its end."""
    samples, n_failed, end = [memory_mb(process)], 0.0, time.monotonic() + 60 * plan.memory_minutes
    while time.monotonic() < end:
        n_failed += plan.load(url, files, MEMORY_CLIENTS, max(1, 60 * plan.memory_minutes / 20))["failed"]
        samples.append(memory_mb(process))
    early, late = samples[max(1, len(samples) // 5)], samples[-1]
    return (
        f"Memory of all its processes under {plan.memory_minutes:g} minutes of load from {MEMORY_CLIENTS} clients:"
        f" {early:.0f} MB after a fifth of it, {late:.0f} MB at the end ({(late / early - 1):+.1%});"
        f" {n_failed:.0f} failed requests."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory-minutes", type=float, default=Plan.memory_minutes)
    parser.add_argument("--quick", action="store_true", help="one round of few requests; writes nothing, needs no wrk")
    options = parser.parse_args()
    if shutil.which("wrk") is None and not options.quick:
        sys.exit("benchmarks/serving.py: wrk makes the load; apt-get install wrk")
    plan = QUICK if options.quick else Plan(memory_minutes=options.memory_minutes)
    model, _ = load_model("champion")
    with (
        tempfile.TemporaryDirectory() as temporary,
        running(*SERVICE) as (service, process),
        running(*PLAIN_ROUTE) as (plain_route, _),
    ):
        clip_dir, song_dir = Path(temporary) / "clips", Path(temporary) / "songs"
        clip_dir.mkdir()
        song_dir.mkdir()
        source = prepare_clips(clip_dir, plan.n_files)
        clips = usable(sorted(clip_dir.iterdir()), model)
        rows = measure("clip", clips, model, plan, plan.clip_s, service, plain_route)
        songs = make_songs(song_dir, clips, plan.clips_per_song)
        rows += measure("song", songs, model, plan, plan.song_s, service, plain_route)
        memory = measure_memory(service, process, clips, plan)
    header = ["request", "clients", "p50, ms", "p95, ms", "p99, ms", "requests/s", "failed"]
    header += ["plain route, requests/s", "plain route, p50", "times its throughput", "times the limit's p50"]
    write(
        "serving",
        f"Clips of 30 s, stereo, 44.1 kHz, mp3, from {source}; songs are {plan.clips_per_song} of them. wrk on the same"
        f" machine, {plan.clip_s:g} or {plan.song_s:g} s a value. The plain route calls librosa.load,"
        " librosa.feature.melspectrogram and model.predict with the same weights. The limit is decoding, features and"
        " forward pass in one process, without a server.",
        table(header, rows),
        memory,
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
