"""The service under load, against a plain FastAPI route with the same weights, and against its work without a server.

``--memory-minutes 10`` looks at memory for longer. Load comes from wrk (Debian: ``apt-get install wrk``).
The champion of the checkout answers: ``make repro`` makes one.
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
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
from timing import memory_mb, ratios, seconds, spread, table, write

from features import recordings
from music_genre.cli._context import load_model
from music_genre.errors import AudioError
from music_genre.features.audio import decode_all
from music_genre.inference.predictor import extract_clip_batch
from music_genre.models.bundle import ModelBundle

SCRIPT, PLAIN = Path(__file__).with_suffix(".lua"), Path(__file__).with_name("plain_route.py")
CLIENTS = (1, 4, 16)
TURNS, CLIP_SECONDS, SONG_SECONDS = 3, 10, 20
"""A figure is taken for so long, so many times."""

SONG_CLIPS, SONGS = 8, 4
"""Clips a song: about four minutes."""

MAX_SECONDS = 900.0
FIGURES = ("p50", "p95", "p99", "rps", "failed")


@contextmanager
def serving(*command: str) -> Iterator[tuple[str, int]]:
    """A server on a free port (the last word of its command): its address and process, once it is ready."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, str(port)], stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            while not _answers(f"{address}/readyz"):
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(log.read().decode())
                time.sleep(0.2)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:  # noqa: S310  # our own server
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def load(address: str, files: list[Path], clients: int, duration: float) -> dict[str, float]:
    """What wrk measured: milliseconds, requests a second, and how many failed."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{duration:.0f}s", "--timeout", "60s", "-s", str(SCRIPT), address],  # noqa: S607  # the one on PATH
        env=os.environ | {"CLIPS": "\n".join(map(str, files))},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def songs(folder: Path, clips: list[Path]) -> list[Path]:
    """Whole songs, made of clips."""
    made = []
    for number in range(SONGS):
        chosen = [clips[(number * SONG_CLIPS + place) % len(clips)] for place in range(SONG_CLIPS)]
        sounds = [soundfile.read(path, dtype="float32", always_2d=True) for path in chosen]
        made.append(folder / f"song{number}.mp3")
        soundfile.write(made[-1], np.concatenate([sound for sound, _ in sounds]), sounds[0][1], format="MP3")
    return made


def answered(files: list[Path], model: ModelBundle) -> list[Path]:
    """Those of some files that can be answered: real collections hold silence."""
    heard = []
    for path in files:
        with suppress(AudioError):
            extract_clip_batch(decode_all(path, MAX_SECONDS), model.manifest)
            heard.append(path)
    return heard


def in_process(model: ModelBundle, files: list[Path]) -> list[float]:
    """Milliseconds of each file from bytes to probabilities, without any server: the limit."""

    def work(path: Path) -> None:
        with path.open("rb") as audio:
            model.predict(extract_clip_batch(decode_all(audio, MAX_SECONDS), model.manifest).mel)

    work(files[0])
    return [1000 * seconds(lambda path=path: work(path)) for path in files]


def measure(
    kind: str, files: list[Path], clients: tuple[int, ...], duration: float, ours: str, other: str
) -> list[list[str]]:
    """A row a number of clients."""
    model, _ = load_model("champion")
    limits, rows = [], []
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for address in (ours, other):
        if load(address, files, 4, 5)["failed"]:
            raise RuntimeError(f"{address} does not answer")
    for _ in range(TURNS):
        limits.append(statistics.median(in_process(model, files)))
        for count in clients:
            for address in (ours, other):
                found.setdefault((address, count), []).append(load(address, files, count, duration))
    for count in clients:
        mine, theirs = found[ours, count], found[other, count]
        figures = [[each[figure] for each in mine] for figure in FIGURES]
        rows.append(
            [
                kind,
                str(count),
                *(spread(values) for values in figures[:4]),
                f"{sum(figures[4]):.0f}",
                spread([each["rps"] for each in theirs]),
                spread([each["p50"] for each in theirs]),
                spread(ratios([each["rps"] for each in mine], [each["rps"] for each in theirs])),
                spread(ratios([each["p50"] for each in mine], limits)),
            ]
        )
    return rows


def memory(address: str, process: int, files: list[Path], minutes: float) -> str:
    """What the service holds while it is asked without a pause, from a fifth of the time on."""
    held, failed, end = [memory_mb(process)], 0.0, time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        failed += load(address, files, 4, max(5, 60 * minutes / 20))["failed"]
        held.append(memory_mb(process))
    early = held[max(1, len(held) // 5)]
    return (
        f"Memory of all its processes under {minutes:g} minutes of load from 4 clients: {early:.0f} MB after a fifth"
        f" of it, {held[-1]:.0f} MB at the end ({(held[-1] / early - 1):+.1%}); {failed:.0f} failed requests."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory-minutes", type=float, default=1.0)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("benchmarks/serving.py: wrk makes the load; apt-get install wrk")
    bento = (sys.executable, "-m", "bentoml", "serve", "music_genre.service.app:MusicGenre", "--host", "127.0.0.1")
    with (
        tempfile.TemporaryDirectory() as temporary,
        serving(*bento, "--port") as (ours, process),
        serving(sys.executable, str(PLAIN)) as (other, _),
    ):
        folder, source = recordings(Path(temporary))
        clips = answered(sorted(folder.iterdir()), load_model("champion")[0])
        rows = measure("clip", clips, CLIENTS, CLIP_SECONDS, ours, other)
        rows += measure("song", songs(Path(temporary), clips), CLIENTS, SONG_SECONDS, ours, other)
        held = memory(ours, process, clips, options.memory_minutes)
    header = ["asked", "clients", "p50, ms", "p95, ms", "p99, ms", "requests/s", "failed"]
    header += ["plain route, requests/s", "plain route, p50", "times its throughput", "times the limit's p50"]
    write(
        "serving",
        f"Clips of 30 s, stereo, 44.1 kHz, mp3, from {source}; songs are {SONG_CLIPS} of them. wrk on the same machine,"
        f" {CLIP_SECONDS} or {SONG_SECONDS} s a figure. The plain route calls librosa.load,"
        " librosa.feature.melspectrogram and model.predict with the same weights. The limit is decoding, features and"
        " forward pass in one process, without a server.",
        table(header, rows),
        held,
    )


if __name__ == "__main__":
    main()
