"""From a recording to an answer: the command line and the service share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from music_genre.errors import AudioError
from music_genre.features.audio import AudioSignal
from music_genre.features.mel import extract_clips
from music_genre.models.bundle import BundleManifest

CONFIDENT = 0.5
"""Where validation has set no threshold, an answer is confident if its genre is likelier than all others together."""


CONFIDENT_TAG = "validation_confident_from"
"""Tag of a registered version: the threshold that validation has set."""


@dataclass(frozen=True)
class Clips:
    """What a recording looks like to a model.

    Args:
        mel: (clips, frames, n_mels) float32 dB.
        start_seconds: (clips,) where each begins.
        end_seconds: (clips,) where each ends, at most the recording's end.
        seconds: the recording's length.
    """

    mel: np.ndarray
    start_seconds: np.ndarray
    end_seconds: np.ndarray
    seconds: float


def clips_of(recording: AudioSignal, packing: BundleManifest) -> Clips:
    """Features of a whole recording, made as the model's training data was.

    Raises:
        AudioError: ``unsupported`` where the model has no transform, ``too_short``, ``silent``.
    """
    if packing.transform is None:
        raise AudioError("unsupported", "this model was trained on ready spectrograms and has no transform for audio")
    if recording.seconds < packing.min_duration_s:
        raise AudioError("too_short", f"{recording.seconds:.1f} s; at least {packing.min_duration_s:g} s are needed")
    starts, mel = extract_clips(recording, packing.transform)
    ends = np.minimum(starts + packing.transform.frames_duration_s, recording.seconds)
    return Clips(mel, starts, ends, recording.seconds)


def confident_from(tags: Mapping[str, str]) -> float:
    """The least confidence of a sure answer, from a registered version's tags."""
    return float(tags.get(CONFIDENT_TAG, CONFIDENT))


def answer(
    clips: Clips, probabilities: np.ndarray, genres: tuple[str, ...], sure_from: float, timeline: bool
) -> dict[str, Any]:
    """The answer as the API gives it, without the model's name.

    Args:
        clips: of one recording.
        probabilities: (clips, classes); their mean is the recording's.
        genres: in label order.
        sure_from: the least confidence of an answer that is sure.
        timeline: whether each clip's own answer is wanted.
    """
    whole = probabilities.mean(axis=0)
    confidence = float(whole.max())
    result: dict[str, Any] = {
        "genre": genres[int(whole.argmax())],
        "confidence": confidence,
        "confident": confidence >= sure_from,
        "probabilities": _by_genre(whole, genres),
        "seconds": round(clips.seconds, 3),
    }
    if timeline:
        result["segments"] = [
            {
                "start_seconds": round(float(start), 3),
                "end_seconds": round(float(end), 3),
                "genre": genres[int(row.argmax())],
                "probabilities": _by_genre(row, genres),
            }
            for start, end, row in zip(clips.start_seconds, clips.end_seconds, probabilities, strict=True)
        ]
    return result


def _by_genre(row: np.ndarray, genres: tuple[str, ...]) -> dict[str, float]:
    return {genre: float(probability) for genre, probability in zip(genres, row, strict=True)}
