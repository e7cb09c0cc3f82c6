"""The one mel transform: training and serving make their features here and nowhere else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from music_genre.errors import AudioError
from music_genre.features.audio import AudioSignal, is_silent, resample
from music_genre.features.config import FLOOR_DB, MelConfig

WINDOWS = 64
"""Fourier transforms at a time: what they give stays in the processor's cache until the mel bands are summed."""

AMIN = 1e-10
"""Power under this counts as this: librosa's ``amin``."""


def log_mel(audio: np.ndarray, transform: MelConfig) -> np.ndarray:
    """Log-mel spectrogram of one clip, as the networks see it.

    Args:
        audio: (samples,) mono float32 in [-1, 1] at ``transform.sample_rate_hz``.
        transform: window, hop, bands and length; see ``MelConfig``.

    Returns:
        (transform.frames, transform.n_mels) float32 dB in [-80, 0]; 0 is the loudest cell of the whole clip.

    Raises:
        AudioError: the clip is silent or shorter than one window of the Fourier transform.
    """
    if len(audio) < transform.n_fft:
        raise AudioError("short", f"{len(audio)} samples, one window takes {transform.n_fft}")
    if is_silent(float(np.max(np.abs(audio)))):
        raise AudioError("silent", "no sound above -80 dBFS")
    decibels = power_to_db(mel_power(audio, transform))[: transform.frames]
    if decibels.max() <= FLOOR_DB:
        raise AudioError("silent", f"no sound above {FLOOR_DB:.0f} dB of what follows the last frame")
    missing = transform.frames - len(decibels)
    return np.pad(decibels, ((0, missing), (0, 0)), constant_values=FLOOR_DB).astype(np.float32)


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
    taper, filters = _hann(transform.n_fft), _mel_filters(transform)
    power = np.empty((len(windows), transform.n_mels), np.float32)
    for start in range(0, len(windows), WINDOWS):
        spectrum = rfft(windows[start : start + WINDOWS] * taper, axis=1)
        power[start : start + WINDOWS] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return power


def power_to_db(power: np.ndarray) -> np.ndarray:
    """Power in decibels under its loudest cell, down to ``FLOOR_DB``: to the bit what ``librosa.power_to_db`` gives
    with ``ref=np.max``, without the seconds that a process takes to import it.
    """
    loudest, level = (10 * np.log10(np.maximum(AMIN, found)) for found in (power.max(), power))
    decibels = level - loudest
    return np.asarray(np.maximum(decibels, decibels.max() + FLOOR_DB))


def extract_first_clip(recording: AudioSignal, transform: MelConfig) -> np.ndarray:
    """Features of a recording's first clip.

    Args:
        recording: at any sample rate; what lies after ``transform.clip_seconds`` is not heard.
        transform: see ``MelConfig``.

    Returns:
        (transform.frames, transform.n_mels) float32 dB.

    Raises:
        AudioError: see ``log_mel``.
    """
    audio = resample(recording, transform.sample_rate_hz)
    return log_mel(audio[: _clip_samples(transform)], transform)


def extract_clips(recording: AudioSignal, transform: MelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Features of a whole song: clips that overlap by about half, each with its own 0 dB.

    A recording that one clip spans gives just what ``extract_first_clip`` gives. Clips without sound are left out.

    Args:
        recording: at any sample rate.
        transform: see ``MelConfig``.

    Returns:
        start of each clip (clips,) float64 seconds, and features (clips, transform.frames, transform.n_mels)
        float32 dB.

    Raises:
        AudioError: every clip is silent, or the recording is shorter than one window of the Fourier transform.
    """
    audio = resample(recording, transform.sample_rate_hz)
    starts, features, fault = [], [], None
    for start in clip_starts(len(audio), transform):
        try:
            features.append(log_mel(audio[start : start + _clip_samples(transform)], transform))
            starts.append(start / transform.sample_rate_hz)
        except AudioError as quiet:
            fault = quiet
    if fault is not None and not features:
        raise fault
    return np.asarray(starts), np.stack(features)


def clip_starts(samples: int, transform: MelConfig) -> list[int]:
    """First sample of each clip of a song of ``samples`` samples: evenly spaced, the last one ending with the song."""
    window = transform.frames * transform.hop_length
    if samples <= _clip_samples(transform):
        return [0]
    last = max(0, samples - window)
    return [int(start) for start in np.linspace(0, last, 1 + int(np.ceil(last / (window / 2))))]


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
    return int(transform.clip_seconds * transform.sample_rate_hz)
