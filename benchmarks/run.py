"""Speed against named references in the same run; writes ``benchmarks/results.md``.

Each line is measured in turns with its reference, so that a busy moment of the machine hits both.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import librosa
import numpy as np
import soundfile

from music_genre.audio import decode
from music_genre.packed import load_predictor
from music_genre.params import load_params
from music_genre.sources.synthesis import SAMPLE_RATE_HZ, synthesise
from music_genre.spectrogram import clip_features
from music_genre.storage import save_network
from music_genre.training import build_published

ROOT = Path(__file__).parents[1]
REPEATS = 15


@dataclass(frozen=True)
class Comparison:
    """One line of the table; seconds a call, one figure a repeat."""

    what: str
    ours: list[float]
    reference: str
    theirs: list[float]

    def row(self) -> str:
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        return (
            f"| {self.what} | {spread(self.ours, 1000)} ms | {self.reference} | {spread(self.theirs, 1000)} ms "
            f"| {spread(ratios, 1)} |"
        )


def compare(what: str, ours: Callable[[], object], reference: str, theirs: Callable[[], object]) -> Comparison:
    """Time both in turns, after one call of each that is not counted."""
    ours()
    theirs()
    figures: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for work, seconds in zip((ours, theirs), figures, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return Comparison(what, figures[0], reference, figures[1])


def spread(figures: list[float], unit: float) -> str:
    """Median, with the quartiles behind it."""
    low, middle, high = statistics.quantiles([figure * unit for figure in figures], n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def features(folder: Path) -> Comparison:
    """One 30 s stereo mp3 to its spectrogram."""
    transform, path = load_params(ROOT / "params.yaml").spectrogram, folder / "clip.mp3"
    clip = synthesise("Rock", 0, 0, 30.0, 7)
    soundfile.write(path, np.stack([clip, 0.9 * clip], axis=1), SAMPLE_RATE_HZ, format="MP3")

    def plain() -> np.ndarray:
        y, rate = librosa.load(path, sr=22050)
        power = librosa.feature.melspectrogram(y=y, sr=rate, n_fft=2048, hop_length=1024)
        return librosa.power_to_db(power, ref=np.max).T[:640]

    def ours() -> np.ndarray:
        return clip_features(decode(path, transform.clip_seconds), transform)

    return compare("mp3 to spectrogram, one clip", ours, "librosa.load, melspectrogram, power_to_db", plain)


def forward(folder: Path, name: str) -> Comparison:
    """One clip through an untrained network, as published."""
    params = load_params(ROOT / "params.yaml")
    model = build_published(name, (640, 128), 8, getattr(params.models, name))
    save_network(model, folder / f"{name}.keras")
    predictor = load_predictor(folder / f"{name}.keras")
    clip = np.random.default_rng(0).normal(-40, 10, (1, 640, 128)).astype(np.float32)
    shaped = keras.ops.convert_to_tensor(clip.reshape(1, *model.input_shape[1:]))
    return compare(
        f"{name}, one clip", lambda: predictor.predict(clip), "the Keras model called eagerly", lambda: model(shaped)
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [features(folder).row(), *(forward(folder, name).row() for name in ("crnn", "parallel"))]
    table = [
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; median (quartiles) of "
        f"{REPEATS} turns. `make bench` makes this table.",
        "",
        "| what | ours | reference | reference takes | times as fast |",
        "|---|---|---|---|---|",
        *rows,
    ]
    (ROOT / "benchmarks/results.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    print("\n".join(table))


if __name__ == "__main__":
    main()
