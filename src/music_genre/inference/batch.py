"""Predict many files: one result a file, in order, whatever the files hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from music_genre.audio.decoding import decode, decode_all, decoder_crashed
from music_genre.audio.folder import check_file
from music_genre.compute import map_clips
from music_genre.errors import AudioError, IssueReason
from music_genre.inference.predictor import (
    ClipBatch,
    extract_clip_batch,
    extract_first_clip_batch,
    format_prediction,
)

if TYPE_CHECKING:
    from music_genre.models.bundle import BundleManifest, ModelBundle

MAX_DURATION_S = 900.0  # longer recordings are refused, at any sample rate

Predicted = dict[str, Any] | AudioError  # what ``format_prediction`` gives, or why there is none


def load_clips(file: Path, manifest: BundleManifest, timeline: bool = False) -> ClipBatch:
    """Decode a file and make the features that a model takes, and those of a timeline where one is asked for.

    Raises:
        AudioError: the file cannot be used.
    """
    check_file(file)
    try:
        return extract_clip_batch(decode_all(file, MAX_DURATION_S), manifest, timeline)
    except OSError as error:
        raise AudioError(IssueReason.UNREADABLE, error.strerror or str(error)) from error


def load_first_clip(file: Path, manifest: BundleManifest) -> ClipBatch:
    """Decode the beginning of a file and make the features that a model is trained and measured on.

    Raises:
        AudioError: the file cannot be used.
    """
    seconds = manifest.transform.clip_duration_s if manifest.transform else 0.0
    return extract_first_clip_batch(decode(file, seconds + 1), manifest)


def predict_files(
    model: ModelBundle,
    confidence_threshold: float,
    files: Sequence[Path],
    timeline: bool = False,
    description: str = "",
    journal: Path | None = None,
) -> Iterator[tuple[Path, Predicted]]:
    """Each file with its prediction as the service gives it, or with the reason why there is none, in order.

    Args:
        model: makes the predictions, in this process.
        confidence_threshold: the least confidence of a confident prediction.
        files: decoded by one process a core where there are many.
        timeline: whether to predict each segment, too.
        description: of the progress bar; without one there is none.
        journal: names the file that is worked on; see ``map_clips``.
    """
    load = partial(_load_or_error, manifest=model.manifest, timeline=timeline)
    batches = map_clips(load, files, description, decoder_crashed, journal)
    for file, clips in zip(files, batches, strict=True):
        if isinstance(clips, AudioError):
            yield file, clips
        else:
            yield file, predict_clips(model, clips, confidence_threshold, timeline)


def predict_clips(
    model: ModelBundle, clips: ClipBatch, confidence_threshold: float, timeline: bool = False
) -> dict[str, Any]:
    """The prediction of a recording, as ``format_prediction`` gives it."""
    answer = model.answer(clips.inputs(model.manifest))
    spans = model.predict(clips.timeline.inputs) if clips.timeline is not None else None
    return format_prediction(clips, answer, model.manifest, confidence_threshold, timeline, spans)


def _load_or_error(file: Path, manifest: BundleManifest, timeline: bool) -> ClipBatch | AudioError:
    try:
        return load_clips(file, manifest, timeline)
    except AudioError as error:
        return error
