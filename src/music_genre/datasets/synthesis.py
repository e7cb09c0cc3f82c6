"""Eight styles of synthetic music under the genre names of FMA's small subset.

Caricatures, far enough apart for an ear and for a network. Sounds are mono, which an encoder takes half as long for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, default_rng

from music_genre.datasets.instruments import (
    SAMPLE_RATE_HZ,
    FloatArray,
    band,
    beat,
    decay,
    hertz,
    kick,
    melody,
    noise_burst,
    partials,
    pluck,
    saw,
    sequence,
    sine,
)

CEILING = 0.7  # encoded at 130 kbit/s, peaks come back up to a third higher
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PHRYGIAN_DOMINANT = (0, 1, 4, 5, 7, 8, 10)


class Artist(NamedTuple):
    """What the tracks of one artist share."""

    key: int  # semitones above the style's tonic
    tempo: float  # factor
    brightness: float  # factor on cut-off frequencies
    decay_factor: float  # on decay times
    drums: float  # factor on the level of the drums
    treble: float  # gain of what is added above 2 kHz


def electronic(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Four on the floor at 128 a minute, sawtooth arpeggio under a sweeping filter."""
    step_s, length = 15.0 / 128.0 / artist.tempo, SAMPLE_RATE_HZ // 4
    roots, shape = rng.choice(["0534", "0056", "0354"]), "".join(rng.permutation([*"02479742"]))
    fall = decay(length, 0.003, 0.09 * artist.decay_factor)
    notes = melody(57 + artist.key, MINOR, roots, 2 * shape)
    arpeggio = sequence(count, step_s, notes, lambda hz: saw(hz, length) * fall)
    dark, bright = band(arpeggio, 0, 500), band(arpeggio, 0, 6000 * artist.brightness)
    sweep = 0.5 + 0.5 * sine(1.0 / 7.5, count)
    notes = melody(33 + artist.key, MINOR, roots, 4 * "..00")
    bass = sequence(count, step_s, notes, lambda hz: band(saw(hz, length) * fall, 0, 400))
    drums = 1.3 * beat(count, step_s, "x...", kick(48, 0.12))
    drums += 0.35 * beat(count, step_s, "..x.", noise_burst(rng, 7000, 16000, 0.06))
    drums += 0.12 * beat(count, step_s, "xoxo", noise_burst(rng, 9000, 16000, 0.015))
    return 0.5 * (dark + sweep * (bright - dark)) + 0.7 * bass + artist.drums * drums


