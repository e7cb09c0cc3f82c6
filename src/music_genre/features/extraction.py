"""From recordings to what models take, spectrograms and embeddings, in the same pass that describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from music_genre.audio.decoding import decode, decoder_crashed
from music_genre.audio.folder import AudioFolder
from music_genre.audio.info import AudioInfo, inspect_recording
from music_genre.audio.signal import AudioSignal, resample
from music_genre.compute import map_clips
from music_genre.encoders.description import EncoderConfig
from music_genre.encoders.encoder import Encoder, clip_windows
from music_genre.errors import AudioError, IssueReason
from music_genre.features.mel import extract_first_clip
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.features.statistics import spectrogram_statistics
from music_genre.files import sha256

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

ClipResult = np.ndarray | AudioError
DType = type[np.float16] | type[np.float32]


@dataclass(frozen=True)
class SpectrogramExtractor:
    """Makes the spectrogram of a recording's first clip.

    Args:
        made_by: the transform.
    """

    made_by: MelConfig
    description: ClassVar = "Spectrograms"
    dtype: ClassVar[DType] = np.float16

    @property
    def decoded_seconds(self) -> float:
        """Seconds of a recording that it takes."""
        return _decoded_seconds(self.made_by)

    def key(self, audio_sha256: str) -> str:
        """What determines the result: a recording has the same one whatever tags its file has."""
        return f"{audio_sha256} {sha256(self.made_by.model_dump_json(), f' {FEATURES_VERSION}')}"

    def extract(self, recording: AudioSignal) -> np.ndarray:
        """(n_frames, n_mels) dB.

        Raises:
            AudioError: see ``log_mel``.
        """
        return extract_first_clip(recording, self.made_by)


@dataclass(frozen=True)
class EmbeddingExtractor:
    """Makes an encoder's embeddings of a recording's first clip, which is the one that a spectrogram shows.

    Args:
        encoder: the encoder; its folder must be where workers find it, too.
        transform: of the spectrograms.
    """

    encoder: Encoder
    transform: MelConfig
    description: ClassVar = "Embeddings"
    dtype: ClassVar[DType] = np.float32

    @property
    def made_by(self) -> EncoderConfig:
        """What the encoder says about itself."""
        return self.encoder.config

    @property
    def decoded_seconds(self) -> float:
        """Seconds of a recording that it takes."""
        return _decoded_seconds(self.transform)

    def key(self, audio_sha256: str) -> str:
        """What determines the result."""
        clip = f" {self.transform.frames_duration_s} {FEATURES_VERSION}"
        return f"{audio_sha256} {sha256(self.made_by.digest, clip)}"

    def extract(self, recording: AudioSignal) -> np.ndarray:
        """(windows, dimension) float32."""
        audio = resample(recording, self.made_by.sample_rate_hz)
        return self.encoder.encode(clip_windows(audio, self.made_by, self.transform.frames_duration_s))


FeatureExtractor = SpectrogramExtractor | EmbeddingExtractor


@dataclass(frozen=True)
class ClipSource:
    """Where the features of a collection come from.

    Args:
        cache_keys: by track id, a text that names everything that determines a clip's features.
        extract: from track ids to the features of each, or what is wrong with the clip, in order.
        made_by: the transform or the encoder; None where the collection holds ready spectrograms.
        dtype: of what is stored.
    """

    cache_keys: Mapping[int, str]
    extract: Callable[[Sequence[int]], Iterator[ClipResult]]
    made_by: MelConfig | EncoderConfig | None
    dtype: DType = np.float16

    def describe(self, clip: np.ndarray) -> dict[str, float]:
        """Columns of the index about one clip: those of ``spectrogram_statistics``."""
        return {} if isinstance(self.made_by, EncoderConfig) else spectrogram_statistics(clip, self.made_by)


def audio_clips(
    audio: AudioFolder, tracks: pd.DataFrame, extractor: FeatureExtractor, journal: Path | None = None
) -> ClipSource:
    """The features of audio files.

    Args:
        audio: the folder of the collection.
        tracks: columns track_id, path (relative to ``audio``), audio_sha256.
        extractor: makes them.
        journal: names the file that is worked on; see ``map_clips``.
    """
    tracks = tracks.set_index("track_id")
    return ClipSource(
        {track_id: extractor.key(digest) for track_id, digest in tracks["audio_sha256"].items()},
        lambda track_ids: extract_files(audio, tracks.loc[list(track_ids), "path"].tolist(), extractor, journal),
        extractor.made_by,
        extractor.dtype,
    )


def extract_files(
    audio: AudioFolder, paths: Sequence[str], extractor: FeatureExtractor, journal: Path | None = None
) -> Iterator[ClipResult]:
    """The features of each file, or what is wrong with it, in order, on every core."""
    extract = partial(_extract_file, audio, extractor=extractor)
    return map_clips(extract, paths, extractor.description, decoder_crashed, journal)


def describe_and_extract(
    audio: AudioFolder, path: str, max_seconds: float, extractors: Sequence[FeatureExtractor]
) -> tuple[AudioInfo | AudioError, list[ClipResult]]:
    """What up to ``max_seconds`` of a file hold and what each extractor makes of it, from one decoding. Where the file
    cannot be decoded there are no features; where a clip cannot be used by one, the others are not asked.

    Raises:
        AudioError: ``unreadable``, which is no fault of the recording.
    """
    try:
        with audio.open(path) as file:
            seconds = max((extractor.decoded_seconds for extractor in extractors), default=0)
            info, recording = inspect_recording(file, max_seconds, seconds)
    except AudioError as error:
        return _unless_unreadable(error), []
    clips: list[ClipResult] = []
    for extractor in extractors:
        clips.append(_extract(recording, extractor))
        if isinstance(clips[-1], AudioError):
            break
    return info, clips


def _extract_file(audio: AudioFolder, path: str, extractor: FeatureExtractor) -> ClipResult:
    try:
        with audio.open(path) as file:
            return _extract(decode(file, extractor.decoded_seconds), extractor)
    except AudioError as error:
        return _unless_unreadable(error)


def _unless_unreadable(error: AudioError) -> AudioError:
    if error.reason == IssueReason.UNREADABLE:
        raise error
    return error


def _extract(recording: AudioSignal, extractor: FeatureExtractor) -> ClipResult:
    try:
        return extractor.extract(recording).astype(extractor.dtype)
    except AudioError as error:
        return error


def _decoded_seconds(transform: MelConfig) -> float:
    """A second more than a clip: resampling its end takes a few samples from beyond it."""
    return transform.clip_duration_s + 1
