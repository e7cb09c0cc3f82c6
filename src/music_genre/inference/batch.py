"""Predict many files: one row a file, in order, whatever the files hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from music_genre.audio.decoding import decode_all, decoder_crashed
from music_genre.audio.kinds import AUDIO_SUFFIXES
from music_genre.compute import map_clips
from music_genre.errors import AudioError, IssueReason
from music_genre.inference.predictor import ClipBatch, extract_clip_batch, format_prediction

if TYPE_CHECKING:
    from music_genre.models.bundle import BundleManifest, ModelBundle

MAX_DURATION_S = 3600.0  # longer recordings are refused


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """The paths, with each folder replaced by the audio files below it, sorted by name.

    A folder without audio files remains in the list, so that it is reported.
    """
    files: list[Path] = []
    for path in paths:
        below = [file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()]
        files += sorted(below) or [path]
    return files


def load_clips(file: Path, manifest: BundleManifest) -> ClipBatch:
    """Decode a file and make the features that a model takes.

    Raises:
        AudioError: the file cannot be used.
    """
    if not file.is_file():
        raise AudioError(IssueReason.MISSING, "no audio files in this folder" if file.is_dir() else "no such file")
    try:
        return extract_clip_batch(decode_all(file, MAX_DURATION_S), manifest)
    except OSError as error:
        raise AudioError(IssueReason.UNREADABLE, error.strerror or str(error)) from error


def predict_files(model: ModelBundle, confidence_threshold: float, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """A row of ``csv_columns`` for each file, in order; a file that cannot be used has only ``file`` and ``error``.

    Args:
        model: makes the predictions, in this process.
        confidence_threshold: the least confidence of a confident prediction.
        files: decoded by one process a core.
    """
    genres = model.manifest.genres
    batches = map_clips(partial(_load_or_error, manifest=model.manifest), files, "Predicting", decoder_crashed)
    for file, clips in zip(files, batches, strict=True):
        if isinstance(clips, AudioError):
            yield {"file": str(file), "error": str(clips)}
            continue
        row = format_prediction(clips, model.predict(clips.mel), genres, confidence_threshold, timeline=False)
        probabilities, _ = row.pop("probabilities"), row.pop("notes", None)
        yield {"file": str(file), **row, **probabilities}


def csv_columns(genres: Sequence[str]) -> list[str]:
    """The columns of a table of ``predict_files``: one for each genre at the end."""
    return ["file", "genre", "confidence", "confident", "duration_seconds", "error", *genres]


def _load_or_error(file: Path, manifest: BundleManifest) -> ClipBatch | AudioError:
    try:
        return load_clips(file, manifest)
    except AudioError as error:
        return error
