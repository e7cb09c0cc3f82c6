"""The encoder that comes with the set-up: the music tagger of the PyPI package ``musicnn``."""

from __future__ import annotations

from pathlib import Path

from music_genre.encoders import musicnn
from music_genre.encoders.description import CONFIG, NETWORK, EncoderConfig
from music_genre.errors import MusicGenreError
from music_genre.files import file_sha256

WHEEL = "musicnn-0.1.0-py3-none-any.whl"
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
LEVEL_DBFS = -20.0  # of a clip: without it, musicnn takes a soft recording for other music


def write_encoder(wheel: Path, folder: Path) -> None:
    """Write ``encoder.json`` and ``encoder.onnx``.

    Args:
        wheel: that ``make setup`` has downloaded.
        folder: exists.

    Raises:
        MusicGenreError: it is missing, or another file.
    """
    if not wheel.is_file():
        raise MusicGenreError(f"{wheel} is missing: `make setup` brings it")
    if file_sha256(wheel) != WHEEL_SHA256:
        raise MusicGenreError(f"{wheel} is not the file that was published: remove it, then `make setup`")
    musicnn.convert(wheel, folder / NETWORK)
    config = EncoderConfig(
        name="MSD_musicnn",
        sample_rate_hz=musicnn.SAMPLE_RATE_HZ,
        window_length=musicnn.WINDOW_LENGTH,
        hop_length=musicnn.WINDOW_LENGTH,
        dimension=musicnn.DIMENSION,
        level_dbfs=LEVEL_DBFS,
        license="ISC",
        trained_on="Million Song Dataset: about 200,000 songs with last.fm tags",
        source="musicnn 0.1.0 on PyPI, https://github.com/jordipons/musicnn",
        sha256=file_sha256(folder / NETWORK),
        tags=musicnn.TAGS,
    )
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
