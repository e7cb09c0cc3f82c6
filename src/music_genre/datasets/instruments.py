"""Sounds and patterns that the styles of synthetic music are made of.

Sounds are (n,) float64 at 44,100 Hz, mono. A note or drum is rendered once and placed wherever its pattern has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

FloatArray = npt.NDArray[np.float64]

SAMPLE_RATE_HZ = 44_100
DRUM_GAINS: dict[str, tuple[float, ...]] = {"x": (1.0,), "o": (0.5,), ".": ()}


def decay(count: int, attack_s: float, fall_s: float) -> FloatArray:
    """Envelope (count,): a linear rise in ``attack_s`` times a fall to 1/e every ``fall_s``."""
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    return np.minimum(time_s / attack_s, 1.0) * np.exp(-time_s / fall_s)


def cycles(frequency_hz: float | FloatArray, count: int) -> FloatArray:
    """Phase in cycles, (count,), of a steady or moving frequency in Hz."""
    return np.cumsum(np.broadcast_to(frequency_hz, count)) / SAMPLE_RATE_HZ


def sine(frequency_hz: float | FloatArray, count: int) -> FloatArray:
    """Sine wave (count,) of a steady or moving frequency in Hz."""
    return np.asarray(np.sin(2.0 * np.pi * cycles(frequency_hz, count)))


def saw(frequency_hz: float, count: int) -> FloatArray:
    """Sawtooth (count,) of a frequency in Hz."""
    return 2.0 * (cycles(frequency_hz, count) % 1.0) - 1.0


def band(sound: FloatArray, low_hz: float = 0.0, high_hz: float = np.inf) -> FloatArray:
    """Keep a band of (n,), 12 dB an octave outside, both edges open unless given; (n,)."""
    from scipy import signal  # half a second, which every process that reads params would pay

    for kind, edge_hz in (("highpass", low_hz), ("lowpass", high_hz)):
        if 0.0 < edge_hz < np.inf:
            sections = signal.butter(2, edge_hz, kind, fs=SAMPLE_RATE_HZ, output="sos")
            sound = np.asarray(signal.sosfilt(sections, sound))
    return sound


def pluck(frequency_hz: float, burst: FloatArray, decay_s: float) -> FloatArray:
    """Karplus-Strong string: ``burst``, a period or more, in a loop that averages neighbours; (n,).

    The note is cut at three times ``decay_s``, the time in which it falls to 1/e or lower.
    """
    from scipy import signal

    period = int(SAMPLE_RATE_HZ / frequency_hz - 0.5)  # the average delays by half a sample
    loop = np.zeros(period + 2)
    loop[0], loop[period:] = 1.0, -0.5 * np.exp(-1.0 / (frequency_hz * decay_s))
    excitation = np.zeros(int(3.0 * decay_s * SAMPLE_RATE_HZ))
    excitation[:period] = burst[:period] - burst[:period].mean()
    return np.asarray(signal.lfilter([1.0], loop, excitation))


def partials(
    tone_hz: float,
    duration_s: float,
    levels: Sequence[float],
    fall_s: float,
    attack_s: float = 0.01,
    vibrato: float = 0.002,
) -> FloatArray:
    """Harmonics of a tone that wavers by ``vibrato``, the higher the sooner gone; (n,)."""
    time_s = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wavering_hz = tone_hz * (1.0 + vibrato * sine(6.0, len(time_s)))
    # Powers of the decaying fundamental are its harmonics, each decaying so much the faster.
    fundamental = np.exp(2j * np.pi * cycles(wavering_hz, len(time_s)) - time_s / fall_s)
    tone = np.polyval([*levels[::-1], 0.0], fundamental).imag
    return np.asarray(tone * np.minimum(time_s / attack_s, 1.0))


def kick(tone_hz: float, fall_s: float) -> FloatArray:
    """A drum whose tone drops to ``tone_hz``, (n,)."""
    count = int(4.0 * fall_s * SAMPLE_RATE_HZ)
    dropping_hz = tone_hz * (1.0 + 3.0 * decay(count, 1e-4, 0.025))
    return sine(dropping_hz, count) * decay(count, 0.002, fall_s)


def noise_burst(rng: Generator, low_hz: float, high_hz: float, fall_s: float) -> FloatArray:
    """A burst of noise in a band, (n,): cymbal, snare, clap, grain."""
    count = int(5.0 * fall_s * SAMPLE_RATE_HZ)
    noise = band(rng.standard_normal(count), low_hz, high_hz)
    noise *= decay(count, 0.001, fall_s) / np.abs(noise).max()
    return noise


def sequence(
    count: int,
    step_s: float,
    cells: Sequence[tuple[float, ...]],
    voice: Callable[[float], FloatArray],
    swing: float = 0.0,
) -> FloatArray:
    """Repeat a row of cells over (count,), each ``step_s`` long, every other one late by ``swing``.

    A cell holds what the voice is to sound together: frequencies in Hz, or gains; none is a rest.
    """
    track, sounds = np.zeros(count), dict[float, FloatArray]()
    for step in range(int(count / (step_s * SAMPLE_RATE_HZ)) + 1):
        start = int((step + swing * (step % 2)) * step_s * SAMPLE_RATE_HZ)
        for value in cells[step % len(cells)]:
            if value not in sounds:
                sounds[value] = voice(value)
            length = max(0, min(len(sounds[value]), count - start))
            track[start : start + length] += sounds[value][:length]
    return track


def beat(count: int, step_s: float, marks: str, drum: FloatArray, swing: float = 0.0) -> FloatArray:
    """Repeat a drum, "x" loud, "o" soft and "." not at all, a mark every ``step_s``; (count,)."""
    gains = [DRUM_GAINS[mark] for mark in marks]
    return sequence(count, step_s, gains, lambda gain: gain * drum, swing)


def hertz(pitch: float) -> float:
    """Frequency in Hz of a MIDI pitch in semitones."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def melody(
    tonic: int, scale: Sequence[int], roots: str, shape: str = "0", chord: Sequence[int] = (0,)
) -> list[tuple[float, ...]]:
    """Cells in Hz: the shape, in degrees of the scale or "." to rest, from each root in turn."""

    def spell(degree: int) -> float:
        return hertz(tonic + 12 * (degree // 7) + scale[degree % 7])

    return [
        () if step == "." else tuple(spell(int(root) + int(step) + above) for above in chord)
        for root in roots
        for step in shape
    ]
