"""Music to encode, and FFmpeg's program, which encodes it and decodes independently of what is tested."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

Encode = Callable[..., bytes]


def synth(seconds: float, rate: int, seed: int) -> np.ndarray:
    """(samples, 2) float32: plucked notes somewhere between the sides, and a little hiss, which lossy codecs keep."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    music = rng.normal(0, 0.002, (len(time), 2))
    for start in np.arange(0, seconds, 0.25):
        first = int(start * rate)
        since = time[first : first + int(1.5 * rate)] - start
        hz, side = 110 * 2 ** (rng.integers(0, 36) / 12), rng.uniform(0.3, 0.7)
        note = sum(np.sin(2 * np.pi * hz * harmonic * since) / harmonic for harmonic in (1, 2, 3))
        note *= 0.2 * np.exp(-3 * since) * (1 - np.exp(-200 * since))
        music[first : first + len(note)] += np.outer(note, (side, 1 - side))
    return music.astype(np.float32)


@pytest.fixture(scope="session")
def music() -> Callable[..., np.ndarray]:
    """(samples, 2) float32 of so many seconds; another piece by each seed."""

    @lru_cache(maxsize=16)
    def make(seconds: float, rate: int = 44_100, seed: int = 0) -> np.ndarray:
        made = synth(seconds, rate, seed)
        made.flags.writeable = False
        return made

    return make


@pytest.fixture(scope="session")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """The bytes of a file with (samples, channels) audio, by a suffix and options of FFmpeg's program."""
    folder = tmp_path_factory.mktemp("encoded")

    def run(samples: np.ndarray, rate: int, suffix: str, options: str = "", *, layout: str = "") -> bytes:
        path = folder / f"file{suffix}"
        source = f"-f f32le -ar {rate} -ac {samples.shape[1]}"
        source += f" -channel_layout {layout}" if layout else ""
        command = f"-v error -y {source} -i pipe:0 {options}".split()
        ffmpeg(*command, str(path), stdin=samples.astype("<f4").tobytes())
        return path.read_bytes()

    return run


@pytest.fixture(scope="session")
def ffmpeg_decode(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    """(samples, channels) float32 of a file's bytes, by FFmpeg's program."""
    path = tmp_path_factory.mktemp("decoded") / "file"

    def run(content: bytes, channels: int, options: str = "", *, form: str = "") -> np.ndarray:
        path.write_bytes(content)
        source = ["-f", form] if form else []
        command = ["-v", "error", *source, "-i", str(path), *options.split(), "-f", "f32le", "pipe:1"]
        return np.frombuffer(ffmpeg(*command), "<f4").reshape(-1, channels)

    return run


@pytest.fixture(scope="session")
def delay() -> Callable[[np.ndarray, np.ndarray], int]:
    """By how many samples a signal lags behind another, from -8192 to 8192."""

    def measure(samples: np.ndarray, reference: np.ndarray) -> int:
        size = 2 ** int(np.ceil(np.log2(len(samples) + len(reference))))
        spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(reference, size))
        return int(np.argmax(np.roll(np.fft.irfft(spectrum, size), 8192)[:16_384])) - 8192

    return measure


@pytest.fixture(scope="session")
def error_of() -> Callable[[np.ndarray, np.ndarray], float]:
    """Root mean square of the difference of two signals, relative to that of the second."""

    def measure(samples: np.ndarray, reference: np.ndarray) -> float:
        length = min(len(samples), len(reference))
        difference = samples[:length].astype(np.float64) - reference[:length]
        return float(np.sqrt(np.mean(difference**2) / np.mean(reference[:length].astype(np.float64) ** 2)))

    return measure


def ffmpeg(*arguments: str, stdin: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    assert Path(arguments[-1]).exists() or done.stdout, f"{command}: {done.stderr.decode()}"
    return done.stdout
