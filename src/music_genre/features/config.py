"""The description of the mel transform: what the pipeline stores, the model carries and the service obeys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

FLOOR_DB = -80.0
"""The quietest value of a log-mel spectrogram, librosa's ``top_db``; short clips are padded with it."""


FEATURES_VERSION = 1
"""Rises with every change of code that changes the numbers of a spectrogram: decoding, downmix, resampling, mel bands.
Stored spectrograms are known by their file, the transform and this number.
"""


class MelConfig(BaseModel):
    """Everything that turns audio into what the networks see.

    Args:
        sample_rate_hz: audio is resampled to this.
        n_fft: samples a window of the short-time Fourier transform.
        hop_length: samples between two frames.
        n_mels: mel bands.
        frames: frames kept; 640 frames of 1,024 samples at 22,050 Hz are 29.7 s.
        clip_seconds: audio that one clip may span; its loudest cell is 0 dB, even when it lies after the last
            frame kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sample_rate_hz: Annotated[int, Field(ge=1000, le=384_000)]
    n_fft: Annotated[int, Field(ge=16, le=65_536)]
    hop_length: Annotated[int, Field(ge=1, le=65_536)]
    n_mels: Annotated[int, Field(ge=1, le=1024)]
    frames: Annotated[int, Field(ge=1, le=100_000)]
    clip_seconds: Annotated[float, Field(gt=0, le=3600)]

    @model_validator(mode="after")
    def hear_all_that_is_seen(self) -> MelConfig:
        if self.clip_seconds < self.window_seconds:
            raise ValueError(f"clip_seconds must be at least the {self.window_seconds:.1f} s that the frames cover")
        return self

    @property
    def window_seconds(self) -> float:
        """The audio that ``frames`` frames cover."""
        return self.frames * self.hop_length / self.sample_rate_hz
