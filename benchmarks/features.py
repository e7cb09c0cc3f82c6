"""Audio to spectrograms: the pipeline's own stage against the loop of the published study, and against decoding alone.

Run without arguments it measures; with ``<route> <folder> <clips>`` it is one of the processes measured.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soundfile
from timing import in_process, in_turns, ratios, spread, table, write

from music_genre.compute import CHUNK_SIZE
from music_genre.datasets.instruments import SAMPLE_RATE_HZ
from music_genre.datasets.synthesis import synthesise
from music_genre.features.store import CLIPS_PER_SHARD, write_shard
from music_genre.params import load_params
from music_genre.pipeline.spectrograms import spectrograms
from music_genre.runtime import cores

ROOT = Path(__file__).parents[1]
FILES, CLIPS, TURNS = 32, 256, 5
SCALES = (1, 4, 16)


def study(paths: list[Path]) -> dict[str, float]:
    """As the study's notebook has it: one process, one array that grows."""
    librosa.load(paths[0])
    start = time.perf_counter()
    found = np.empty((0, 640, 128))
    for path in paths:
        y, rate = librosa.load(path)
        power = librosa.feature.melspectrogram(y=y, sr=rate, n_fft=2048, hop_length=1024)
        mel = librosa.power_to_db(power, ref=np.max).T[:640]
        found = np.append(found, [mel], axis=0)
    return {"clip_ms": (time.perf_counter() - start) / len(paths) * 1000}


def decoding(paths: list[Path]) -> dict[str, float]:
    """The limit: libsndfile alone, one process."""
    soundfile.read(paths[0], dtype="float32")
    start = time.perf_counter()
    for path in paths:
        soundfile.read(path, dtype="float32")
    return {"clip_ms": (time.perf_counter() - start) / len(paths) * 1000}


def ours(paths: list[Path]) -> dict[str, float]:
    """As the stage does it: shards of float16 on disk. What starting the workers takes is measured before, and told
    apart.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        blip = folder / "blip.wav"
        soundfile.write(blip, np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
        start_up = staged([blip] * CHUNK_SIZE * cores(), folder)
        whole = staged(paths, folder)
    return {"clip_ms": (whole - start_up) / len(paths) * 1000, "start_up_s": start_up}


def staged(paths: list[Path], folder: Path) -> float:
    """Seconds from files to shards."""
    tracks = pd.DataFrame({"path": [path.name for path in paths]}, index=pd.RangeIndex(len(paths)))
    start = time.perf_counter()
    clips = spectrograms(paths[0].parent, tracks, load_params(ROOT / "params.yaml"))
    for number in range(0, len(paths), CLIPS_PER_SHARD):
        write_shard(folder, str(number), list(islice(clips, CLIPS_PER_SHARD)))
    list(clips)  # ends the workers
    return time.perf_counter() - start


def recordings(folder: Path) -> tuple[Path, str]:
    """30 s clips, stereo, 44.1 kHz, mp3: real ones where there are any."""
    real = os.environ.get("MUSIC_GENRE_REAL_DATA")
    if real:
        found = sorted((Path(real) / "fma_layout/fma_small").rglob("*.mp3"))
        whole = [path for path in found if path.stat().st_size > 300_000][:FILES]
        for path in whole:
            (folder / path.name).symlink_to(path)
        return folder, f"{len(whole)} recordings of music"
    for number in range(FILES):
        left, right = (synthesise("Rock", number, take, 30.0, 7) for take in (0, 1))
        soundfile.write(folder / f"{number}.mp3", np.stack([left, right], axis=1), SAMPLE_RATE_HZ, format="MP3")
    return folder, f"{FILES} synthetic clips"


def measure(folder: Path, source: str) -> None:
    def route(name: str, clips: int, cores: int | None = None) -> float:
        found = in_process(__file__, name, str(folder), str(clips), cores=cores)
        memory.setdefault((name, clips, cores), []).append(found.peak_mb)
        start_up.extend([found.figures["start_up_s"]] if "start_up_s" in found.figures else [])
        return found.figures["clip_ms"]

    memory: dict[tuple[str, int, int | None], list[float]] = {}
    start_up: list[float] = []
    names = {
        "the study's loop": ("study", CLIPS, None),
        "decoding alone": ("decoding", CLIPS, 1),
        "ours, 1 worker": ("ours", CLIPS, 1),
        "ours, 2 workers": ("ours", CLIPS, 2),
    }
    found = in_turns({name: lambda chosen=chosen: route(*chosen) for name, chosen in names.items()}, TURNS)
    rows = [
        [
            name,
            spread(found[name]),
            f"{1000 / statistics.median(found[name]):.1f}",
            f"{max(memory[chosen]):.0f}",
            spread(ratios(found["the study's loop"], found[name])),
            spread(ratios(found[name], found["decoding alone"])),
        ]
        for name, chosen in names.items()
    ]
    header = ["route", "ms a clip", "clips/s", "peak MB", "times the study's speed", "times decoding's cost"]
    scaled = in_turns({str(scale): lambda scale=scale: route("ours", CLIPS * scale, 2) for scale in SCALES}, 3)
    growth = [
        [
            f"{CLIPS * scale:,}",
            spread(scaled[str(scale)]),
            spread(ratios(scaled[str(scale)], scaled["1"])),
            f"{max(memory['ours', CLIPS * scale, 2]):.0f}",
        ]
        for scale in SCALES
    ]
    write(
        "features",
        f"{CLIPS} clips of 30 s, stereo, 44.1 kHz, mp3, from {source}. Memory is that of all processes of a route"
        f" together. Starting the workers takes {spread(start_up)} s, which is not in the figures.",
        table(header, rows),
        table(["clips, 2 workers", "ms a clip", f"times that of {CLIPS}", "peak MB"], growth),
    )


def main() -> None:
    if len(sys.argv) == 4:
        paths = sorted(Path(sys.argv[2]).iterdir())
        chosen = [paths[number % len(paths)] for number in range(int(sys.argv[3]))]
        print(json.dumps({"study": study, "decoding": decoding, "ours": ours}[sys.argv[1]](chosen)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure(*recordings(Path(temporary)))


if __name__ == "__main__":
    main()
