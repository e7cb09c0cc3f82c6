"""Inspect every file of a collection: drop tracks that cannot be used, warn about those that are not as they should be.

What needs the audio itself is found here, track by track; what shows only in tables is checked by ``validation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from music_genre.audio.decoding import decoder_crashed
from music_genre.audio.folder import AudioFolder
from music_genre.audio.info import AudioInfo
from music_genre.compute import map_clips
from music_genre.datasets.copying import ManifestEntry, read_manifest
from music_genre.datasets.identity import identify, track_id_of
from music_genre.datasets.issues import DataIssue, issue_table
from music_genre.datasets.names import artist_keys
from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.features.cache import ClipWriter
from music_genre.features.extraction import ClipResult, clip_key, describe_and_extract
from music_genre.features.params import MelConfig
from music_genre.files import JsonLines, file_sha256, sha256

MAX_DURATION_S = 3600.0  # longer files are dropped
MAX_SILENT_FRACTION = 0.5  # a clip with more silence is mostly silent
MIN_TAGGED, MAX_ARTIST_GENRES = 6, 0.8  # of so many tracks, more whose genre is their artist are no accident

AUDIO_COLUMNS = {
    "duration_s": "Float64",
    "sample_rate_hz": "Int64",
    "channels": "Int64",
    "sha256": "string",
    "audio_sha256": "string",
}
INSPECTION_VERSION = 2  # of what is kept: raise it where the same file gives other values


@dataclass(frozen=True)
class InspectionCache:
    """Where what was found is kept, by content, and where spectrograms go that the same decoding gives.

    Args:
        folder: of what was found.
        clips: the cache of spectrograms.
        transform: of the spectrograms; None: none are made.
    """

    folder: Path
    clips: Path
    transform: MelConfig | None


@dataclass(frozen=True)
class InspectedFile:
    """A file's audio and digests, or why it cannot be used.

    Args:
        info: None where the file cannot be decoded.
        sha256: of the content; None where there is no file.
        audio_sha256: of the recording, see ``identity``.
        artist: by the file's tags.
        error: reason and detail; None where the file can be decoded.
    """

    info: AudioInfo | None
    sha256: str | None
    audio_sha256: str
    artist: str | None
    error: tuple[IssueReason, str] | None

    @classmethod
    def from_probe(cls, probed: dict[str, Any], digest: str, audio_sha256: str, artist: str | None) -> InspectedFile:
        """From what ``_to_json`` gave."""
        if "error" in probed:
            reason, detail = probed["error"]
            return cls(None, digest, audio_sha256, artist, (IssueReason(reason), detail))
        return cls(AudioInfo.from_json(probed["info"]), digest, audio_sha256, artist, None)


def inspect_audio(
    tracks: pd.DataFrame,
    audio: AudioFolder,
    min_duration_s: float,
    cache: InspectionCache,
    artists_from_tags: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode the file of every track whose audio has not been decoded before.

    Args:
        tracks: columns track_id (null: it follows from the audio), path (relative to ``audio``), genre, artist_id,
            title, license, split.
        audio: the folder of the collection.
        min_duration_s: shorter clips are dropped.
        cache: keeps what was found.
        artists_from_tags: an artist that a file's tags name takes the place of the listed one.

    Returns:
        usable tracks (``tracks`` with ``AUDIO_COLUMNS``) and issues (the columns of ``DataIssue``), both by track_id.
    """
    is_duplicate = tracks["track_id"].notna() & tracks["track_id"].duplicated()
    issues = [
        DataIssue(int(row.track_id), row.path, "dropped", IssueReason.DUPLICATE, "listed before under the same id")
        for row in tracks[is_duplicate].itertuples()
    ]
    tracks = tracks[~is_duplicate].copy()
    inspected = inspect_files(audio, tracks["path"].tolist(), cache)
    infos = [file.info for file in inspected]
    tracks["duration_s"] = [info.duration_s if info else None for info in infos]
    tracks["sample_rate_hz"] = [info.sample_rate_hz if info else None for info in infos]
    tracks["channels"] = [info.channels if info else None for info in infos]
    tracks["sha256"] = [file.sha256 for file in inspected]
    tracks["audio_sha256"] = [file.audio_sha256 for file in inspected]
    tracks = tracks.astype(AUDIO_COLUMNS)
    ids = tracks["audio_sha256"].map(track_id_of, na_action="ignore").astype("Int64")
    tracks["track_id"] = tracks["track_id"].fillna(ids).astype("int64")
    if artists_from_tags:
        tags = pd.Series([file.artist for file in inspected], tracks.index, "string")
        tracks["artist_id"] = tags.fillna(tracks["artist_id"])
    usable = []
    for track_id, path, file in zip(tracks["track_id"], tracks["path"], inspected, strict=True):
        error = file.error or (file.info and _reason_to_drop(file.info, min_duration_s))
        usable.append(error is None)
        if error:
            issues.append(DataIssue(int(track_id), path, "dropped", *error))
        elif file.info:
            issues += [DataIssue(int(track_id), path, "warned", *warning) for warning in _warnings(file.info)]
    return tracks[np.array(usable, dtype=bool)].sort_values(["track_id", "path"], ignore_index=True), issue_table(
        issues
    )


