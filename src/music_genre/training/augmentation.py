"""What makes every epoch's clips a little different, so that a network learns the music and not the recording.

Plain arrays in, plain arrays out: nothing of this is part of a trained model.
"""

from __future__ import annotations

import numpy as np

from music_genre.params import NetworkParams

EQUALISER_WAVES = 3
"""Cosines over the bands that an equaliser's curve is made of: half a wave, one, one and a half."""


def augment(
    mel: np.ndarray, target: np.ndarray, settings: NetworkParams, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A batch as the network shall see it this time.

    Args:
        mel: (n, frames, n_mels) float32 dB.
        target: (n, classes) float32, one-hot.
        settings: how much of each; 0 leaves a step out, but that a ``crop`` of 0 is one of the ``parts``.
        random: where chance comes from.

    Returns:
        (n, ``crop`` or one of ``parts`` of the frames, n_mels) float32 dB, (n, classes) float32 whose rows sum to 1.
    """
    mel = crop(mel, settings.crop, random) if settings.crop else part(mel, settings.parts, random)
    if settings.equaliser:
        mel = equalise(mel, settings.equaliser, random)
    for axis, share in ((1, settings.time_mask), (2, settings.band_mask)):
        mel = mask(mel, axis, share, random)
    return mix(mel, target, settings.mixup, random) if settings.mixup else (mel, target)


def crop(mel: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A stretch of each clip that starts anywhere: (n, frames, n_mels) to (n, share * frames, n_mels)."""
    count, frames, _ = mel.shape
    length = max(1, round(share * frames))
    return _stretches(mel, random.integers(0, frames - length + 1, count), length)


def part(mel: np.ndarray, parts: int, random: np.random.Generator) -> np.ndarray:
    """One of the equal parts of each clip: (n, frames, n_mels) to (n, frames // parts, n_mels)."""
    count, frames, _ = mel.shape
    length = frames // parts
    return _stretches(mel, random.integers(0, parts, count) * length, length)


def _stretches(mel: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    return np.take_along_axis(mel, (start[:, None] + np.arange(length))[:, :, None], axis=1)


def equalise(mel: np.ndarray, decibels: float, random: np.random.Generator) -> np.ndarray:
    """Turn the tone of each clip by a smooth curve over the bands, of ``decibels`` standard deviation. Same shape."""
    count, _, bands = mel.shape
    wave = np.cos(np.pi * np.outer(np.arange(1, EQUALISER_WAVES + 1), np.arange(bands) + 0.5) / bands)
    curve = random.normal(0, decibels * np.sqrt(2 / EQUALISER_WAVES), (count, EQUALISER_WAVES)) @ wave
    return np.asarray(mel + curve[:, None].astype(mel.dtype))


def mask(mel: np.ndarray, axis: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Hide one stretch of each clip behind the batch's mean of each band (SpecAugment: Park et al., Interspeech 2019).

    Args:
        mel: (n, frames, n_mels).
        axis: 1 hides frames, 2 hides bands.
        share: the longest stretch, of the axis; each clip's is drawn evenly from 0 to it.
        random: where chance comes from.

    Returns:
        The same shape.
    """
    size = mel.shape[axis]
    length = random.integers(0, int(share * size) + 1, (len(mel), 1))
    start = random.integers(0, size - length + 1)
    places = np.arange(size)
    hidden = (places >= start) & (places < start + length)
    mean = mel.mean(axis=(0, 1), keepdims=True)
    return np.where(np.expand_dims(hidden, 3 - axis), mean, mel)


def mix(
    mel: np.ndarray, target: np.ndarray, alpha: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend each clip and its target with another's (mixup: Zhang et al., ICLR 2018).

    Args:
        mel: (n, frames, n_mels) dB; decibels are blended.
        target: (n, classes).
        alpha: of the beta distribution that shares are drawn from: below 1, most blends are nearly one clip.
        random: where chance comes from.
    """
    share = random.beta(alpha, alpha, len(mel)).astype(np.float32)
    other = random.permutation(len(mel))
    by_clip, by_target = share[:, None, None], share[:, None]
    return (
        by_clip * mel + (1 - by_clip) * mel[other],
        by_target * target + (1 - by_target) * target[other],
    )
