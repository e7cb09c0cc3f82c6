"""What an encoder says about itself: ``encoder.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from music_genre.config import ParamsModel
from music_genre.errors import MusicGenreError
from music_genre.files import sha256

CONFIG, NETWORK = "encoder.json", "encoder.onnx"
MAX_CONFIG_BYTES = 1_000_000


class EncoderConfig(ParamsModel):
    """``encoder.json``.

    Args:
        name: of the encoder, for people.
        sample_rate_hz: audio is resampled to this.
        window_length: samples of a window; a shorter recording is repeated.
        hop_length: samples between the windows of a clip.
        dimension: numbers of an embedding.
        level_dbfs: root mean square that a clip is scaled to, in decibels under full scale; None: it keeps its level.
        license: of the weights.
        trained_on: the recordings that it was trained on, whose genres it may know by heart.
        source: where it comes from.
        sha256: of ``encoder.onnx``.
        tags: what the second output is about, in order.
    """

    name: str
    sample_rate_hz: Annotated[int, Field(ge=1000, le=384_000)]
    window_length: Annotated[int, Field(ge=16, le=10_000_000)]
    hop_length: Annotated[int, Field(ge=16, le=10_000_000)]
    dimension: Annotated[int, Field(ge=1, le=65_536)]
    level_dbfs: Annotated[float, Field(ge=-100, le=0)] | None
    license: str
    trained_on: str
    source: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    tags: tuple[str, ...] = ()

    @property
    def window_seconds(self) -> float:
        """The length of a window."""
        return self.window_length / self.sample_rate_hz

    @property
    def digest(self) -> str:
        """SHA-256 of all that determines embeddings: the network and how audio is cut and levelled for it."""
        return sha256(self.model_dump_json())

    def n_windows(self, clip_seconds: float) -> int:
        """Windows of a clip of this length, at least one."""
        return 1 + max(0, int(clip_seconds * self.sample_rate_hz) - self.window_length) // self.hop_length


def read_config(path: Path) -> EncoderConfig:
    """The content of an ``encoder.json``.

    Raises:
        MusicGenreError: it is missing or not valid; the message names the keys.
    """
    try:
        with path.open("rb") as file:
            return EncoderConfig.model_validate_json(file.read(MAX_CONFIG_BYTES))
    except OSError as error:
        raise MusicGenreError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
        ]
        raise MusicGenreError(f"{path}: {'; '.join(problems)}") from error
