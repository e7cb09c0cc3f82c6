"""Inspect every file of a collection: drop tracks that cannot be used, warn about those that are not as they should be.

What needs the audio itself is found here, track by track; what shows only in tables is checked by ``validation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from music_genre.compute import map_clips
from music_genre.errors import AudioError, IssueReason, MusicGenreError
from music_genre.features.audio import TRUNCATION_TOLERANCE_S, AudioInfo, decoder_crashed, is_silent, probe
from music_genre.files import file_sha256

MAX_DURATION_S = 3600.0  # longer files are dropped
MAX_SILENT_FRACTION = 0.5  # a clip with more silence is mostly silent
MAX_TRACKS_SHOWN = 3  # of a refused collection, in the error message

AUDIO_COLUMNS = {"duration_s": "Float64", "sample_rate_hz": "Int64", "channels": "Int64", "sha256": "string"}


@dataclass(frozen=True)
class DataIssue:
    """A row of ``faults.csv``."""

    track_id: int
    path: str
    severity: Literal["dropped", "warned"]
    reason: IssueReason
    detail: str


@dataclass(frozen=True)
class InspectedFile:
    """A file's audio and digest, or why it cannot be used.

    Args:
        info: None where the file cannot be decoded.
        sha256: of the content; None where there is no file, or where it ended the decoder.
        error: reason and detail; None where the file can be used.
    """

    info: AudioInfo | None
    sha256: str | None
    error: tuple[IssueReason, str] | None


def inspect_audio(
    tracks: pd.DataFrame, raw: Path, min_duration_s: float, artists_from_tags: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode the file of every track.

    Args:
        tracks: columns track_id, path (relative to ``raw``), genre, artist_id, title, license, split.
        raw: the folder of the collection.
        min_duration_s: shorter clips are dropped.
        artists_from_tags: an artist that a file's tags name takes the place of the listed one.

    Returns:
        usable tracks (``tracks`` with ``AUDIO_COLUMNS``) and issues (the columns of ``DataIssue``), both by track_id.
    """
    is_duplicate = tracks["track_id"].duplicated()
    issues = [
        DataIssue(int(row.track_id), row.path, "dropped", IssueReason.DUPLICATE, "listed before under the same id")
        for row in tracks[is_duplicate].itertuples()
    ]
    tracks = tracks[~is_duplicate].copy()
    inspect = partial(inspect_file, raw, min_duration_s=min_duration_s)
    inspected = list(map_clips(inspect, tracks["path"].tolist(), "Inspecting", on_crash=_crashed))
    infos = [file.info for file in inspected]
    tracks["duration_s"] = [info.duration_s if info else None for info in infos]
    tracks["sample_rate_hz"] = [info.sample_rate_hz if info else None for info in infos]
    tracks["channels"] = [info.channels if info else None for info in infos]
    tracks["sha256"] = [file.sha256 for file in inspected]
    if artists_from_tags:
        tags = pd.Series([info.artist if info else None for info in infos], tracks.index, "string")
        tracks["artist_id"] = tags.fillna(tracks["artist_id"])
    tracks = tracks.astype(AUDIO_COLUMNS)
    for track_id, path, file in zip(tracks["track_id"], tracks["path"], inspected, strict=True):
        if file.error:
            issues.append(DataIssue(int(track_id), path, "dropped", *file.error))
        elif file.info:
            issues += [DataIssue(int(track_id), path, "warned", *warning) for warning in _warnings(file.info)]
    usable = [file.error is None for file in inspected]
    tracks, duplicates = drop_leaked_duplicates(tracks[usable])
    return tracks.sort_values("track_id", ignore_index=True), issue_table(issues + duplicates)


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


def inspect_file(raw: Path, path: str, min_duration_s: float) -> InspectedFile:
    """Decode one file."""
    file = raw / path
    if not file.is_file():
        return InspectedFile(None, None, (IssueReason.MISSING, "listed, but there is no such file"))
    digest = file_sha256(file)
    try:
        info = probe(file, MAX_DURATION_S + 1)
    except AudioError as error:
        return InspectedFile(None, digest, (error.reason, error.detail))
    return InspectedFile(info, digest, _reason_to_drop(info, min_duration_s))


