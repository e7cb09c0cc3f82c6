"""Eight styles of synthetic music under the genre names of FMA's small subset.

Caricatures, far enough apart for an ear and for a network. Until the last step sounds are (n,) float64 at 44,100 Hz,
mono: an encoder takes half as long for it. A note or drum is rendered once and placed wherever its pattern asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, default_rng
from scipy import signal

FloatArray = npt.NDArray[np.float64]

SAMPLE_RATE_HZ = 44_100
CEILING = 0.7  # encoded at 130 kbit/s, peaks come back up to a third higher
DRUM_GAINS: dict[str, tuple[float, ...]] = {"x": (1.0,), "o": (0.5,), ".": ()}
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PHRYGIAN_DOMINANT = (0, 1, 4, 5, 7, 8, 10)


class Artist(NamedTuple):
    """What the tracks of one artist share."""

    key: int  # semitones above the style's tonic
    tempo: float  # factor
    brightness: float  # factor on cut-off frequencies
    ring: float  # factor on decay times
    drums: float  # factor on the level of the drums
    treble: float  # gain of what is added above 2 kHz


def decay(count: int, attack_s: float, fall_s: float) -> FloatArray:
    """Envelope (count,): a linear rise in `attack_s` times a fall to 1/e every `fall_s`."""
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
    for kind, edge_hz in (("highpass", low_hz), ("lowpass", high_hz)):
        if 0.0 < edge_hz < np.inf:
            sections = signal.butter(2, edge_hz, kind, fs=SAMPLE_RATE_HZ, output="sos")
            sound = np.asarray(signal.sosfilt(sections, sound))
    return sound


def pluck(frequency_hz: float, burst: FloatArray, ring_s: float) -> FloatArray:
    """Karplus-Strong string: `burst`, a period or more, in a loop that averages neighbours; (n,).

    The note is cut at three times `ring_s`, the time in which it falls to 1/e or lower.
    """
    period = int(SAMPLE_RATE_HZ / frequency_hz - 0.5)  # the average delays by half a sample
    loop = np.zeros(period + 2)
    loop[0], loop[period:] = 1.0, -0.5 * np.exp(-1.0 / (frequency_hz * ring_s))
    excitation = np.zeros(int(3.0 * ring_s * SAMPLE_RATE_HZ))
    excitation[:period] = burst[:period] - burst[:period].mean()
    return np.asarray(signal.lfilter([1.0], loop, excitation))


def partials(
    tone_hz: float,
    seconds: float,
    levels: Sequence[float],
    fall_s: float,
    attack_s: float = 0.01,
    vibrato: float = 0.002,
) -> FloatArray:
    """Harmonics of a tone that wavers by `vibrato`, the higher the sooner gone; (n,)."""
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wavering_hz = tone_hz * (1.0 + vibrato * sine(6.0, len(time_s)))
    # Powers of the decaying fundamental are its harmonics, each decaying so much the faster.
    fundamental = np.exp(2j * np.pi * cycles(wavering_hz, len(time_s)) - time_s / fall_s)
    tone = np.polyval([*levels[::-1], 0.0], fundamental).imag
    return np.asarray(tone * np.minimum(time_s / attack_s, 1.0))


def kick(tone_hz: float, fall_s: float) -> FloatArray:
    """A drum whose tone drops to `tone_hz`, (n,)."""
    count = int(4.0 * fall_s * SAMPLE_RATE_HZ)
    dropping_hz = tone_hz * (1.0 + 3.0 * decay(count, 1e-4, 0.025))
    return sine(dropping_hz, count) * decay(count, 0.002, fall_s)


def hiss(rng: Generator, low_hz: float, high_hz: float, fall_s: float) -> FloatArray:
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
    """Repeat a row of cells over (count,), each `step_s` long, every other one late by `swing`.

    A cell holds what the voice is to sound together: frequencies in Hz, or gains; none is a rest.
    """
    track, sounds = np.zeros(count), dict[float, FloatArray]()
    for step in range(int(count / (step_s * SAMPLE_RATE_HZ)) + 1):
        start = int((step + swing * (step % 2)) * step_s * SAMPLE_RATE_HZ)
        for value in cells[step % len(cells)]:
            if value not in sounds:
                sounds[value] = voice(value)
            room = max(0, min(len(sounds[value]), count - start))
            track[start : start + room] += sounds[value][:room]
    return track


def beat(count: int, step_s: float, marks: str, drum: FloatArray, swing: float = 0.0) -> FloatArray:
    """Repeat a drum, "x" loud, "o" soft and "." not at all, a mark every `step_s`; (count,)."""
    gains = [DRUM_GAINS[mark] for mark in marks]
    return sequence(count, step_s, gains, lambda gain: gain * drum, swing)


def hertz(pitch: float) -> float:
    """Frequency in Hz of a MIDI pitch in semitones."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / 12.0))


