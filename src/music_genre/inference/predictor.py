"""From a recording to its prediction: the command line and the service share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from music_genre.errors import AudioError, IssueReason
from music_genre.features.audio import AudioSignal
from music_genre.features.mel import extract_clips
from music_genre.models.bundle import BundleManifest

CONFIDENCE_THRESHOLD_TAG = "validation_confidence_threshold"  # of a registered version; found on validation
DEFAULT_CONFIDENCE_THRESHOLD = 0.5  # without that tag: a genre must be likelier than all others together

# Standard deviation over time of a clip's mean level. White, uniform and pink noise have 0.3 to 0.4 dB, 99.9 % of the
# clips of FMA-small more than 0.5 dB. Networks that are trained on music alone can be sure of a genre in noise.
MIN_LEVEL_STD_DB = 0.5
STEADY_LEVEL = {
    "code": "steady_level",
    "message": "The level hardly changes over time, as in noise; the prediction is not confident.",
}


@dataclass(frozen=True)
class ClipBatch:
    """A recording as clips of the length that a model takes.

    Args:
        mel: (clips, frames, n_mels) float32 dB.
        start_seconds: (clips,) float64, where each clip begins.
        end_seconds: (clips,) float64, where each clip ends, at most the recording's end.
        duration_s: of the recording.
    """

    mel: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    duration_s: float


def extract_clip_batch(recording: AudioSignal, manifest: BundleManifest) -> ClipBatch:
    """The features of a whole recording, made as those of the model's training data.

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
    return ClipBatch(mel, starts, ends, recording.duration_s)


def threshold_from_tags(tags: Mapping[str, str]) -> float:
    """The confidence threshold of a registered version, from its tags."""
    return float(tags.get(CONFIDENCE_THRESHOLD_TAG, DEFAULT_CONFIDENCE_THRESHOLD))


def has_steady_level(mel: np.ndarray) -> bool:
    """Whether the level of every clip (clips, frames, n_mels) dB hardly changes over time, as that of noise."""
    return bool((mel.mean(axis=2).std(axis=1) < MIN_LEVEL_STD_DB).all())


def format_prediction(
    clips: ClipBatch, probabilities: np.ndarray, genres: tuple[str, ...], confidence_threshold: float, timeline: bool
) -> dict[str, Any]:
    """The prediction of a recording as the API returns it, without model and request id.

    Args:
        clips: of the recording.
        probabilities: (clips, classes) float32; their mean is the recording's.
        genres: (classes,) in label order.
        confidence_threshold: the least confidence of a confident prediction; one of noise never is.
        timeline: whether to add ``segments``, the prediction of each clip.
    """
    mean_probabilities = probabilities.mean(axis=0)
    confidence, is_steady = float(mean_probabilities.max()), has_steady_level(clips.mel)
    prediction: dict[str, Any] = {
        "genre": genres[int(mean_probabilities.argmax())],
        "confidence": confidence,
        "confident": confidence >= confidence_threshold and not is_steady,
        "probabilities": _by_genre(mean_probabilities, genres),
        "duration_seconds": round(clips.duration_s, 3),
    }
    if is_steady:
        prediction["notes"] = [STEADY_LEVEL]
    if timeline:
        prediction["segments"] = [
            {
                "start_seconds": round(float(start), 3),
                "end_seconds": round(float(end), 3),
                "genre": genres[int(row.argmax())],
                "probabilities": _by_genre(row, genres),
            }
            for start, end, row in zip(clips.start_seconds, clips.end_seconds, probabilities, strict=True)
        ]
    return prediction


def _by_genre(row: np.ndarray, genres: tuple[str, ...]) -> dict[str, float]:
    """(classes,) probabilities by genre, in label order."""
    return {genre: float(probability) for genre, probability in zip(genres, row, strict=True)}
