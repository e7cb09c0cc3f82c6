"""A recording as short spans that follow each other, each with what a model takes of the audio about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from music_genre.audio.signal import AudioSignal
from music_genre.encoders.description import EncoderConfig
from music_genre.encoders.encoder import at_level
from music_genre.errors import AudioError
from music_genre.features.mel import clip_samples, log_mel
from music_genre.features.params import SPECTROGRAMS, MelConfig

MAX_SPANS = 160  # of a timeline: half a window each up to four minutes, a third of a clip of 29.7 s up to 26
SPANS_PER_CLIP = 3


@dataclass(frozen=True)
class Timeline:
    """A recording as spans that follow each other, for a model that takes one kind of input.

    Args:
        inputs: of each span, about its middle: an encoder's (spans, 1, window_length) float32 audio, or
            (spans, n_frames, n_mels) float32 dB.
        start_seconds: (spans,) float64.
        end_seconds: (spans,) float64.
        is_edge: (spans,) bool, where the recording begins or ends too near for an input about the middle.
    """

    inputs: dict[str, np.ndarray]
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    is_edge: np.ndarray


def make_window_timeline(audio: np.ndarray, name: str, encoder: EncoderConfig) -> Timeline:
    """Equal spans of about half a window, of longer ones where there would be more than ``MAX_SPANS``.

    Args:
        audio: (samples,) float32 of the whole recording at ``encoder.sample_rate_hz``.
        name: of the encoder.
        encoder: its description.
    """
    n_spans = min(MAX_SPANS, max(1, round(len(audio) / (encoder.window_length / 2))))
    starts, ends = _equal_spans(len(audio), n_spans)
    leveled = at_level(audio, encoder.level_dbfs)
    padded = np.resize(leveled, max(len(leveled), encoder.window_length))
    firsts, is_edge = _centred(starts, ends, encoder.window_length, len(padded))
    windows = np.stack([padded[first : first + encoder.window_length] for first in firsts])[:, None]
    return Timeline({name: windows}, starts / encoder.sample_rate_hz, ends / encoder.sample_rate_hz, is_edge)


def make_mel_timeline(recording: AudioSignal, audio: np.ndarray, transform: MelConfig) -> Timeline | None:
    """Equal spans of at least a third of a clip, of longer ones where there would be more than ``MAX_SPANS``; each has
    the spectrogram of the clip about its middle, which is what ``extract_clips`` makes of a clip that begins there.

    Spans whose clips are silent are left out. None where the recording is one clip, or every span is left out.

    Args:
        recording: which ``audio`` is of.
        audio: (samples,) float32 of the whole recording at ``transform.sample_rate_hz``.
        transform: see ``MelConfig``.
    """
    length = transform.n_frames * transform.hop_length
    if len(audio) <= clip_samples(transform):
        return None
    n_spans = min(MAX_SPANS, max(1, len(audio) * SPANS_PER_CLIP // length))
    starts, ends = _equal_spans(len(audio), n_spans)
    firsts, is_edge = _centred(starts, ends, length, len(audio))
    mel, kept = [], []
    for number, first in enumerate(firsts):
        try:
            mel.append(log_mel(audio[first : first + clip_samples(transform)], transform, recording.silence_peak))
            kept.append(number)
        except AudioError:  # silent
            continue
    if not kept:
        return None
    seconds = starts[kept] / transform.sample_rate_hz, ends[kept] / transform.sample_rate_hz
    return Timeline({SPECTROGRAMS: np.stack(mel)}, *seconds, is_edge[kept])


def _equal_spans(n_samples: int, n_spans: int) -> tuple[np.ndarray, np.ndarray]:
    """(spans,) float64 first samples, and those after the last."""
    edges = np.linspace(0, n_samples, n_spans + 1)
    return edges[:-1], edges[1:]


def _centred(starts: np.ndarray, ends: np.ndarray, length: int, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(spans,) int first samples of the inputs about the spans' middles, moved into the recording; and whether one was
    moved.
    """
    firsts = (starts + ends - length) / 2
    inside = np.clip(firsts, 0, max(0, n_samples - length))
    return inside.astype(int), np.abs(inside - firsts) > 1
