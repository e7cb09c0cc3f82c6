"""Audio to spectrograms: the pipeline's extraction against the loop of the published study, and against decoding alone.

Each route is measured in a process of its own: ``python features.py --route study FOLDER N_CLIPS``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path

import librosa
import numpy as np
import soundfile
from timing import in_process, interleaved, ratios, spread, table, write

from music_genre.audio.folder import AudioFolder
from music_genre.compute import CHUNK_SIZE
from music_genre.datasets.instruments import SAMPLE_RATE_HZ
from music_genre.datasets.synthesis import synthesize
from music_genre.features.cache import CLIPS_PER_SHARD, write_shard
from music_genre.features.extraction import SpectrogramExtractor, extract_files
from music_genre.params import load_params
from music_genre.runtime import cores

ROOT = Path(__file__).parents[1]
N_FILES, N_CLIPS, N_ROUNDS = 32, 256, 5
SCALES = (1, 4, 16)  # times N_CLIPS
N_SCALE_ROUNDS = 3


def study(paths: list[Path]) -> dict[str, float]:
    """The study's notebook: one process, one array that grows."""
    librosa.load(paths[0])
    start = time.perf_counter()
    clips = np.empty((0, 640, 128))
    for path in paths:
        y, rate = librosa.load(path)
        power = librosa.feature.melspectrogram(y=y, sr=rate, n_fft=2048, hop_length=1024)
        mel = librosa.power_to_db(power, ref=np.max).T[:640]
        clips = np.append(clips, [mel], axis=0)
    return {"clip_ms": (time.perf_counter() - start) / len(paths) * 1000}


def decoding(paths: list[Path]) -> dict[str, float]:
    """The limit: libsndfile alone, one process."""
    soundfile.read(paths[0], dtype="float32")
    start = time.perf_counter()
    for path in paths:
        soundfile.read(path, dtype="float32")
    return {"clip_ms": (time.perf_counter() - start) / len(paths) * 1000}


def pipeline(paths: list[Path]) -> dict[str, float]:
    """As stage ``spectrograms``: shards of float16 on disk. The start of the workers is measured first, and apart."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        short = folder / "short.wav"
        soundfile.write(short, np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
        start_up = extract_to_shards([short] * CHUNK_SIZE * cores(), folder)
        total = extract_to_shards(paths, folder)
    return {"clip_ms": (total - start_up) / len(paths) * 1000, "start_up_s": start_up}


def extract_to_shards(paths: list[Path], folder: Path) -> float:
    """Seconds from files to shards."""
    transform = load_params(ROOT / "params.yaml").spectrogram
    start = time.perf_counter()
    names, extractor = [path.name for path in paths], SpectrogramExtractor(transform)
    clips = enumerate(extract_files(AudioFolder(paths[0].parent), names, extractor))
    for number in range(0, len(paths), CLIPS_PER_SHARD):
        write_shard(folder, str(number), list(islice(clips, CLIPS_PER_SHARD)))
    list(clips)  # ends the workers
    return time.perf_counter() - start


ROUTES = {"study": study, "decoding": decoding, "pipeline": pipeline}


def prepare_clips(folder: Path, n_files: int) -> str:
    """Fill a folder with mp3 clips of 30 s, stereo, 44.1 kHz, real ones where there are any; returns what they are."""
    real = os.environ.get("MUSIC_GENRE_REAL_DATA")
    if real:
        files = sorted((Path(real) / "fma_layout/fma_small").rglob("*.mp3"))
        complete = [path for path in files if path.stat().st_size > 300_000][:n_files]
        for path in complete:
            (folder / path.name).symlink_to(path)
        return f"{len(complete)} recordings of music"
    for number in range(n_files):
        left, right = (synthesize("Rock", number, take, 30.0, 7) for take in (0, 1))
        soundfile.write(folder / f"{number}.mp3", np.stack([left, right], axis=1), SAMPLE_RATE_HZ, format="MP3")
    return f"{n_files} synthetic clips"


class Bench:
    """Runs routes in processes of their own and keeps what they report besides the time a clip.

    Args:
        folder: of the clips.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.start_up_s = folder, list[float]()
        self.peak_mb: dict[tuple[str, int, int | None], float] = {}

    def clip_ms(self, route: str, n_clips: int, n_cores: int | None) -> float:
        """Milliseconds a clip."""
        result = in_process(__file__, "--route", route, str(self.folder), str(n_clips), cores=n_cores)
        key = (route, n_clips, n_cores)
        self.peak_mb[key] = max(self.peak_mb.get(key, 0.0), result.peak_mb)
        if "start_up_s" in result.values:
            self.start_up_s.append(result.values["start_up_s"])
        return result.values["clip_ms"]


def compare_routes(bench: Bench, n_clips: int, n_rounds: int) -> str:
    """A table of all routes over the same clips."""
    routes: dict[str, tuple[str, int, int | None]] = {
        "the study's loop": ("study", n_clips, None),
        "decoding alone": ("decoding", n_clips, 1),
        "ours, 1 worker": ("pipeline", n_clips, 1),
        "ours, 2 workers": ("pipeline", n_clips, 2),
    }
    times = interleaved({name: partial(bench.clip_ms, *route) for name, route in routes.items()}, n_rounds)
    rows = [
        [
            name,
            spread(times[name]),
            f"{1000 / statistics.median(times[name]):.1f}",
            f"{bench.peak_mb[route]:.0f}",
            spread(ratios(times["the study's loop"], times[name])),
            spread(ratios(times[name], times["decoding alone"])),
        ]
        for name, route in routes.items()
    ]
    return table(["route", "ms a clip", "clips/s", "peak MB", "times the study's speed", "times decoding's cost"], rows)


def compare_scales(bench: Bench, counts: list[int], n_rounds: int) -> str:
    """A table of time and memory by the number of clips."""
    times = interleaved({str(count): partial(bench.clip_ms, "pipeline", count, 2) for count in counts}, n_rounds)
    first = str(counts[0])
    rows = [
        [
            f"{count:,}",
            spread(times[str(count)]),
            spread(ratios(times[str(count)], times[first])),
            f"{bench.peak_mb['pipeline', count, 2]:.0f}",
        ]
        for count in counts
    ]
    return table(["clips, 2 workers", "ms a clip", f"times that of {first}", "peak MB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of two clips; writes nothing")
    parser.add_argument("--route", nargs=3, metavar=("ROUTE", "FOLDER", "N_CLIPS"), help="measure one route here")
    options = parser.parse_args()
    if options.route:
        route, folder, n_clips = options.route
        paths = sorted(Path(folder).iterdir())
        print(json.dumps(ROUTES[route]([paths[number % len(paths)] for number in range(int(n_clips))])))
        return
    n_clips, n_files = (2, 1) if options.quick else (N_CLIPS, N_FILES)
    counts = [n_clips] if options.quick else [n_clips * scale for scale in SCALES]
    with tempfile.TemporaryDirectory() as temporary:
        source = prepare_clips(Path(temporary), n_files)
        bench = Bench(Path(temporary))
        routes = compare_routes(bench, n_clips, 1 if options.quick else N_ROUNDS)
        scales = compare_scales(bench, counts, 1 if options.quick else N_SCALE_ROUNDS)
    write(
        "features",
        f"{n_clips} clips of 30 s, stereo, 44.1 kHz, mp3, from {source}. Memory is that of all processes of a route"
        f" together. The start of the workers takes {spread(bench.start_up_s)} s, which is not in the times.",
        routes,
        scales,
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
