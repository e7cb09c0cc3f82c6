"""From recordings to spectrograms, in the same pass that describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music_genre.audio.decoding import decode, decoder_crashed
from music_genre.audio.folder import AudioFolder
from music_genre.audio.info import AudioInfo, inspect_recording
from music_genre.audio.signal import AudioSignal
from music_genre.compute import map_clips
from music_genre.errors import AudioError, IssueReason
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.files import sha256

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

ClipResult = np.ndarray | AudioError


@dataclass(frozen=True)
class ClipSource:
    """Where the spectrograms of a collection come from.

    Args:
        cache_keys: by track id, a text that names everything that determines a clip's spectrogram.
        extract: from track ids to (n_frames, n_mels) float dB of each, or what is wrong with the clip, in order.
        transform: from audio to spectrograms; None where the collection holds ready spectrograms.
    """

    cache_keys: Mapping[int, str]
    extract: Callable[[Sequence[int]], Iterator[ClipResult]]
    transform: MelConfig | None


def audio_clips(
    audio: AudioFolder, tracks: pd.DataFrame, transform: MelConfig, journal: Path | None = None
) -> ClipSource:
    """The spectrograms of audio files.

    Args:
        audio: the folder of the collection.
        tracks: columns track_id, path (relative to ``audio``), audio_sha256.
        transform: see ``MelConfig``.
        journal: names the file that is worked on; see ``map_clips``.
    """
    tracks = tracks.set_index("track_id")
    return ClipSource(
        {track_id: clip_key(digest, transform) for track_id, digest in tracks["audio_sha256"].items()},
        lambda track_ids: extract_files(audio, tracks.loc[list(track_ids), "path"].tolist(), transform, journal),
        transform,
    )


def clip_key(audio_sha256: str, transform: MelConfig) -> str:
    """What determines a spectrogram: a recording has the same one whatever tags its file has."""
    return f"{audio_sha256} {_settings(transform)}"


def extract_files(
    audio: AudioFolder, paths: Sequence[str], transform: MelConfig, journal: Path | None = None
) -> Iterator[ClipResult]:
    """(n_frames, n_mels) float16 dB of each file, or what is wrong with it, in order, on every core."""
    extract = partial(_extract_file, audio, transform=transform)
    return map_clips(extract, paths, "Spectrograms", decoder_crashed, journal)


def describe_and_extract(
    audio: AudioFolder, path: str, max_seconds: float, transform: MelConfig | None
) -> tuple[AudioInfo | AudioError, ClipResult | None]:
    """What up to ``max_seconds`` of a file hold and, where a transform is given, its spectrogram: from one decoding.

    Raises:
        AudioError: ``unreadable``, which is no fault of the recording.
    """
    try:
        with audio.open(path) as file:
            info, recording = inspect_recording(file, max_seconds, _decoded_seconds(transform) if transform else 0)
        return info, _extract(recording, transform) if transform else None
    except AudioError as error:
        return _unless_unreadable(error), None


def _extract_file(audio: AudioFolder, path: str, transform: MelConfig) -> ClipResult:
    try:
        with audio.open(path) as file:
            return _extract(decode(file, _decoded_seconds(transform)), transform)
    except AudioError as error:
        return _unless_unreadable(error)


def _unless_unreadable(error: AudioError) -> AudioError:
    if error.reason == IssueReason.UNREADABLE:
        raise error
    return error


def _extract(recording: AudioSignal, transform: MelConfig) -> ClipResult:
    try:
        return extract_first_clip(recording, transform).astype(np.float16)
    except AudioError as error:
        return error


def _decoded_seconds(transform: MelConfig) -> float:
    """A second more than a clip: resampling its end takes a few samples from beyond it."""
    return transform.clip_duration_s + 1


def _settings(transform: MelConfig) -> str:
    return sha256(transform.model_dump_json(), f" {FEATURES_VERSION}")
