"""What 106,574 clips (FMA-large) cost beside their decoding: a run's bookkeeping, and more workers than there are
cores here.

The bookkeeping is the real one, of tiny recordings. More workers are threads that wait as long as a clip of 30 s takes
on one core here, and give back as much; so the slope is that of the scheduler and of the process that takes results.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import psutil
from timing import in_process, seconds, table, write

from music_genre.features.params import MelConfig

N_CLIPS, N_WAITING, WORKERS = 106_574, 1_024, (2, 16, 64)
CLIP_S = 0.038  # of one core: identity, decoding, facts, spectrogram; see results/ingest.md
TINY = MelConfig(sample_rate_hz=8000, n_fft=64, hop_length=64, n_mels=4, n_frames=4, clip_duration_s=0.1)


def make_clips(folder: Path, n_clips: int) -> None:
    """Recordings of 30 ms of noise."""
    rng = np.random.default_rng(0)
    for number in range(n_clips):
        path = folder / f"{number % 100:02d}/{number}.wav"
        path.parent.mkdir(exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(rng.integers(-3000, 3000, 240, np.int16).tobytes())


def keep_books(folder: Path, n_clips: int) -> dict[str, float]:
    """Inspect tiny recordings and store their spectrograms, as the stages do."""
    import pandas as pd

    from music_genre.audio.folder import AudioFolder
    from music_genre.datasets.recordings import InspectionCache, inspect_files
    from music_genre.features.cache import build_store
    from music_genre.features.extraction import SpectrogramExtractor, audio_clips

    audio = AudioFolder(folder / "audio")
    names = [f"{number % 100:02d}/{number}.wav" for number in range(n_clips)]
    extractor = SpectrogramExtractor(TINY)
    cache = InspectionCache(folder / "inspect", ((folder / "clips", extractor),))
    start = time.perf_counter()
    files = inspect_files(audio, names, cache)
    inspected = time.perf_counter()
    tracks = pd.DataFrame(
        {"track_id": range(n_clips), "path": names, "audio_sha256": [file.audio_sha256 for file in files]}
    )
    splits = tracks[["track_id"]].assign(genre="noise", split="training")
    build_store(
        folder / "store",
        folder / "clips",
        splits,
        ["training"],
        audio_clips(audio, tracks, extractor),
        0,
    )
    stored = time.perf_counter()
    files = inspect_files(audio, names, cache)
    return {
        "inspect": inspected - start,
        "store": stored - inspected,
        "again": time.perf_counter() - stored,
        "rss_mb": psutil.Process().memory_info().rss / 2**20,
        "tasks": tasks_held(),
    }


def tasks_held() -> float:
    """Tasks that the scheduler of this process still knows."""
    from music_genre.cluster import _clusters

    return float(len(_clusters[""].client.cluster.scheduler.tasks))


def wait_for_clip(number: int) -> np.ndarray:
    """As long as a clip takes, and as large a result."""
    time.sleep(CLIP_S)
    return np.full((640, 128), number, np.float16)


def slope(n_workers: int, n_clips: int) -> float:
    """Seconds for clips that wait, at a scheduler with so many threads in two workers."""
    from music_genre.compute import map_clips

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        dask = [sys.executable, "-m", "dask"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        options = ["--host", "127.0.0.1", "--no-dashboard"]
        started = [subprocess.Popen([*dask, "scheduler", *options, "--port", "0", "--scheduler-file", file], **quiet)]
        try:
            while not (file.exists() and file.read_text()):
                time.sleep(0.05)
            os.environ["DASK_SCHEDULER_ADDRESS"] = json.loads(file.read_text())["address"]
            worker = [*dask, "worker", os.environ["DASK_SCHEDULER_ADDRESS"], *options, "--local-directory", folder]
            started += [
                subprocess.Popen([*worker, "--nthreads", str(n_workers // 2), "--no-nanny"], **quiet) for _ in range(2)
            ]
            list(map_clips(wait_for_clip, range(16 * n_workers), ""))
            return seconds(lambda: [None for _ in map_clips(wait_for_clip, range(n_clips), "")])
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the clips; writes nothing")
    parser.add_argument("--route", choices=("books", "slope"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.route == "books":
        print(json.dumps(keep_books(arguments.folder, arguments.count)))
        return
    if arguments.route == "slope":
        n_clips = int(os.environ["N_CLIPS"])
        print(json.dumps({"seconds": slope(arguments.count, n_clips)}))
        return
    share = 100 if arguments.quick else 1
    write("scale", books(N_CLIPS // share), slopes(N_WAITING // share), quick=arguments.quick)


def books(n_clips: int) -> str:
    """A table of the bookkeeping at a tenth and at all of the clips."""
    rows = []
    for count in (n_clips // 10, n_clips):
        folder = Path(tempfile.mkdtemp())
        try:
            (folder / "audio").mkdir()
            make_clips(folder / "audio", count)
            result = in_process(
                __file__, "--route", "books", "--count", str(count), "--folder", str(folder), poll_s=2.0
            )
        finally:
            shutil.rmtree(folder)
        values = result.values
        rows.append(
            [
                f"{count:,}",
                *(f"{values[name]:.0f}" for name in ("inspect", "store", "again", "rss_mb", "tasks")),
                f"{result.peak_mb:.0f}",
                f"{1000 * (values['inspect'] + values['store']) / count:.2f}",
            ]
        )
    header = ["clips", "inspect, s", "store, s", "inspect again, s", "MB at the end (run and scheduler)"]
    header += ["tasks held at the end", "peak MB of all processes", "ms a clip"]
    return f"Tiny recordings, {os.cpu_count()} workers:\n\n" + table(header, rows)


def slopes(n_clips: int) -> str:
    """A table of rates with more and more workers."""
    rows = []
    for n_workers in WORKERS:
        result = in_process(
            __file__, "--route", "slope", "--count", str(n_workers), variables={"N_CLIPS": str(n_clips)}
        )
        rate = n_clips / result.values["seconds"]
        ideal = n_workers / CLIP_S
        rows.append([str(n_workers), f"{rate:.0f}", f"{rate / ideal:.2f}", f"{N_CLIPS / rate / 60:.0f}"])
    header = ["workers", "clips a second", "of the ideal", f"minutes for {N_CLIPS:,} clips"]
    return f"{n_clips:,} clips that take {CLIP_S * 1000:.0f} ms of a worker and are 164 kB:\n\n" + table(header, rows)


if __name__ == "__main__":
    main()
