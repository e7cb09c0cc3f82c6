"""The settings of the transform from audio to spectrograms, and what spectrograms are measured by."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from music_genre.config import ParamsModel

SPECTROGRAMS, EMBEDDINGS = "spectrograms", "embeddings"  # folders of what models take; the latter has one an encoder

FLOOR_DB = -80.0  # the smallest value of a spectrogram, librosa's `top_db`; short clips are padded with it
DB_PER_NEPER = 10 / np.log(10)  # decibels of a power whose natural logarithm is 1: 4.3429

# Raise with every change of code that changes the numbers of a spectrogram: decoding, downmix, resampling, mel bands.
# Stored spectrograms are known by their file, the transform and this number.
FEATURES_VERSION = 2


class MelConfig(ParamsModel):
    """The section ``spectrogram``: all settings of the transform from audio to the models' input.

    Args:
        sample_rate_hz: audio is resampled to this.
        n_fft: samples of a window of the short-time Fourier transform.
        hop_length: samples between two frames.
        n_mels: mel bands.
        n_frames: frames of a spectrogram; 640 frames of 1,024 samples at 22,050 Hz are 29.7 s.
        clip_duration_s: audio that is decoded of a clip; its loudest cell is 0 dB, also where that lies after the last
            frame.
    """

    sample_rate_hz: Annotated[int, Field(ge=1000, le=384_000)]
    n_fft: Annotated[int, Field(ge=16, le=65_536)]
    hop_length: Annotated[int, Field(ge=1, le=65_536)]
    n_mels: Annotated[int, Field(ge=1, le=1024)]
    n_frames: Annotated[int, Field(ge=1, le=100_000)]
    clip_duration_s: Annotated[float, Field(gt=0, le=3600)]

    @model_validator(mode="after")
    def check_clip_covers_frames(self) -> MelConfig:
        """A clip must be as long as its frames."""
        if self.clip_duration_s < self.frames_duration_s:
            raise ValueError(
                f"clip_duration_s must be at least the {self.frames_duration_s:.1f} s that the frames cover"
            )
        return self

    @property
    def frames_duration_s(self) -> float:
        """Seconds of audio that ``n_frames`` frames cover."""
        return self.n_frames * self.hop_length / self.sample_rate_hz
