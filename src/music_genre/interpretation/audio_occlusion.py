"""Which parts of a clip the prediction of any bundle depends on, also of one that takes audio: occlusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from music_genre.encoders.description import EncoderConfig
from music_genre.features.mel import mel_band_borders_hz
from music_genre.features.params import SPECTROGRAMS, MelConfig
from music_genre.interpretation.saliency import N_BAND_BLOCKS, N_TIME_BLOCKS, block_index
from music_genre.models.bundle import ModelBundle

N_FFT = 1024  # of the transform in which a block of time and band is removed from audio


def occlude_clip(
    bundle: ModelBundle, inputs: Mapping[str, np.ndarray], mel: np.ndarray, transform: MelConfig, label: int
) -> np.ndarray:
    """How much a genre's probability drops where a block of time and band is taken out of the clip: of a spectrogram it
    becomes the mean level, of audio it becomes silent.

    Args:
        bundle: the model.
        inputs: what it takes of one clip.
        mel: (frames, n_mels) float32 dB of the clip, which says where the blocks are.
        transform: that made ``mel``.
        label: position of the genre.

    Returns:
        (time blocks, band blocks) float32, as ``saliency.occlusion`` gives it.
    """
    features = {name: bundle.encode(name, clip) for name, clip in inputs.items()}
    index, occluded = block_index(mel.shape), []
    transformed = {name: _stft(inputs[name][0]) for name in bundle.encoders}
    for block in range(int(index.max()) + 1):
        seconds, limits_hz = _block_limits(index == block, transform)
        one = {}
        if SPECTROGRAMS in features:
            one[SPECTROGRAMS] = np.where(index == block, mel.mean(), mel).astype(np.float32)
        for name, spectra in transformed.items():
            one[name] = features[name][0].copy()  # windows that do not reach into the block stay
            for window, audio in _audio_without_block(bundle.encoders[name].config, spectra, seconds, limits_hz):
                one[name][window] = bundle.encode(name, audio[np.newaxis, np.newaxis])[0, 0]
        occluded.append(one)
    stacked = {name: np.stack([one[name] for one in occluded]) for name in features}
    drops = bundle.predict_features(features)[0, label] - bundle.predict_features(stacked)[:, label]
    return np.asarray(drops.reshape(min(N_TIME_BLOCKS, mel.shape[0]), min(N_BAND_BLOCKS, mel.shape[1])))


def occlude_blocks(
    inputs: Mapping[str, np.ndarray],
    mel: np.ndarray,
    index: np.ndarray,
    transform: MelConfig,
    encoders: Mapping[str, EncoderConfig],
) -> dict[str, np.ndarray]:
    """What a model takes of a clip without each of its blocks, as ``occlude_clip`` takes them out.

    Args:
        inputs: what it takes of the clip, (1, ...).
        mel: (frames, n_mels) float32 dB of the clip.
        index: (frames, n_mels) int, from ``block_index``; negative where a cell is in no block.
        transform: that made ``mel``.
        encoders: by name, of ``inputs``.

    Returns:
        By the names of ``inputs``, (blocks, ...) float32.
    """
    occluded: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    transformed = {name: _stft(clip[0]) for name, clip in inputs.items() if name in encoders}
    for block in range(int(index.max()) + 1):
        if SPECTROGRAMS in inputs:
            occluded[SPECTROGRAMS].append(np.where(index == block, mel.mean(), mel).astype(np.float32))
        seconds, limits_hz = _block_limits(index == block, transform)
        for name, spectra in transformed.items():
            windows = inputs[name][0].copy()
            for number, audio in _audio_without_block(encoders[name], spectra, seconds, limits_hz):
                windows[number] = audio
            occluded[name].append(windows)
    return {name: np.stack(clips) for name, clips in occluded.items()}


def _block_limits(block: np.ndarray, transform: MelConfig) -> tuple[np.ndarray, tuple[float, float]]:
    """Where a block (frames, n_mels) bool lies: its begin and end in seconds, and its lowest and highest hertz."""
    frames, bands = (np.flatnonzero(block.any(axis=axis)) for axis in (1, 0))
    edges_hz = mel_band_borders_hz(transform)
    edges_hz[0], edges_hz[-1] = 0.0, np.inf  # what no band covers goes with the outermost
    seconds = np.array([frames[0], frames[-1] + 1]) * transform.hop_length / transform.sample_rate_hz
    return seconds, (edges_hz[bands[0]], edges_hz[bands[-1] + 1])


def _audio_without_block(
    config: EncoderConfig, spectra: np.ndarray, seconds: np.ndarray, limits_hz: tuple[float, float]
) -> Iterator[tuple[int, np.ndarray]]:
    """The number and (window_length,) float32 audio of each window of a clip that reaches into a block, without it."""
    from scipy.signal import istft

    bins = np.linspace(0, config.sample_rate_hz / 2, spectra.shape[1])
    in_band = (bins >= limits_hz[0]) & (bins < limits_hz[1])
    for window in range(len(spectra)):
        start = window * config.hop_length / config.sample_rate_hz
        times = start + np.arange(spectra.shape[2]) * N_FFT / 2 / config.sample_rate_hz
        in_time = (times >= seconds[0]) & (times < seconds[1])
        if not in_time.any() or not in_band.any():
            continue
        masked = np.where(np.outer(in_band, in_time), 0, spectra[window])
        audio = istft(masked, nperseg=N_FFT)[1][: config.window_length].astype(np.float32)
        yield window, np.pad(audio, (0, config.window_length - len(audio)))


def _stft(windows: np.ndarray) -> np.ndarray:
    """(windows, frequencies, frames) complex64 spectra of (windows, samples)."""
    from scipy.signal import stft

    return np.asarray(stft(windows, nperseg=N_FFT)[2])