def experimental(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Inharmonic frequency-modulated drones under clouds of noise grains, no beat."""
    track = np.zeros(count)
    for ratio in (1.0, 1.9 * artist.decay_factor, 4.3 * artist.brightness):
        carrier_hz = hertz(45 + artist.key) * ratio
        depth_hz = 4.0 * carrier_hz * artist.brightness * sine(rng.uniform(0.03, 0.15), count)
        modulator_hz = depth_hz * sine(carrier_hz * rng.uniform(1.3, 2.8), count)
        track += sine(carrier_hz + modulator_hz, count) / ratio
    # Sparse on a grid of 20 ms and never repeated, so that there is no pulse.
    cells = [(hz,) if hz < 9000 else () for hz in rng.integers(1, 60, count // 882 + 1) * 600.0]
    decay_s = 0.05 * artist.decay_factor
    return track + sequence(count, 0.02, cells, lambda hz: noise_burst(rng, hz, 1.1 * hz, decay_s))


def folk(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A guitar picked in major at 95 a minute, no drums."""
    step_s, tonic = 30.0 / 95.0 / artist.tempo, 48 + artist.key
    roots, shape = rng.choice(["0340", "0453", "0534"]), rng.choice(["72429424", "04797494"])
    burst = band(rng.uniform(-1, 1, 1024), 0, 3000 * artist.brightness)

    def guitar(frequency_hz: float) -> FloatArray:
        return pluck(frequency_hz, burst, 0.35 * artist.decay_factor)

    picked = sequence(count, step_s, melody(tonic, MAJOR, roots, shape), guitar, swing=0.06)
    thumb = sequence(count, 4 * step_s, melody(tonic - 12, MAJOR, roots, "04"), guitar)
    return picked + 1.2 * thumb


def hip_hop(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A swung boom-bap beat at 88 a minute, sub-bass, muffled chords, vinyl crackle."""
    step_s, decay_factor = 15.0 / 88.0 / artist.tempo, artist.decay_factor
    roots = rng.choice(["0033", "0304", "0533"])
    marks = rng.choice(["x.....x...x.....", "x..x......x..o..", "x......x..xo...."])
    drums = 1.2 * beat(count, step_s, marks, kick(55, 0.09), swing=0.3)
    drums += 0.9 * beat(count, step_s, "....x.......x..o", noise_burst(rng, 900, 7000, 0.07), swing=0.3)
    drums += 0.2 * beat(count, step_s, "x.xox.xo", noise_burst(rng, 6000, 12000, 0.025), swing=0.3)
    notes = melody(33 + artist.key, MINOR, roots, "0.....0.....4...")
    bass = sequence(count, step_s, notes, lambda hz: partials(hz, 0.7, (1.0, 0.15), 0.5))
    notes = melody(57 + artist.key, MINOR, roots, "00", (0, 2, 4, 6))
    keys = sequence(count, 8 * step_s, notes, lambda hz: partials(hz, 1.2, (1.0, 0.2), 0.5 * decay_factor))
    crackle = np.where(rng.random(count) < 4e-4, rng.uniform(-0.5, 0.5, count), 0.0)
    return artist.drums * drums + 0.9 * bass + 0.12 * keys + band(crackle, 1500)


def instrumental(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A slow pad with scattered piano-like notes, no drums."""
    step_s, tonic = 0.55 / artist.tempo, 60 + artist.key
    roots, shape = rng.choice(["0534", "0253", "3040"]), "".join(rng.choice([*"0247..."], size=7))
    notes = melody(tonic - 12, MAJOR, roots, "0", (-7, 0, 4))
    pad = sequence(count, 8 * step_s, notes, lambda hz: partials(hz, 5.0, (1.0, 0.5), 1.6, 2.0))
    notes, levels = melody(tonic, MAJOR, roots, "7" + shape), (1.0, 0.5, 0.3, 0.2)
    return 0.3 * pad + 0.5 * sequence(
        count, step_s, notes, lambda hz: partials(hz, 2.5, levels, 0.9 * artist.decay_factor, 0.005)
    )


def international(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """A plucked lead in Phrygian dominant over a drone, hand drum in 7/8."""
    step_s, tonic = 0.19 / artist.tempo, 50 + artist.key
    walk = np.abs(np.cumsum(rng.choice([-2, -1, -1, 1, 1, 2], size=28)) % 12 - 6)
    notes = melody(tonic + 12, PHRYGIAN_DOMINANT, "0", "".join(2 * str(degree) for degree in walk))
    burst = rng.uniform(-1, 1, 1024)
    lead = sequence(count, step_s / 2, notes, lambda hz: pluck(hz, burst, 0.12 * artist.decay_factor))
    drone = saw(hertz(tonic - 12), count) + saw(hertz(tonic - 5), count)
    drums = beat(count, step_s, "x..x.o.", kick(85, 0.11))
    drums += 0.8 * beat(count, step_s / 2, "..o.o...x.o.x.", noise_burst(rng, 1800, 3500, 0.02))
    buzz = band(drone, 250, 1200 * artist.brightness)
    return 0.7 * lead + 0.35 * buzz + 0.7 * artist.drums * drums


def pop(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Four chords in major at 118 a minute, a bright vibrato lead, claps."""
    step_s, tonic, decay_factor = 30.0 / 118.0 / artist.tempo, 60 + artist.key, artist.decay_factor
    roots, shape = rng.choice(["0453", "5304", "0534"]), "".join(rng.choice([*"0124."], size=3))
    drums = beat(count, step_s, "x...x...", kick(60, 0.08))
    drums += 0.9 * beat(count, step_s, "..x.", noise_burst(rng, 1000, 5000, 0.05))
    drums += 0.25 * beat(count, step_s, "ox", noise_burst(rng, 8000, 15000, 0.03))
    notes = melody(tonic, MAJOR, roots, "00", (-7, 0, 2, 4))
    chords = sequence(count, 4 * step_s, notes, lambda hz: partials(hz, 1.0, (1.0, 0.5, 0.3), 1.2))
    levels = [order ** (-0.7 / artist.brightness) for order in range(1, 8)]
    notes = melody(tonic + 12, MAJOR, roots, "0" + shape)
    return (artist.drums * drums + 0.3 * chords) + 0.45 * sequence(
        count, 2 * step_s, notes, lambda hz: partials(hz, 0.5, levels, 4 * decay_factor, 0.04, 0.014)
    )


def rock(count: int, artist: Artist, rng: Generator) -> FloatArray:
    """Distorted power chords and a backbeat at 140 a minute."""
    step_s, length = 30.0 / 140.0 / artist.tempo, int(0.35 * SAMPLE_RATE_HZ)
    roots, shape = rng.choice(["0560", "0365", "0056"]), rng.choice(["00000000", "00.00.00"])
    fall = decay(length, 0.004, 0.3 * artist.decay_factor)

    def power_chord(root_hz: float) -> FloatArray:
        root, fifth = saw(root_hz, length), saw(1.498 * root_hz, length)
        return (root + fifth + saw(2.003 * root_hz, length)) * fall

    notes = melody(40 + artist.key, MINOR, roots, shape)
    guitar = np.tanh(5.0 * sequence(count, step_s, notes, power_chord))
    drums = beat(count, step_s, "x..xx...", kick(60, 0.08))
    drums += beat(count, step_s, "..x.", noise_burst(rng, 300, 9000, 0.08))
    drums += 0.35 * beat(count, step_s, "xo", noise_burst(rng, 4000, 14000, 0.12))
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
    """A track (n,), equalized, brought to one loudness and limited: (n,) float32 in [-CEILING, CEILING]."""
    track = track + artist.treble * band(track, 2000)
    track *= 0.1 / np.sqrt(np.mean(track**2))
    return (CEILING * np.tanh(track / CEILING)).astype(np.float32)


def synthesize(genre: str, artist: int, track: int, duration_s: float, seed: int) -> npt.NDArray[np.float32]:
    """Synthesize one clip; the same arguments give the same clip.

    Args:
        genre: a key of ``STYLES``.
        artist: number within the genre; determines key, tempo, timbre and mix.
        track: number within the artist; determines chords and patterns.
        duration_s: length of the clip.
        seed: of the whole collection, not negative.

    Returns:
        (duration_s * SAMPLE_RATE_HZ,) float32 in [-1, 1].

    Raises:
        ValueError: no style has the genre's name.
    """
    if genre not in STYLES:
        raise ValueError(f"no style for genre {genre!r}; expected one of {', '.join(STYLES)}")
    entropy = [seed, list(STYLES).index(genre), artist]
    # Tracks count from 1 here: short entropy is padded with zeros, so 0 is the artist's own.
    traits = default_rng([*entropy, 0])
    low, high = (0.93, 0.75, 0.75, 0.75, -0.5), (1.07, 1.35, 1.35, 1.25, 0.6)
    performer = Artist(int(traits.integers(-4, 5)), *map(float, traits.uniform(low, high)))
    rng = default_rng([*entropy, track + 1])
    return master(STYLES[genre](round(duration_s * SAMPLE_RATE_HZ), performer, rng), performer)
