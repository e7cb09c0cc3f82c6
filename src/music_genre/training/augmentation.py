"""What makes every epoch's clips a little different, so that a network learns the music and not the recording.

Plain arrays in, plain arrays out: nothing of this is part of a trained model.
"""

from __future__ import annotations

import numpy as np

from music_genre.models.params import ImprovedParams

EQ_COSINES = 3
"""Cosines over the bands that an equaliser's curve is made of: half a wave, one, one and a half."""


def augment(
    mel: np.ndarray, target: np.ndarray, params: ImprovedParams, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A batch as the network shall see it this time.

    Args:
        mel: (n, frames, n_mels) float32 dB.
        target: (n, classes) float32, one-hot.
        params: how much of each; 0 leaves a step out, but that a ``crop`` of 0 is one of the ``parts``.
        rng: where chance comes from.

    Returns:
        (n, ``crop`` or one of ``parts`` of the frames, n_mels) float32 dB, (n, classes) float32 whose rows sum to 1.
    """
    mel = (
        random_crop(mel, params.crop_fraction, rng)
        if params.crop_fraction
        else random_segment(mel, params.n_segments, rng)
    )
    if params.random_eq_db:
        mel = random_eq(mel, params.random_eq_db, rng)
    for axis, share in ((1, params.max_time_mask), (2, params.max_freq_mask)):
        mel = spec_augment_mask(mel, axis, share, rng)
    return mixup(mel, target, params.mixup, rng) if params.mixup else (mel, target)


def random_crop(mel: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A stretch of each clip that starts anywhere: (n, frames, n_mels) to (n, fraction * frames, n_mels)."""
    count, frames, _ = mel.shape
    length = max(1, round(fraction * frames))
    return _slices(mel, rng.integers(0, frames - length + 1, count), length)


def random_segment(mel: np.ndarray, n_segments: int, rng: np.random.Generator) -> np.ndarray:
    """One of the equal parts of each clip: (n, frames, n_mels) to (n, frames // n_segments, n_mels)."""
    count, frames, _ = mel.shape
    length = frames // n_segments
    return _slices(mel, rng.integers(0, n_segments, count) * length, length)


def _slices(mel: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    return np.take_along_axis(mel, (start[:, None] + np.arange(length))[:, :, None], axis=1)


def random_eq(mel: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """Turn the tone of each clip by a smooth curve over the bands, of ``decibels`` standard deviation. Same shape."""
    count, _, bands = mel.shape
    wave = np.cos(np.pi * np.outer(np.arange(1, EQ_COSINES + 1), np.arange(bands) + 0.5) / bands)
    curve = rng.normal(0, decibels * np.sqrt(2 / EQ_COSINES), (count, EQ_COSINES)) @ wave
    return np.asarray(mel + curve[:, None].astype(mel.dtype))


def spec_augment_mask(mel: np.ndarray, axis: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Hide one stretch of each clip behind the batch's mean of each band (SpecAugment: Park et al., Interspeech 2019).

    Args:
        mel: (n, frames, n_mels).
        axis: 1 hides frames, 2 hides bands.
        share: the longest stretch, of the axis; each clip's is drawn evenly from 0 to it.
        rng: where chance comes from.

    Returns:
        The same shape.
    """
    size = mel.shape[axis]
    length = rng.integers(0, int(share * size) + 1, (len(mel), 1))
    start = rng.integers(0, size - length + 1)
    places = np.arange(size)
    hidden = (places >= start) & (places < start + length)
    mean = mel.mean(axis=(0, 1), keepdims=True)
    return np.where(np.expand_dims(hidden, 3 - axis), mean, mel)


def mixup(mel: np.ndarray, target: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blend each clip and its target with another's (mixup: Zhang et al., ICLR 2018).

    Args:
        mel: (n, frames, n_mels) dB; decibels are blended.
        target: (n, classes).
        alpha: of the beta distribution that shares are drawn from: below 1, most blends are nearly one clip.
        rng: where chance comes from.
    """
    share = rng.beta(alpha, alpha, len(mel)).astype(np.float32)
    other = rng.permutation(len(mel))
    by_clip, by_target = share[:, None, None], share[:, None]
    return (
        by_clip * mel + (1 - by_clip) * mel[other],
        by_target * target + (1 - by_target) * target[other],
    )
