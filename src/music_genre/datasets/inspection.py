"""Inspect every file of a collection: drop tracks that cannot be used, warn about those that are not as they should be.

What needs the audio itself is found here, track by track; what shows only in tables is checked by ``validation``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from music_genre.audio.folder import AudioFolder
from music_genre.audio.info import AudioInfo
from music_genre.datasets.identity import track_id_of
from music_genre.datasets.issues import DataIssue, issue_table
from music_genre.datasets.names import artist_keys
from music_genre.datasets.recordings import MAX_DURATION_S, InspectionCache, inspect_files
from music_genre.errors import IssueReason, MusicGenreError

MAX_SILENT_FRACTION = 0.5  # a clip with more silence is mostly silent
MIN_TAGGED, MAX_ARTIST_GENRES = 6, 0.8  # of so many tracks, more whose genre is their artist are no accident

AUDIO_COLUMNS = {
    "duration_s": "Float64",
    "sample_rate_hz": "Int64",
    "channels": "Int64",
    "sha256": "string",
    "audio_sha256": "string",
}


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
