"""Predict many files: one result a file, in order, whatever the files hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from music_genre.audio.decoding import decode, decode_all, decoder_crashed
from music_genre.audio.kinds import AUDIO_SUFFIXES, looks_like_audio
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


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """The paths, with each folder replaced by the files below it that are audio or are called so, sorted by name.

    A folder without any remains in the list, so that it is reported.
    """
    files: list[Path] = []
    for path in paths:
        below = [file for file in path.rglob("*") if file.is_file() and _is_audio(file)] if path.is_dir() else []
        files += sorted(below) or [path]
    return files


def _is_audio(file: Path) -> bool:
    """Whether a file is called like audio, or is some."""
    if file.suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        with file.open("rb") as content:
            return looks_like_audio(content)
    except OSError:
        return False


def load_clips(file: Path, manifest: BundleManifest, timeline: bool = False) -> ClipBatch:
    """Decode a file and make the features that a model takes, and those of a timeline where one is asked for.

    Raises:
        AudioError: the file cannot be used.
    """
    if not file.is_file():
        raise AudioError(IssueReason.MISSING, "no audio files in this folder" if file.is_dir() else "no such file")
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


def csv_columns(genres: Sequence[str]) -> list[str]:
    """The columns of a table of predictions: one for each genre at the end."""
    return ["file", "genre", "confidence", "confident", "duration_seconds", "notes", "error", *genres]


def csv_row(file: Path, predicted: Predicted) -> dict[str, Any]:
    """A row of ``csv_columns``; that of a file without a prediction has only ``file`` and ``error``."""
    if isinstance(predicted, AudioError):
        return {"file": str(file), "error": str(predicted)}
    row = dict(predicted)
    probabilities, notes = row.pop("probabilities"), row.pop("notes", [])
    row.pop("tags", None)  # a table has no lists
    return {"file": str(file), **row, "notes": ";".join(note["code"] for note in notes), **probabilities}


def _load_or_error(file: Path, manifest: BundleManifest, timeline: bool) -> ClipBatch | AudioError:
    try:
        return load_clips(file, manifest, timeline)
    except AudioError as error:
        return error
