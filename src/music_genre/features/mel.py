"""The log-mel transform, which the pipeline and the service share."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from music_genre.audio.signal import SILENCE_PEAK, AudioSignal, peak, resample
from music_genre.config import ParamsModel
from music_genre.errors import AudioError, IssueReason

FLOOR_DB = -80.0  # the smallest value of a spectrogram, librosa's `top_db`; short clips are padded with it
DB_PER_NEPER = 10 / np.log(10)  # decibels of a power whose natural logarithm is 1: 4.3429
FFT_BATCH = 64  # transforms at a time: their result stays in the processor's cache until the mel bands are summed
AMIN = 1e-10  # smaller powers count as this, librosa's `amin`

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


def log_mel(audio: np.ndarray, transform: MelConfig, silence_peak: float = SILENCE_PEAK) -> np.ndarray:
    """Log-mel spectrogram of one clip, the input of every model.

    Args:
        audio: (samples,) mono float32 in [-1, 1] at ``transform.sample_rate_hz``.
        transform: window, hop, bands and length; see ``MelConfig``.
        silence_peak: the largest distance from their mean that silent samples have.

    Returns:
        (transform.n_frames, transform.n_mels) float32 dB in [-80, 0]; 0 is the loudest cell of the whole clip.

    Raises:
        AudioError: the clip is silent or shorter than one window of the Fourier transform.
    """
    if len(audio) < transform.n_fft:
        raise AudioError(IssueReason.SHORT, f"{len(audio)} samples, one window has {transform.n_fft}")
    if peak(audio) < silence_peak:
        raise AudioError(IssueReason.SILENT, f"no sample above {20 * np.log10(silence_peak):.0f} dBFS")
    mel = power_to_db(mel_power(audio, transform))[: transform.n_frames]
    if mel.max() <= FLOOR_DB:
        raise AudioError(IssueReason.SILENT, f"the first {transform.frames_duration_s:.1f} s are silent")
    missing = transform.n_frames - len(mel)
    return np.pad(mel, ((0, missing), (0, 0)), constant_values=FLOOR_DB).astype(np.float32)


def mel_power(audio: np.ndarray, transform: MelConfig) -> np.ndarray:
    """Power in every mel band: what ``librosa.feature.melspectrogram`` gives, with its filters made once and no
    spectrum of the whole clip in memory.

    Args:
        audio: (samples,) float32.
        transform: see ``MelConfig``.

    Returns:
        (1 + samples // hop_length, n_mels) float32.
    """
    from scipy.fft import rfft

    padded = np.pad(audio, transform.n_fft // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, transform.n_fft)[:: transform.hop_length]
    window, filters = _hann(transform.n_fft), _mel_filters(transform)
    power = np.empty((len(windows), transform.n_mels), np.float32)
    for start in range(0, len(windows), FFT_BATCH):
        spectrum = rfft(windows[start : start + FFT_BATCH] * window, axis=1)
        power[start : start + FFT_BATCH] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return power


def power_to_db(power: np.ndarray) -> np.ndarray:
    """Power in decibels under its loudest cell, down to ``FLOOR_DB``: to the bit what ``librosa.power_to_db`` gives
    with ``ref=np.max``, without the seconds that a process takes to import it.
    """
    ref_db, power_db = (10 * np.log10(np.maximum(AMIN, values)) for values in (power.max(), power))
    relative_db = power_db - ref_db
    return np.asarray(np.maximum(relative_db, relative_db.max() + FLOOR_DB))


def to_db(mel: np.ndarray, scale: Literal["db", "ln_power"]) -> np.ndarray:
    """Decibels of ready spectrograms, any shape, float32.

    Args:
        mel: uint8 (dB = v / 255 * 80 - 80) or floats in ``scale``.
        scale: ``db``, or ``ln_power`` for the natural logarithm of power.
    """
    if mel.dtype == np.uint8:
        return (mel * np.float32(-FLOOR_DB / 255) + np.float32(FLOOR_DB)).astype(np.float32)
    factor = DB_PER_NEPER if scale == "ln_power" else 1.0
    return np.asarray(mel * factor, dtype=np.float32)


def extract_first_clip(recording: AudioSignal, transform: MelConfig) -> np.ndarray:
    """Log-mel spectrogram of a recording's first clip.

    Args:
        recording: at any sample rate; nothing after ``transform.clip_duration_s`` is used.
        transform: see ``MelConfig``.

    Returns:
        (transform.n_frames, transform.n_mels) float32 dB.

    Raises:
        AudioError: see ``log_mel``.
    """
    audio = resample(recording, transform.sample_rate_hz)
    return log_mel(audio[: _clip_samples(transform)], transform, recording.silence_peak)


def extract_clips(recording: AudioSignal, transform: MelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel spectrograms of a whole recording: clips that overlap by about half, each with its own 0 dB.

    A recording that one clip spans gives exactly what ``extract_first_clip`` gives. Silent clips are left out.

    Args:
        recording: at any sample rate.
        transform: see ``MelConfig``.

    Returns:
        (clips,) float64 start of each clip in seconds, and (clips, transform.n_frames, transform.n_mels) float32 dB.

    Raises:
        AudioError: every clip is silent, or the recording is shorter than one window of the Fourier transform.
    """
    audio = resample(recording, transform.sample_rate_hz)
    starts, clips, last_error = [], [], None
    for start in clip_starts(len(audio), transform):
        try:
            clips.append(log_mel(audio[start : start + _clip_samples(transform)], transform, recording.silence_peak))
            starts.append(start / transform.sample_rate_hz)
        except AudioError as error:
            last_error = error
    if last_error is not None and not clips:
        raise last_error
    return np.asarray(starts), np.stack(clips)


def clip_starts(n_samples: int, transform: MelConfig) -> list[int]:
    """First sample of each clip of a recording: evenly spaced, the last clip ends with the recording."""
    length = transform.n_frames * transform.hop_length
    if n_samples <= _clip_samples(transform):
        return [0]
    last = max(0, n_samples - length)
    return [int(start) for start in np.linspace(0, last, 1 + int(np.ceil(last / (length / 2))))]


@lru_cache(maxsize=8)
def upper_bands(transform: MelConfig) -> slice:
    """The mel bands that lie wholly in the upper half of the frequencies, from a quarter of the sample rate upwards."""
    first = int(np.argmax(_mel_filters(transform) > 0, axis=0).searchsorted(transform.n_fft / 4))
    return slice(first, transform.n_mels)


@lru_cache(maxsize=8)
def _hann(n_fft: int) -> np.ndarray:
    """(n_fft,) periodic Hann window."""
    from scipy.signal import get_window

    return np.asarray(get_window("hann", n_fft), np.float32)


@lru_cache(maxsize=8)
def _mel_filters(transform: MelConfig) -> np.ndarray:
    """(1 + n_fft // 2, n_mels) weights of every frequency in every band, librosa's (Slaney's scale and norm)."""
    from librosa.filters import mel

    filters = mel(sr=transform.sample_rate_hz, n_fft=transform.n_fft, n_mels=transform.n_mels)
    return np.ascontiguousarray(filters.T, np.float32)


def _clip_samples(transform: MelConfig) -> int:
    return int(transform.clip_duration_s * transform.sample_rate_hz)
