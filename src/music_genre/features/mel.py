"""The log-mel transform, which the pipeline and the service share."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from music_genre.audio.signal import SILENCE_PEAK, AudioSignal, peak, resample
from music_genre.errors import AudioError, IssueReason
from music_genre.features.params import DB_PER_NEPER, FLOOR_DB, MelConfig

FFT_BATCH = 64  # transforms at a time: their result stays in the processor's cache until the mel bands are summed
AMIN = 1e-10  # smaller powers count as this, librosa's `amin`


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
    return log_mel(audio[: clip_samples(transform)], transform, recording.silence_peak)


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
            clips.append(log_mel(audio[start : start + clip_samples(transform)], transform, recording.silence_peak))
            starts.append(start / transform.sample_rate_hz)
        except AudioError as error:
            last_error = error
    if last_error is not None and not clips:
        raise last_error
    return np.asarray(starts), np.stack(clips)


def clip_starts(n_samples: int, transform: MelConfig) -> list[int]:
    """First sample of each clip of a recording: evenly spaced, the last clip ends with the recording."""
    length = transform.n_frames * transform.hop_length
    if n_samples <= clip_samples(transform):
        return [0]
    last = max(0, n_samples - length)
    return [int(start) for start in np.linspace(0, last, 1 + int(np.ceil(last / (length / 2))))]


@lru_cache(maxsize=8)
def upper_bands(transform: MelConfig) -> slice:
    """The mel bands that lie wholly in the upper half of the frequencies, from a quarter of the sample rate upwards."""
    first = int(np.argmax(_mel_filters(transform) > 0, axis=0).searchsorted(transform.n_fft / 4))
    return slice(first, transform.n_mels)


def mel_band_borders_hz(transform: MelConfig) -> np.ndarray:
    """(n_mels + 1,) frequencies in Hz halfway between the centres of neighbouring bands."""
    centres = _mel_edges(transform.sample_rate_hz / 2, transform.n_mels)
    return np.asarray((centres[1:] + centres[:-1]) / 2)


@lru_cache(maxsize=8)
def _hann(n_fft: int) -> np.ndarray:
    """(n_fft,) periodic Hann window."""
    return (0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n_fft + 1)[:-1])).astype(np.float32)


@lru_cache(maxsize=8)
def _mel_filters(transform: MelConfig) -> np.ndarray:
    """(1 + n_fft // 2, n_mels) weights of every frequency in every band: triangles of the same area, whose edges are
    evenly spaced on the mel scale. To the bit librosa's default, without the second that its import takes.
    """
    frequencies = np.fft.rfftfreq(transform.n_fft, 1 / transform.sample_rate_hz)
    edges = _mel_edges(transform.sample_rate_hz / 2, transform.n_mels)
    widths = np.diff(edges)[:, np.newaxis]
    rising = (frequencies - edges[:-2, np.newaxis]) / widths[:-1]
    falling = (edges[2:, np.newaxis] - frequencies) / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    triangles *= (2 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    return np.ascontiguousarray(triangles.T)


def _mel_edges(max_hz: float, n_mels: int) -> np.ndarray:
    """(n_mels + 2,) frequencies in Hz, from 0 to ``max_hz``, evenly spaced on Slaney's mel scale: linear up to 1 kHz,
    logarithmic above (Auditory Toolbox, technical report 1998-010).
    """
    hz_per_mel, log_step = 200 / 3, np.log(6.4) / 27
    corner_hz, corner_mel = 1000.0, 1000.0 / hz_per_mel
    max_mel = max_hz / hz_per_mel if max_hz < corner_hz else corner_mel + np.log(max_hz / corner_hz) / log_step
    mel = np.linspace(0, max_mel, n_mels + 2)
    return np.where(mel < corner_mel, hz_per_mel * mel, corner_hz * np.exp(log_step * (mel - corner_mel)))


def clip_samples(transform: MelConfig) -> int:
    """Samples of a clip, of which the last may be in no frame."""
    return int(transform.clip_duration_s * transform.sample_rate_hz)
