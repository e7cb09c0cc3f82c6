"""Data augmentation: random changes of training clips, so that a network learns the music and not the recording.

Arrays in, arrays out: nothing of this is part of a trained model.
"""

from __future__ import annotations

import numpy as np

from music_genre.models.params import ImprovedParams

EQ_COSINES = 3  # an equalizer curve is a sum of so many cosines over the bands: of 0.5, 1 and 1.5 periods


def augment(
    mel: np.ndarray, target: np.ndarray, params: ImprovedParams, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a batch.

    Args:
        mel: (n, frames, n_mels) float32 dB.
        target: (n, classes) float32, one-hot.
        params: strength of each step; 0 leaves it out, but ``crop_fraction`` 0 takes one of the ``n_segments``.
        rng: random numbers.

    Returns:
        (n, ``crop_fraction`` or 1 / ``n_segments`` of the frames, n_mels) float32 dB, and (n, classes) float32 whose
        rows sum to 1.
    """
    if params.crop_fraction:
        mel = random_crop(mel, params.crop_fraction, rng)
    else:
        mel = random_segment(mel, params.n_segments, rng)
    if params.random_eq_db:
        mel = random_eq(mel, params.random_eq_db, rng)
    mel = spec_augment_mask(mel, 1, params.max_time_mask, rng)
    mel = spec_augment_mask(mel, 2, params.max_freq_mask, rng)
    return mixup(mel, target, params.mixup, rng) if params.mixup else (mel, target)


def random_crop(mel: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A crop of each clip from anywhere in it: (n, frames, n_mels) to (n, fraction * frames, n_mels)."""
    n, n_frames, _ = mel.shape
    length = max(1, round(fraction * n_frames))
    return _slices(mel, rng.integers(0, n_frames - length + 1, n), length)


def random_segment(mel: np.ndarray, n_segments: int, rng: np.random.Generator) -> np.ndarray:
    """One of the equal segments of each clip: (n, frames, n_mels) to (n, frames // n_segments, n_mels)."""
    n, n_frames, _ = mel.shape
    length = n_frames // n_segments
    return _slices(mel, rng.integers(0, n_segments, n) * length, length)


def _slices(mel: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    return np.take_along_axis(mel, (start[:, None] + np.arange(length))[:, :, None], axis=1)


def random_eq(mel: np.ndarray, std_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add a random smooth curve over the bands, of standard deviation ``std_db``, to each clip. Same shape."""
    n, _, n_mels = mel.shape
    cosines = np.cos(np.pi * np.outer(np.arange(1, EQ_COSINES + 1), np.arange(n_mels) + 0.5) / n_mels)
    curve = rng.normal(0, std_db * np.sqrt(2 / EQ_COSINES), (n, EQ_COSINES)) @ cosines
    return np.asarray(mel + curve[:, None].astype(mel.dtype))


def spec_augment_mask(mel: np.ndarray, axis: int, max_fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mask consecutive frames or bands of each clip (SpecAugment: Park et al., Interspeech 2019). Masked values become
    the batch's mean of their band.

    Args:
        mel: (n, frames, n_mels).
        axis: 1 masks frames, 2 masks bands.
        max_fraction: of the axis, the longest mask; each clip's length is drawn uniformly from 0 to it.
        rng: random numbers.

    Returns:
        The same shape.
    """
    size = mel.shape[axis]
    length = rng.integers(0, int(max_fraction * size) + 1, (len(mel), 1))
    start = rng.integers(0, size - length + 1)
    index = np.arange(size)
    mask = (index >= start) & (index < start + length)
    mean = mel.mean(axis=(0, 1), keepdims=True)
    return np.where(np.expand_dims(mask, 3 - axis), mean, mel)


def mixup(mel: np.ndarray, target: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Average each clip and its target with another's, by a random weight (mixup: Zhang et al., ICLR 2018).

    Args:
        mel: (n, frames, n_mels) dB; decibels are averaged.
        target: (n, classes).
        alpha: of the beta distribution of the weights; below 1, most are near 0 or 1.
        rng: random numbers.
    """
    weight = rng.beta(alpha, alpha, len(mel)).astype(np.float32)
    other = rng.permutation(len(mel))
    mel_weight, target_weight = weight[:, None, None], weight[:, None]
    return (
        mel_weight * mel + (1 - mel_weight) * mel[other],
        target_weight * target + (1 - target_weight) * target[other],
    )
