"""What it costs to turn copied recordings into spectrograms on every core, worker processes started, in the stages
``inspect`` and ``spectrograms``; splits and checks, which cost the same for any number of clips, stand beside it.

References: the build before recordings were decoded once for both (its own checkout, in turns), and decoding alone by
as many workers. Needs real recordings (MUSIC_GENRE_REAL_DATA).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import yaml
from timing import in_process, interleaved, ratios, seconds, spread, table, write

ROOT = Path(__file__).parents[1]
BEFORE = "89c2359"  # the commit whose stages each decoded every recording
N_CLIPS, FACTOR, N_ROUNDS, N_LARGE_ROUNDS = 128, 16, 5, 2
BEFORE_BUILD, DECODING = "the build before", "decoding alone"
STAGES = ("inspect", "split", "spectrograms", "validate")


def make_collection(folder: Path, n_clips: int) -> None:
    """Real recordings in folders of genres. Where more are asked for than there are, the first frames are cut off:
    other recordings of the same cost.
    """
    from music_genre.audio.mpeg import read_frame

    songs = real_recordings() or [noise()]
    for number in range(n_clips):
        content, start = songs[number % len(songs)], 0
        for _ in range(number // len(songs)):
            frame = read_frame(content, start)
            start += frame.size if frame else 0
        path = folder / f"genre {number % 4}/{number:05d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[start:])


def real_recordings() -> list[bytes]:
    """Clips of 30 s; none where there are none."""
    if "MUSIC_GENRE_REAL_DATA" not in os.environ:
        return []
    real = Path(os.environ["MUSIC_GENRE_REAL_DATA"])
    songs = sorted((real / "fma_layout/fma_small/700").glob("*.mp3"))[:120] + sorted((real / "fma_real").glob("*.mp3"))
    return [path.read_bytes() for path in songs]


def noise() -> bytes:
    """What ``--quick`` takes without real recordings."""
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, (44_100 * 12, 2)), 44_100, format="MP3")
    return file.getvalue()


def make_project(checkout: Path, music: Path) -> None:
    """Bring a collection to a checkout, by its own code."""
    params = yaml.safe_load((checkout / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["source"], params["data"]["folder"]["path"] = "folder", str(music)
    (checkout / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    shutil.rmtree(checkout / "data/audio", ignore_errors=True)
    for stage in ("scan", "fetch"):
        run_stage(checkout, stage)


def run_stage(checkout: Path, stage: str) -> None:
    subprocess.run(
        [sys.executable, "-m", f"music_genre.pipeline.{stage}"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def ingest() -> None:
    """The stages in the checkout around the working directory, from nothing but the copied files."""
    from importlib import import_module

    for made in (".cache/inspect", ".cache/spectrograms", "data/spectrograms"):
        shutil.rmtree(made, ignore_errors=True)
    mains = [import_module(f"music_genre.pipeline.{stage}").main for stage in STAGES]
    taken = {stage: seconds(main) for stage, main in zip(STAGES, mains, strict=True)}
    print(
        json.dumps({"seconds": taken["inspect"] + taken["spectrograms"], "checks": taken["split"] + taken["validate"]})
    )


def decode_alone() -> None:
    """Decode the same files by as many workers, and nothing else."""
    from music_genre.audio.folder import AudioFolder
    from music_genre.compute import map_clips

    audio = AudioFolder(Path("data/audio").resolve())
    names = [str(path.relative_to(audio.path)) for path in sorted(audio.path.rglob("*.mp3"))]
    taken = seconds(lambda: list(map_clips(partial(_decode, audio), names, "Decoding")))
    print(json.dumps({"seconds": taken, "checks": 0.0}))


def _decode(audio: object, name: str) -> int:
    from music_genre.audio.decoding import decode

    with audio.open(name) as file:
        return len(decode(file, 32).samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of few clips, this build alone; writes nothing")
    parser.add_argument("--route", choices=("ingest", "decode"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.route:
        (ingest if arguments.route == "ingest" else decode_alone)()
        return
    if not arguments.quick and "MUSIC_GENRE_REAL_DATA" not in os.environ:
        sys.exit("MUSIC_GENRE_REAL_DATA names no folder of real recordings")
    rounds = {24: 1} if arguments.quick else {N_CLIPS: N_ROUNDS, FACTOR * N_CLIPS: N_LARGE_ROUNDS}
    folder = Path(tempfile.mkdtemp())
    commits = {"now": "HEAD"} if arguments.quick else {"before": BEFORE, "now": "HEAD"}
    checkouts = {name: folder / name for name in commits}
    try:
        for name, commit in commits.items():
            subprocess.run(["git", "clone", "--quiet", ROOT, checkouts[name]], check=True)  # noqa: S607  # the one on PATH
            subprocess.run(["git", "checkout", "--quiet", commit], cwd=checkouts[name], check=True)  # noqa: S607  # the one on PATH
        blocks = [measure(folder, checkouts, count, n_rounds) for count, n_rounds in rounds.items()]
    finally:
        shutil.rmtree(folder)
    write("ingest", *blocks, quick=arguments.quick)


def measure(folder: Path, checkouts: dict[str, Path], n_clips: int, n_rounds: int) -> str:
    """A table of one collection."""
    music = folder / f"music-{n_clips}"
    make_collection(music, n_clips)
    for checkout in checkouts.values():
        make_project(checkout, music)
    peaks: dict[str, float] = {}
    checks: dict[str, list[float]] = {}

    def run(name: str, checkout: Path, route: str) -> float:
        source = {"PYTHONPATH": str(checkout / "src")}
        result = in_process(str(Path(__file__).resolve()), "--route", route, folder=checkout, variables=source)
        peaks[name] = max(peaks.get(name, 0.0), result.peak_mb)
        checks.setdefault(name, []).append(result.values["checks"])
        return result.values["seconds"]

    routes = {
        BEFORE_BUILD: partial(run, BEFORE_BUILD, checkouts.get("before", checkouts["now"]), "ingest"),
        "this build": partial(run, "this build", checkouts["now"], "ingest"),
        DECODING: partial(run, DECODING, checkouts["now"], "decode"),
    }
    values = interleaved(routes, n_rounds)
    rows = [
        [
            name,
            spread(taken),
            spread([1000 * value / n_clips for value in taken]),
            spread(checks[name]),
            f"{peaks[name]:.0f}",
            spread(ratios(values[BEFORE_BUILD], taken)),
            spread(ratios(taken, values[DECODING])),
        ]
        for name, taken in values.items()
    ]
    header = ["", "seconds", "ms a clip", "checks, s", "peak MB", "times as fast as before", "times decoding alone"]
    return f"{n_clips} clips of 30 s:\n\n" + table(header, rows)


if __name__ == "__main__":
    main()