def line(
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


def electronic(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Four on the floor at 128 a minute, sawtooth arpeggio under a sweeping filter."""
    step_s, length = 15.0 / 128.0 / artist.tempo, SAMPLE_RATE_HZ // 4
    roots, shape = rng.choice(["0534", "0056", "0354"]), "".join(rng.permutation([*"02479742"]))
    fall = decay(length, 0.003, 0.09 * artist.ring)
    notes = line(57 + artist.key, MINOR, roots, 2 * shape)
    arpeggio = sequence(count, step_s, notes, lambda hz: saw(hz, length) * fall)
    dark, bright = band(arpeggio, 0, 500), band(arpeggio, 0, 6000 * artist.brightness)
    sweep = 0.5 + 0.5 * sine(1.0 / 7.5, count)
    notes = line(33 + artist.key, MINOR, roots, 4 * "..00")
    bass = sequence(count, step_s, notes, lambda hz: band(saw(hz, length) * fall, 0, 400))
    drums = 1.3 * beat(count, step_s, "x...", kick(48, 0.12))
    drums += 0.35 * beat(count, step_s, "..x.", hiss(rng, 7000, 16000, 0.06))
    drums += 0.12 * beat(count, step_s, "xoxo", hiss(rng, 9000, 16000, 0.015))
    return 0.5 * (dark + sweep * (bright - dark)) + 0.7 * bass + artist.drums * drums


def experimental(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Inharmonic frequency-modulated drones under clouds of noise grains, no beat."""
    track = np.zeros(count)
    for ratio in (1.0, 1.9 * artist.ring, 4.3 * artist.brightness):
        carrier_hz = hertz(45 + artist.key) * ratio
        depth_hz = 4.0 * carrier_hz * artist.brightness * sine(rng.uniform(0.03, 0.15), count)
        modulator_hz = depth_hz * sine(carrier_hz * rng.uniform(1.3, 2.8), count)
        track += sine(carrier_hz + modulator_hz, count) / ratio
    # Sparse on a grid of 20 ms and never repeated: no pulse to be heard.
    cells = [(hz,) if hz < 9000 else () for hz in rng.integers(1, 60, count // 882 + 1) * 600.0]
    ring_s = 0.05 * artist.ring
    return track + sequence(count, 0.02, cells, lambda hz: hiss(rng, hz, 1.1 * hz, ring_s))


def folk(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A guitar picked in major at 95 a minute, no drums."""
    step_s, tonic = 30.0 / 95.0 / artist.tempo, 48 + artist.key
    roots, shape = rng.choice(["0340", "0453", "0534"]), rng.choice(["72429424", "04797494"])
    burst = band(rng.uniform(-1, 1, 1024), 0, 3000 * artist.brightness)

    def guitar(frequency_hz: float) -> FloatArray:
        return pluck(frequency_hz, burst, 0.35 * artist.ring)

    picked = sequence(count, step_s, line(tonic, MAJOR, roots, shape), guitar, swing=0.06)
    thumb = sequence(count, 4 * step_s, line(tonic - 12, MAJOR, roots, "04"), guitar)
    return picked + 1.2 * thumb


def hip_hop(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A swung boom-bap beat at 88 a minute, sub-bass, muffled chords, vinyl crackle."""
    step_s, ring = 15.0 / 88.0 / artist.tempo, artist.ring
    roots = rng.choice(["0033", "0304", "0533"])
    marks = rng.choice(["x.....x...x.....", "x..x......x..o..", "x......x..xo...."])
    drums = 1.2 * beat(count, step_s, marks, kick(55, 0.09), swing=0.3)
    drums += 0.9 * beat(count, step_s, "....x.......x..o", hiss(rng, 900, 7000, 0.07), swing=0.3)
    drums += 0.2 * beat(count, step_s, "x.xox.xo", hiss(rng, 6000, 12000, 0.025), swing=0.3)
    notes = line(33 + artist.key, MINOR, roots, "0.....0.....4...")
    bass = sequence(count, step_s, notes, lambda hz: partials(hz, 0.7, (1.0, 0.15), 0.5))
    notes = line(57 + artist.key, MINOR, roots, "00", (0, 2, 4, 6))
    keys = sequence(count, 8 * step_s, notes, lambda hz: partials(hz, 1.2, (1.0, 0.2), 0.5 * ring))
    crackle = np.where(rng.random(count) < 4e-4, rng.uniform(-0.5, 0.5, count), 0.0)
    return artist.drums * drums + 0.9 * bass + 0.12 * keys + band(crackle, 1500)


def instrumental(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A slow pad with scattered piano-like notes, no drums."""
    step_s, tonic = 0.55 / artist.tempo, 60 + artist.key
    roots, shape = rng.choice(["0534", "0253", "3040"]), "".join(rng.choice([*"0247..."], size=7))
    notes = line(tonic - 12, MAJOR, roots, "0", (-7, 0, 4))
    pad = sequence(count, 8 * step_s, notes, lambda hz: partials(hz, 5.0, (1.0, 0.5), 1.6, 2.0))
    notes, levels = line(tonic, MAJOR, roots, "7" + shape), (1.0, 0.5, 0.3, 0.2)
    return 0.3 * pad + 0.5 * sequence(
        count, step_s, notes, lambda hz: partials(hz, 2.5, levels, 0.9 * artist.ring, 0.005)
    )


def international(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A plucked lead in Phrygian dominant over a drone, hand drum in 7/8."""
    step_s, tonic = 0.19 / artist.tempo, 50 + artist.key
    walk = np.abs(np.cumsum(rng.choice([-2, -1, -1, 1, 1, 2], size=28)) % 12 - 6)
    notes = line(tonic + 12, PHRYGIAN_DOMINANT, "0", "".join(2 * str(degree) for degree in walk))
    burst = rng.uniform(-1, 1, 1024)
    lead = sequence(count, step_s / 2, notes, lambda hz: pluck(hz, burst, 0.12 * artist.ring))
    drone = saw(hertz(tonic - 12), count) + saw(hertz(tonic - 5), count)
    drums = beat(count, step_s, "x..x.o.", kick(85, 0.11))
    drums += 0.8 * beat(count, step_s / 2, "..o.o...x.o.x.", hiss(rng, 1800, 3500, 0.02))
    buzz = band(drone, 250, 1200 * artist.brightness)
    return 0.7 * lead + 0.35 * buzz + 0.7 * artist.drums * drums


def pop(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Four chords in major at 118 a minute, a bright vibrato lead, claps."""
    step_s, tonic, ring = 30.0 / 118.0 / artist.tempo, 60 + artist.key, artist.ring
    roots, shape = rng.choice(["0453", "5304", "0534"]), "".join(rng.choice([*"0124."], size=3))
    drums = beat(count, step_s, "x...x...", kick(60, 0.08))
    drums += 0.9 * beat(count, step_s, "..x.", hiss(rng, 1000, 5000, 0.05))
    drums += 0.25 * beat(count, step_s, "ox", hiss(rng, 8000, 15000, 0.03))
    notes = line(tonic, MAJOR, roots, "00", (-7, 0, 2, 4))
    chords = sequence(count, 4 * step_s, notes, lambda hz: partials(hz, 1.0, (1.0, 0.5, 0.3), 1.2))
    levels = [order ** (-0.7 / artist.brightness) for order in range(1, 8)]
    notes = line(tonic + 12, MAJOR, roots, "0" + shape)
    return (artist.drums * drums + 0.3 * chords) + 0.45 * sequence(
        count, 2 * step_s, notes, lambda hz: partials(hz, 0.5, levels, 4 * ring, 0.04, 0.014)
    )


def rock(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Distorted power chords and a backbeat at 140 a minute."""
    step_s, length = 30.0 / 140.0 / artist.tempo, int(0.35 * SAMPLE_RATE_HZ)
    roots, shape = rng.choice(["0560", "0365", "0056"]), rng.choice(["00000000", "00.00.00"])
    fall = decay(length, 0.004, 0.3 * artist.ring)

    def power_chord(root_hz: float) -> FloatArray:
        root, fifth = saw(root_hz, length), saw(1.498 * root_hz, length)
        return (root + fifth + saw(2.003 * root_hz, length)) * fall

    notes = line(40 + artist.key, MINOR, roots, shape)
    guitar = np.tanh(5.0 * sequence(count, step_s, notes, power_chord))
    drums = beat(count, step_s, "x..xx...", kick(60, 0.08))
    drums += beat(count, step_s, "..x.", hiss(rng, 300, 9000, 0.08))
    drums += 0.35 * beat(count, step_s, "xo", hiss(rng, 4000, 14000, 0.12))
    return 0.5 * band(guitar, 90, 5000 * artist.brightness) + artist.drums * drums


# Each takes (samples, artist, generator of the track) and returns (samples,), at any loudness.
STYLES: dict[str, Callable[[int, Artist, Generator], FloatArray]] = {
    "Electronic": electronic,
    "Experimental": experimental,
    "Folk": folk,
    "Hip-Hop": hip_hop,
    "Instrumental": instrumental,
    "International": international,
    "Pop": pop,
    "Rock": rock,
}


def master(track: FloatArray, artist: Artist) -> npt.NDArray[np.float32]:
    """Equalise, bring to one loudness and limit a track (n,)."""
    track = track + artist.treble * band(track, 2000)
    track *= 0.1 / np.sqrt(np.mean(track**2))
    return (CEILING * np.tanh(track / CEILING)).astype(np.float32)


def synthesise(genre: str, artist: int, track: int, seconds: float, seed: int) -> npt.NDArray[np.float32]:
    """Synthesise one clip; the same arguments give the same clip.

    Args:
        genre: A key of `STYLES`.
        artist: Number within the genre; settles key, tempo, timbre and mix.
        track: Number within the artist; settles chords and patterns.
        seconds: Length of the clip in seconds.
        seed: Of the whole collection, not negative.

    Returns:
        Samples at 44,100 Hz, (seconds * rate,) float32 in [-1, 1].

    Raises:
        ValueError: If no style has the genre's name.
    """
    if genre not in STYLES:
        raise ValueError(f"no style for genre {genre!r}; expected one of {', '.join(STYLES)}")
    entropy = [seed, list(STYLES).index(genre), artist]
    # Tracks count from 1 here: short entropy is padded with zeros, so 0 is the artist's own.
    traits = default_rng([*entropy, 0])
    low, high = (0.93, 0.75, 0.75, 0.75, -0.5), (1.07, 1.35, 1.35, 1.25, 0.6)
    performer = Artist(int(traits.integers(-4, 5)), *map(float, traits.uniform(low, high)))
    rng = default_rng([*entropy, track + 1])
    return master(STYLES[genre](round(seconds * SAMPLE_RATE_HZ), performer, rng), performer)
