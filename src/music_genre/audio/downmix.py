"""From the channels of a recording to mono in the range of a float file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_ABS_SAMPLE = 1e4  # larger samples of a float file are invalid: a broken program's, or bytes that are no audio
AUDIBLE_POWER = 1e-8  # of a sample, -80 dBFS
CANCELLATION = 0.01  # a mean with less of the channels' power, 20 dB, is what is left where they cancel each other

# Weights of ITU-R BS.775 (downward mixing of 3/2 sources to 1/0), up to a common factor; channels by FFmpeg's names.
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "FLC": 0.5**0.5, "FRC": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}
SURROUND_WEIGHT = 0.5
# Orders of WAV files that do not name their channels, as FFmpeg and players take them.
DEFAULT_LAYOUTS = {
    3: ("FL", "FR", "LFE"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}

# A float file whose samples reach far beyond 1 holds integers; these are the full scales that integers have.
OVERSCALE = 10.0  # peak, 20 dB over full scale, from which a file is looked at
OVERSCALE_LEVEL = 2.0  # and the level that a tenth of its samples exceed, without those that are 0
INTEGER_PEAK = 100.0  # which a hundredth must exceed; less is -50 dBFS of 16 bits, or floats that are just too loud
MIN_SOUND = 0.01  # of the samples are not 0; else what is wild among them tells nothing
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)


def downmix(samples: np.ndarray, layout: Sequence[str]) -> tuple[np.ndarray, bool]:
    """One channel of several.

    Args:
        samples: (n, channels) float32.
        layout: the channels' names; empty where the file does not tell.

    Returns:
        (n,) float32: the mean of one or two channels, weighted as ITU-R BS.775 where there are more, without the LFE;
        and whether that cancels out and the loudest channel was taken instead.
    """
    n_channels = samples.shape[1]
    if n_channels == 1:
        return samples[:, 0].copy(), False
    weights = _weights(n_channels, layout)
    mono = _weighted_sum(samples, weights)
    used = samples[:, weights > 0] if n_channels > 2 else samples
    power = float(np.vdot(used, used)) / used.shape[1]
    is_audible = power > len(samples) * AUDIBLE_POWER  # false for NaN
    if not is_audible or float(np.vdot(mono, mono)) >= CANCELLATION * power:
        return mono, False
    loudest = int(np.argmax(np.einsum("nc,nc->c", used, used)))
    return used[:, loudest].copy(), True


def integer_scale(mono: np.ndarray) -> float | None:
    """The full scale of samples that are integers in a float file; None for samples of a float's range, and for such
    that have just a few wild ones.

    Args:
        mono: (n,) float32 of any values.
    """
    magnitudes = np.abs(mono[np.isfinite(mono) & (mono != 0)])
    if len(magnitudes) < MIN_SOUND * len(mono):
        return None
    level, peak = np.quantile(magnitudes, (0.9, 0.99))
    if level <= OVERSCALE_LEVEL or peak < INTEGER_PEAK:
        return None
    return next((scale for scale in INTEGER_SCALES if peak <= scale), None)


def clear_invalid(mono: np.ndarray, max_abs: float) -> int:
    """Set samples that are NaN, infinite or beyond ``max_abs`` to 0, in place.

    Returns:
        How many there were.
    """
    invalid = ~(np.abs(mono) <= max_abs)
    mono[invalid] = 0
    return int(np.count_nonzero(invalid))


def _weights(n_channels: int, layout: Sequence[str]) -> np.ndarray:
    """(channels,) weights of sum 1; all the same where the channels are not known."""
    known = [name for name in layout if name != "NONE"]
    names = known if len(known) == n_channels else DEFAULT_LAYOUTS.get(n_channels, ())
    if n_channels == 2 or not names:
        return np.full(n_channels, 1 / n_channels, np.float32)
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    total = weights.sum()
    return weights / total if total else np.full(n_channels, 1 / n_channels, np.float32)


def _weighted_sum(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) of (n, channels). Adding columns is forty times faster than ``mean(axis=1)``."""
    if np.ptp(weights) == 0:
        mono: np.ndarray = samples[:, 0] + samples[:, 1]
        for channel in range(2, samples.shape[1]):
            mono += samples[:, channel]
        mono *= weights[0]
        return mono
    return np.asarray(samples @ weights)
