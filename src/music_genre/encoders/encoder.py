"""A pretrained encoder: ``encoder.json``, which describes it, beside ``encoder.onnx``, from windows of audio to
embeddings.

The network takes ``audio``, (windows, window_length) float32, mono at ``sample_rate_hz``, and gives ``embedding``,
(windows, dimension) float32, and, where ``tags`` are named, ``tags``, (windows, tags) float32 in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.encoders.description import CONFIG, NETWORK, EncoderConfig, read_config
from music_genre.encoders.sessions import load_onnx
from music_genre.errors import MusicGenreError
from music_genre.files import file_sha256

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

AUDIO, EMBEDDING, TAGS = "audio", "embedding", "tags"  # names of the network's input and outputs
MAX_WINDOWS = 16  # of one call: memory stays flat for long recordings


@dataclass(frozen=True)
class Encoder:
    """An encoder that can be used.

    Args:
        folder: holds ``encoder.json`` and ``encoder.onnx``.
        config: the content of the former.
    """

    folder: Path
    config: EncoderConfig

    @classmethod
    def open(cls, folder: Path) -> Encoder:
        """Read ``encoder.json`` and make sure that ``encoder.onnx`` is the one it describes.

        Raises:
            MusicGenreError: a file is missing, cannot be read or is another.
        """
        config, network = read_config(folder / CONFIG), folder / NETWORK
        if not network.is_file():
            raise MusicGenreError(f"{network} is missing")
        found = file_sha256(network)
        if found != config.sha256:
            raise MusicGenreError(f"{network} has the SHA-256 {found}; {CONFIG} says {config.sha256}")
        return cls(folder, config)

    def load(self, n_threads: int = 1) -> LoadedEncoder:
        """The network, ready to run in so many threads; the folder may go.

        Raises:
            MusicGenreError: it cannot be loaded.
        """
        network = self.folder / NETWORK
        try:
            return LoadedEncoder(str(network), self.config, load_onnx(network.read_bytes(), n_threads))
        except Exception as error:  # ONNX Runtime has a class for each of its codes, and no common one
            raise MusicGenreError(f"{network} cannot be loaded: {_one_line(error)}") from error

    def encode(self, windows: np.ndarray) -> np.ndarray:
        """``LoadedEncoder.encode``, by a network that each process loads once."""
        return _load_once(self).encode(windows)


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder in memory.

    Args:
        name: of its file, for messages.
        config: what it says about itself.
        session: the network.
    """

    name: str
    config: EncoderConfig
    session: InferenceSession

    def encode(self, windows: np.ndarray) -> np.ndarray:
        """Embeddings of audio.

        Args:
            windows: (n, window_length) float32, mono at ``sample_rate_hz``.

        Returns:
            (n, dimension) float32.

        Raises:
            MusicGenreError: the network gives something else, or numbers that are not finite.
        """
        return self.encode_and_tag(windows)[0]

    def encode_and_tag(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``encode``, and from the same run (n, tags) float32: how likely each of ``config.tags`` is in each window."""
        sizes = {EMBEDDING: self.config.dimension, TAGS: len(self.config.tags)}
        wanted = [output for output, size in sizes.items() if size]
        audio = windows.astype(np.float32, copy=False)
        rows: dict[str, list[np.ndarray]] = {output: [] for output in wanted}
        try:
            for start in range(0, len(audio), MAX_WINDOWS):
                results = self.session.run(wanted, {AUDIO: audio[start : start + MAX_WINDOWS]})
                for output, result in zip(wanted, results, strict=True):
                    rows[output].append(result)
            arrays = {output: np.concatenate(rows[output]) for output in wanted if rows[output]}
        except Exception as error:  # as in ``Encoder.load``
            raise MusicGenreError(f"{self.name} cannot be run: {_one_line(error)}") from error
        for output, array in arrays.items():
            self._check(output, array, (len(audio), sizes[output]))
        embedding, tags = (arrays.get(o, np.empty((len(audio), size), np.float32)) for o, size in sizes.items())
        return embedding, tags

    def check(self) -> None:
        """Run it on one window and on several.

        Raises:
            MusicGenreError: it does not do what ``encoder.json`` says.
        """
        noise = np.random.default_rng(0).normal(0, 0.1, (3, self.config.window_length)).astype(np.float32)
        for n_windows in (1, 3):
            self.encode(noise[:n_windows])

    def _check(self, output: str, array: np.ndarray, shape: tuple[int, int]) -> None:
        if array.shape != shape or array.dtype != np.float32:
            raise MusicGenreError(f"{self.name}: {output} is {array.shape} {array.dtype}; expected {shape} float32")
        if not np.isfinite(array).all():
            raise MusicGenreError(f"{self.name}: {output} has numbers that are not finite")


def clip_windows(audio: np.ndarray, config: EncoderConfig, clip_seconds: float) -> np.ndarray:
    """The windows of one clip.

    Args:
        audio: (samples,) float32 at ``config.sample_rate_hz``; what is beyond ``clip_seconds`` is left out, and a
            shorter clip is repeated.
        config: of the encoder.
        clip_seconds: the length of every clip.

    Returns:
        (config.n_windows(clip_seconds), config.window_length) float32.
    """
    starts = config.hop_length * np.arange(config.n_windows(clip_seconds))
    clip = at_level(audio[: int(clip_seconds * config.sample_rate_hz)], config.level_dbfs)
    repeated = np.resize(clip, max(len(clip), int(starts[-1]) + config.window_length))
    return np.stack([repeated[start : start + config.window_length] for start in starts])


def at_level(audio: np.ndarray, level_dbfs: float | None) -> np.ndarray:
    """Samples (n,) float32 scaled to a root mean square in decibels under full scale; as they are where it is None, or
    they are all zero.
    """
    rms = float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if level_dbfs is not None else 0.0
    return audio * np.float32(10 ** ((level_dbfs or 0.0) / 20) / rms) if rms else audio


@lru_cache(maxsize=4)
def _load_once(encoder: Encoder) -> LoadedEncoder:
    return encoder.load()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
