"""From a recording to its prediction: the command line and the service share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from music_genre.audio.signal import AudioNote, AudioSignal, resample
from music_genre.encoders.description import EncoderConfig
from music_genre.encoders.encoder import clip_windows
from music_genre.errors import AudioError, IssueReason
from music_genre.features.mel import extract_clips, extract_first_clip
from music_genre.features.params import SPECTROGRAMS, MelConfig
from music_genre.features.statistics import is_band_limited, upper_fraction
from music_genre.inference.timeline import Timeline, make_mel_timeline, make_window_timeline
from music_genre.models.bundle import Answer, BundleManifest

CONFIDENCE_THRESHOLD_TAG = "validation_confidence_threshold"  # of a registered version; found on validation
DEFAULT_CONFIDENCE_THRESHOLD = 0.5  # without that tag: a genre must be likelier than all others together

N_TAGS = 5  # of an encoder's own in an answer

# Standard deviation over time of a clip's mean level. White, uniform and pink noise have 0.3 to 0.4 dB, 99.9 % of the
# clips of FMA-small more than 0.5 dB. Networks that are trained on music alone can be sure of a genre in noise.
MIN_LEVEL_STD_DB = 0.5
DOUBTFUL = frozenset(
    {IssueReason.STEADY_LEVEL, IssueReason.BAND_LIMITED}
)  # notes of predictions that are not confident


@dataclass(frozen=True)
class ClipBatch:
    """A recording as clips of the length that a model takes.

    Args:
        mel: (clips, frames, n_mels) float32 dB: also where the model takes none, for notes and for drift.
        start_seconds: (clips,) float64, where each clip begins.
        end_seconds: (clips,) float64, where each clip ends, at most the recording's end.
        duration_s: of the recording.
        notes: what was noticed about the recording.
        windows: by encoder, (clips, windows, window_length) float32 audio.
        timeline: shorter spans than clips, where the model can answer them.
    """

    mel: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    duration_s: float
    notes: tuple[AudioNote, ...] = ()
    windows: Mapping[str, np.ndarray] = field(default_factory=dict)
    timeline: Timeline | None = None

    def inputs(self, manifest: BundleManifest) -> dict[str, np.ndarray]:
        """What the members of a bundle take."""
        every = {SPECTROGRAMS: self.mel, **self.windows}
        return {name: every[name] for name in manifest.inputs}


def extract_clip_batch(recording: AudioSignal, manifest: BundleManifest, timeline: bool = False) -> ClipBatch:
    """The features of a whole recording, made as those of the model's training data.

    Args:
        recording: at any sample rate.
        manifest: of the model.
        timeline: whether to add ``ClipBatch.timeline`` where there can be one.

    Raises:
        AudioError: ``unsupported`` where the model has no transform, ``short``, ``silent``.
    """
    transform = manifest.transform
    if transform is None:
        raise AudioError(
            IssueReason.UNSUPPORTED, "this model was trained on ready spectrograms and has no transform for audio"
        )
    if recording.duration_s < manifest.min_duration_s:
        raise AudioError(
            IssueReason.SHORT, f"{recording.duration_s:.1f} s; the minimum duration is {manifest.min_duration_s:g} s"
        )
    starts, mel = extract_clips(recording, transform)
    ends = np.minimum(starts + transform.frames_duration_s, recording.duration_s)
    notes = (*recording.notes, *feature_notes(mel, transform))
    audio = {name: resample(recording, encoder.sample_rate_hz) for name, encoder in manifest.encoders.items()}
    windows = {
        name: _stack_windows(audio[name], encoder, starts, transform.frames_duration_s)
        for name, encoder in manifest.encoders.items()
    }
    spans = None
    if timeline and manifest.inputs == (SPECTROGRAMS,):
        spans = make_mel_timeline(recording, resample(recording, transform.sample_rate_hz), transform)
    elif timeline and len(manifest.inputs) == 1:
        (name,) = manifest.inputs
        spans = make_window_timeline(audio[name], name, manifest.encoders[name])
    return ClipBatch(mel, starts, ends, recording.duration_s, notes, windows, spans)


def extract_first_clip_batch(recording: AudioSignal, manifest: BundleManifest) -> ClipBatch:
    """The features of a recording's first clip, whatever its length: what a model is trained and measured on.

    Args:
        recording: of ``clip_duration_s`` and a little more, because resampling takes samples from beyond a clip's end.
        manifest: of a model that takes audio.

    Raises:
        AudioError: ``silent``.
    """
    transform = manifest.transform
    if transform is None:
        raise ValueError(f"{manifest.name} takes no audio")
    mel = extract_first_clip(recording, transform)[np.newaxis]
    starts, ends = np.zeros(1), np.array([min(transform.frames_duration_s, recording.duration_s)])
    windows = {
        name: _stack_windows(resample(recording, encoder.sample_rate_hz), encoder, starts, transform.frames_duration_s)
        for name, encoder in manifest.encoders.items()
    }
    return ClipBatch(mel, starts, ends, recording.duration_s, recording.notes, windows)


def _stack_windows(
    audio: np.ndarray, encoder: EncoderConfig, start_seconds: np.ndarray, clip_seconds: float
) -> np.ndarray:
    """(clips, windows, window_length) float32 of the clips of audio (samples,) that begin at ``start_seconds``."""
    firsts = (start_seconds * encoder.sample_rate_hz).astype(int)
    return np.stack([clip_windows(audio[first:], encoder, clip_seconds) for first in firsts])


def feature_notes(mel: np.ndarray, transform: MelConfig) -> list[AudioNote]:
    """What was noticed about (clips, frames, n_mels) dB."""
    notes = []
    if has_steady_level(mel):
        notes.append(AudioNote(IssueReason.STEADY_LEVEL, "the level hardly changes over time, as in noise"))
    if is_band_limited(upper_fraction(mel, transform)):
        limit_khz = transform.sample_rate_hz / 4000
        notes.append(AudioNote(IssueReason.BAND_LIMITED, f"nothing above {limit_khz:.1f} kHz, as over a telephone"))
    return notes


def threshold_from_tags(tags: Mapping[str, str]) -> float:
    """The confidence threshold of a registered version, from its tags."""
    return float(tags.get(CONFIDENCE_THRESHOLD_TAG, DEFAULT_CONFIDENCE_THRESHOLD))


def has_steady_level(mel: np.ndarray) -> bool:
    """Whether the level of every clip (clips, frames, n_mels) dB hardly changes over time, as that of noise."""
    return bool((mel.mean(axis=2).std(axis=1) < MIN_LEVEL_STD_DB).all())


def format_prediction(
    clips: ClipBatch,
    answer: Answer,
    manifest: BundleManifest,
    confidence_threshold: float,
    timeline: bool = False,
    span_probabilities: np.ndarray | None = None,
) -> dict[str, Any]:
    """The prediction of a recording as the API returns it, without model and request id.

    Args:
        clips: of the recording.
        answer: of the model about the clips; their mean is the recording's.
        manifest: of the model.
        confidence_threshold: the least confidence of a confident prediction; those of noise and of recordings without
            the upper half of the frequencies never are.
        timeline: whether to add ``segments``, the prediction of each clip or span.
        span_probabilities: (spans, classes) float32 of ``clips.timeline``.
    """
    genres, probabilities = manifest.genres, answer.probabilities
    mean_probabilities = probabilities.mean(axis=0)
    confidence = float(mean_probabilities.max())
    is_doubtful = any(note.code in DOUBTFUL for note in clips.notes)
    prediction: dict[str, Any] = {
        "genre": genres[int(mean_probabilities.argmax())],
        "confidence": confidence,
        "confident": confidence >= confidence_threshold and not is_doubtful,
        "probabilities": _by_genre(mean_probabilities, genres),
        "duration_seconds": round(clips.duration_s, 3),
    }
    if clips.notes:
        prediction["notes"] = [_format_note(note) for note in clips.notes]
    if manifest.tags:
        prediction["tags"] = [{"tag": tag, "probability": p} for tag, p in top_tags(manifest, answer.tags)]
    if timeline:
        spans: ClipBatch | Timeline = clips
        if clips.timeline is not None and span_probabilities is not None:
            spans, probabilities = clips.timeline, span_probabilities
        is_edge = spans.is_edge if isinstance(spans, Timeline) else np.zeros(len(probabilities), bool)
        prediction["segments"] = [
            {
                "start_seconds": round(float(start), 3),
                "end_seconds": round(float(end), 3),
                "genre": genres[int(row.argmax())],
                "probabilities": _by_genre(row, genres),
                **({"edge": True} if edge else {}),
            }
            for start, end, row, edge in zip(
                spans.start_seconds, spans.end_seconds, probabilities, is_edge, strict=True
            )
        ]
    return prediction


def top_tags(manifest: BundleManifest, tags: np.ndarray) -> list[tuple[str, float]]:
    """The ``N_TAGS`` likeliest of the encoders' own tags, with the mean over clips of their probabilities.

    Args:
        manifest: of the model.
        tags: (clips, tags) float32, ``Answer.tags``.
    """
    likely = tags.mean(axis=0)
    return [(manifest.tags[number], float(likely[number])) for number in np.argsort(-likely, kind="stable")[:N_TAGS]]


def _format_note(note: AudioNote) -> dict[str, str]:
    """A note as the API has it: its message is a sentence."""
    ending = "; the prediction is not confident." if note.code in DOUBTFUL else "."
    return {"code": note.code.value, "message": note.message[0].upper() + note.message[1:] + ending}


def _by_genre(row: np.ndarray, genres: tuple[str, ...]) -> dict[str, float]:
    """(classes,) probabilities by genre, in label order."""
    return {genre: float(probability) for genre, probability in zip(genres, row, strict=True)}