def drop_leaked_duplicates(tracks: pd.DataFrame) -> tuple[pd.DataFrame, list[DataIssue]]:
    """Drop training copies of files that validation or test hold, too.

    Copies in one split, or without a split as yet, are kept; one warning, under the lowest of their track ids, names
    the others.

    Args:
        tracks: columns track_id, path, split (may be null), sha256.
    """
    issues, leaked = [], []
    for _, copies in tracks.sort_values("track_id").groupby("sha256"):
        if len(copies) == 1:
            continue
        split = next((name for name in ("test", "validation", "training") if (copies["split"] == name).any()), None)
        kept_ids = copies.loc[copies["split"].isna() | (copies["split"] == split), "track_id"].tolist()
        for row in copies.itertuples():
            others = copies[copies["track_id"] != row.track_id]
            detail = f"the same file as {', '.join(map(str, others['track_id']))}"
            if row.track_id not in kept_ids:
                leaked.append(row.Index)
                detail = f"{detail}, held out"
                issues.append(DataIssue(int(row.track_id), row.path, "dropped", IssueReason.DUPLICATE, detail))
            elif len(kept_ids) > 1 and row.track_id == kept_ids[0]:
                issues.append(DataIssue(int(row.track_id), row.path, "warned", IssueReason.DUPLICATE, detail))
    return tracks.drop(index=leaked), issues


def check_issue_rate(issues: pd.DataFrame, n_tracks: int, max_skipped_fraction: float) -> None:
    """Refuse a collection of which too much was dropped.

    Args:
        issues: the columns of ``DataIssue``.
        n_tracks: all that were listed.
        max_skipped_fraction: that may be dropped.

    Raises:
        MusicGenreError: more tracks were dropped, or all.
    """
    dropped = issues[issues["severity"] == "dropped"]
    if n_tracks and len(dropped) < n_tracks and len(dropped) <= max_skipped_fraction * n_tracks:
        return
    first = "; ".join(f"{row.path} {row.reason}" for row in dropped.head(MAX_TRACKS_SHOWN).itertuples())
    raise MusicGenreError(
        f"{len(dropped)} of {n_tracks} tracks cannot be used, data.max_skipped_fraction allows"
        f" {max_skipped_fraction:.0%}: {first or 'no track is listed'}; data/faults.csv has all"
    )


def issue_table(issues: Iterable[DataIssue]) -> pd.DataFrame:
    """The columns of ``DataIssue``, by track_id and reason."""
    columns = [field.name for field in fields(DataIssue)]
    return _sorted(pd.DataFrame([asdict(issue) | {"reason": issue.reason.value} for issue in issues], columns=columns))


def merge_issues(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The issues that several stages found, in one table."""
    return _sorted(pd.concat([table for table in tables if len(table)] or [tables[0]]))


def _sorted(issues: pd.DataFrame) -> pd.DataFrame:
    return issues.sort_values(["track_id", "reason"], ignore_index=True)


def _crashed(path: str) -> InspectedFile:
    error = decoder_crashed(path)
    return InspectedFile(None, None, (error.reason, error.detail))


def _reason_to_drop(info: AudioInfo, min_duration_s: float) -> tuple[IssueReason, str] | None:
    if is_silent(info.peak) and info.invalid_fraction:
        return IssueReason.NOT_FINITE, _invalid_samples_text(info)
    if is_silent(info.peak):
        return IssueReason.SILENT, f"peak {info.peak:.6f} over {info.duration_s:.1f} s"
    if info.duration_s < min_duration_s:
        return IssueReason.SHORT, f"{info.duration_s:.1f} s, data.min_duration_s is {min_duration_s:g}"
    if info.duration_s > MAX_DURATION_S:
        return IssueReason.TOO_LONG, f"over {MAX_DURATION_S:.0f} s"
    return None


def _warnings(info: AudioInfo) -> list[tuple[IssueReason, str]]:
    warnings = []
    if info.invalid_fraction:
        warnings.append((IssueReason.NOT_FINITE, _invalid_samples_text(info)))
    if info.header_duration_s - info.duration_s > TRUNCATION_TOLERANCE_S:
        detail = f"{info.duration_s:.1f} s, its header says {info.header_duration_s:.1f}"
        warnings.append((IssueReason.TRUNCATED, detail))
    if info.silent_fraction > MAX_SILENT_FRACTION:
        warnings.append((IssueReason.MOSTLY_SILENT, f"{info.silent_fraction:.0%} of it"))
    return warnings


def _invalid_samples_text(info: AudioInfo) -> str:
    return f"{info.invalid_fraction:.2%} of its samples are NaN, infinite or out of range"