def inspect_spectrograms(tracks: pd.DataFrame, value_range: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check ready spectrograms: the audio columns stay empty, and one with the same value everywhere is silent.

    Args:
        tracks: as for ``inspect_audio``.
        value_range: (n,) largest minus smallest value of each spectrogram; not finite where it holds such values.

    Returns:
        As ``inspect_audio``.
    """
    empty = {column: pd.array([None] * len(tracks), dtype=kind) for column, kind in AUDIO_COLUMNS.items()}
    usable = (value_range != 0) & np.isfinite(value_range)
    issues = [
        DataIssue(int(row.track_id), row.path, "dropped", IssueReason.SILENT, "the same value everywhere")
        if is_constant
        else DataIssue(int(row.track_id), row.path, "dropped", IssueReason.NOT_FINITE, "holds NaN or infinity")
        for row, is_constant in zip(tracks[~usable].itertuples(), value_range[~usable] == 0, strict=True)
    ]
    return tracks.assign(**empty)[usable].reset_index(drop=True), issue_table(issues)


def inspect_files(audio: AudioFolder, paths: Sequence[str], cache: InspectionCache) -> list[InspectedFile]:
    """What each file holds. Only recordings that were never inspected are decoded: a file that was renamed or tagged
    anew is known by its audio.

    Args:
        audio: the folder of the collection, with the digests that ``copying`` knows.
        paths: relative to it.
        cache: keeps what was found.
    """
    manifest = read_manifest(audio.path)
    digests = {path: _sha256(audio.path, path, manifest.get(path)) for path in paths}
    first_path = {digest: path for path, digest in reversed(digests.items()) if digest}
    identities = _identify_files(audio, first_path, cache)
    recordings = {identities[digest][0]: path for digest, path in reversed(first_path.items())}
    probed = _inspect_recordings(audio, recordings, cache)
    inspected = []
    for path in paths:
        digest = digests[path]
        if digest is None:
            error = (IssueReason.MISSING, "listed, but there is no such file")
            inspected.append(InspectedFile(None, None, sha256(path), None, error))
            continue
        audio_sha256, artist = identities[digest]
        inspected.append(InspectedFile.from_probe(probed[audio_sha256], digest, audio_sha256, artist))
    return inspected


def _sha256(audio: Path, path: str, entry: ManifestEntry | None) -> str | None:
    """The digest of a file, from the manifest where it has one; None where there is no file."""
    file = audio / path
    if not file.is_file():
        return None
    return entry.sha256 if entry and entry.sha256 and entry.size == file.stat().st_size else file_sha256(file)


def _identify_files(
    audio: AudioFolder, paths: Mapping[str, str], cache: InspectionCache
) -> dict[str, tuple[str, str | None]]:
    """Digest of the audio and artist, by the digest of the file."""
    kept = JsonLines(cache.folder / f"files-{INSPECTION_VERSION}.jsonl")
    known = {name: (audio_sha256, artist) for name, (audio_sha256, artist) in kept.read().items()}
    missing = [name for name in paths if name not in known]
    results = map_clips(
        partial(_identify, audio),
        [paths[name] for name in missing],
        "Reading tags",
        lambda path: (file_sha256(audio.path / path), None),
    )
    with kept.appending() as append:
        for name, identity in zip(missing, results, strict=True):
            append(name, identity)
            known[name] = identity
    return known


def _identify(audio: AudioFolder, path: str) -> tuple[str, str | None]:
    with audio.open(path) as file:
        identity = identify(file)
    return identity.audio_sha256, identity.artist


def _inspect_recordings(audio: AudioFolder, paths: Mapping[str, str], cache: InspectionCache) -> dict[str, Any]:
    """What ``_to_json`` gives of each recording, by the digest of its audio; its spectrogram goes to its own cache.

    What was found is written once the spectrogram is, so that a run after a kill decodes what lacks either.
    """
    kept, clips = JsonLines(cache.folder / f"recordings-{INSPECTION_VERSION}.jsonl"), ClipWriter(cache.clips)
    known = kept.read()
    missing = [name for name in paths if name not in known]
    inspect = partial(describe_and_extract, audio, max_seconds=MAX_DURATION_S + 1, transform=cache.transform)
    results = map_clips(inspect, [paths[name] for name in missing], "Inspecting", _crashed)
    written = 0
    with kept.appending() as append:
        for count, (name, (found, clip)) in enumerate(zip(missing, results, strict=True), 1):
            known[name] = _to_json(found)
            if clip is not None and cache.transform is not None:
                clips.add(clip_key(name, cache.transform), clip)
            if count == len(missing):
                clips.flush()
            if not clips.waiting:
                for done in missing[written:count]:
                    append(done, known[done])
                written = count
    return known


def _to_json(found: AudioInfo | AudioError) -> dict[str, Any]:
    if isinstance(found, AudioError):
        return {"error": [found.reason, found.detail]}
    return {"info": asdict(found)}


def _crashed(path: str) -> tuple[AudioError, ClipResult | None]:
    return decoder_crashed(path), None


def check_genres(tracks: pd.DataFrame) -> None:
    """Refuse usable tracks of fewer than two genres, and folders of artists that were taken for genres.

    Args:
        tracks: columns genre, artist_id.

    Raises:
        MusicGenreError: with the likely cause.
    """
    genres = sorted(tracks["genre"].dropna().unique())
    if len(genres) < 2:
        raise MusicGenreError(
            f"usable tracks are of {'one genre only, ' + genres[0] if genres else 'no genre'}; two or more are needed"
            " to tell apart: data/faults.csv says what was dropped, and data.source where tracks come from"
        )
    tagged = tracks.dropna(subset=["artist_id", "genre"])
    is_artist = [
        artist_keys(genre) == artist_keys(artist)
        for genre, artist in zip(tagged["genre"], tagged["artist_id"], strict=True)
    ]
    if len(tagged) >= MIN_TAGGED and np.mean(is_artist) > MAX_ARTIST_GENRES:
        raise MusicGenreError(
            f"the genres are named as the artists of their tracks ({', '.join(genres[:3])}): data.folder.path is one"
            " level too deep; name the folder that holds a folder a genre"
        )


def _reason_to_drop(info: AudioInfo, min_duration_s: float) -> tuple[IssueReason, str] | None:
    if info.is_silent:
        invalid = [note.message for note in info.notes if note.code == IssueReason.NOT_FINITE]
        if invalid:
            return IssueReason.NOT_FINITE, invalid[0]
        return IssueReason.SILENT, f"peak {info.peak:.6f} over {info.duration_s:.1f} s"
    if info.duration_s < min_duration_s:
        return IssueReason.SHORT, f"{info.duration_s:.1f} s, data.min_duration_s is {min_duration_s:g}"
    if info.duration_s > MAX_DURATION_S:
        return IssueReason.TOO_LONG, f"over {MAX_DURATION_S:.0f} s"
    return None


def _warnings(info: AudioInfo) -> list[tuple[IssueReason, str]]:
    warnings = [(note.code, note.message) for note in info.notes]
    if info.silent_fraction > MAX_SILENT_FRACTION:
        warnings.append((IssueReason.MOSTLY_SILENT, f"{info.silent_fraction:.0%} of it"))
    return warnings
