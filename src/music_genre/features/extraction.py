"""From the files of a collection to spectrograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.compute import map_clips
from music_genre.errors import AudioError
from music_genre.features.audio import decode, decoder_crashed
from music_genre.features.mel import FEATURES_VERSION, MelConfig, extract_first_clip
from music_genre.files import sha256

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


def audio_clips(raw: Path, tracks: pd.DataFrame, transform: MelConfig) -> ClipSource:
    """The spectrograms of audio files.

    Args:
        raw: the folder of the collection.
        tracks: columns track_id, path (relative to ``raw``), audio_sha256: a recording has the same spectrogram
            whatever tags its file has.
        transform: see ``MelConfig``.
    """
    tracks = tracks.set_index("track_id")
    settings = sha256(transform.model_dump_json(), f" {FEATURES_VERSION}")
    return ClipSource(
        (tracks["audio_sha256"] + f" {settings}").to_dict(),
        lambda track_ids: extract_files(raw, tracks.loc[list(track_ids), "path"].tolist(), transform),
        transform,
    )


def extract_files(raw: Path, paths: Sequence[str], transform: MelConfig) -> Iterator[ClipResult]:
    """(n_frames, n_mels) float16 dB of each file, or what is wrong with it, in order, on every core."""
    extract = partial(_extract_file, raw, transform=transform)
    return map_clips(extract, paths, "Spectrograms", on_crash=decoder_crashed)


def _extract_file(raw: Path, path: str, transform: MelConfig) -> ClipResult:
    try:
        # A second more than a clip: resampling its end takes a few samples from beyond it.
        recording = decode(raw / path, transform.clip_duration_s + 1)
        return extract_first_clip(recording, transform).astype(np.float16)
    except AudioError as error:
        return error
