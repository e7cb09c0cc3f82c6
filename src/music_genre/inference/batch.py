"""Tag many files: a row each, in order, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from music_genre.compute import map_clips
from music_genre.errors import AudioError
from music_genre.features.audio import decode_whole
from music_genre.inference.predictor import Clips, answer, clips_of

if TYPE_CHECKING:
    from music_genre.models.bundle import BundleManifest, ModelBundle

MAX_SECONDS = 3600.0
"""Of a recording; longer ones are refused."""

SUFFIXES = {".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
"""Of the files that are looked for in folders."""


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """Each path, or in place of a folder the audio files below it, sorted by name; a folder without any stays."""
    found: list[Path] = []
    for path in paths:
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        found += below or [path]
    return found


def hear(file: Path, packing: BundleManifest) -> Clips:
    """What a file looks like to a model.

    Raises:
        AudioError: it cannot be used; the reason is a word of ``AudioError``.
    """
    if not file.is_file():
        raise AudioError("missing", "no audio files in this folder" if file.is_dir() else "no such file")
    try:
        return clips_of(decode_whole(file, MAX_SECONDS), packing)
    except OSError as error:
        raise AudioError("unreadable", error.strerror or str(error)) from error


def rows(model: ModelBundle, sure_from: float, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """A row a file, in order: file, genre, confidence, confident, seconds, error, and a probability a genre.

    Args:
        model: that answers.
        sure_from: the least confidence of a sure answer.
        files: heard by a process a core.
    """
    genres = model.manifest.genres
    heard = map_clips(partial(_try, packing=model.manifest), files, "Tagging", _crashed)
    for file, clips in zip(files, heard, strict=True):
        if isinstance(clips, AudioError):
            yield {"file": str(file), "error": str(clips)}
            continue
        result = answer(clips, model.predict(clips.mel), genres, sure_from, timeline=False)
        probabilities = result.pop("probabilities")
        yield {"file": str(file), **result, **probabilities}


def columns(genres: Sequence[str]) -> list[str]:
    """Of a table of ``rows``."""
    return ["file", "genre", "confidence", "confident", "seconds", "error", *genres]


def _try(file: Path, packing: BundleManifest) -> Clips | AudioError:
    try:
        return hear(file, packing)
    except AudioError as fault:
        return fault


def _crashed(file: Path) -> AudioError:
    return AudioError("undecodable", "the decoder crashed on it")
