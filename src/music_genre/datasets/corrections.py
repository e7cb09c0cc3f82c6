"""Corrections of labels that people decided on: ``data/corrections.csv``, applied to any source before the split."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from music_genre.datasets.issues import DataIssue, issue_table, merge_issues
from music_genre.errors import IssueReason, MusicGenreError
from music_genre.files import atomic_write_text

COLUMNS = ("track_id", "genre", "reason")
DROP = "drop"  # in place of a genre: the track is left out
FORGOTTEN = "forgotten"  # a reason to drop a track, of `music-genre forget`: not even its file is taken in again


@dataclass(frozen=True)
class CorrectedTracks:
    """Usable tracks, and what was found on the way.

    Args:
        tracks: with the right genres; ``listed_genre`` is what the source says.
        issues: the columns of ``DataIssue``.
        unknown_ids: corrections of tracks that the collection does not have.
    """

    tracks: pd.DataFrame
    issues: pd.DataFrame
    unknown_ids: tuple[int, ...]


def read_corrections(path: Path) -> pd.DataFrame:
    """Columns track_id (int64), genre, reason; no row where there is no such file.

    Raises:
        MusicGenreError: a line cannot be read, or a track has two corrections; the message names the line.
    """
    rows: dict[int, tuple[int, str, str]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ",".join(COLUMNS)
    except ValueError as error:
        raise MusicGenreError(f"{path} is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise MusicGenreError(f"{path}: found the columns {reader.fieldnames}; expected {','.join(COLUMNS)}")
    for row in reader:
        line = f"{path}, line {reader.line_num}"
        track_id, genre = (row["track_id"] or "").strip(), (row["genre"] or "").strip()
        if not track_id.isascii() or not track_id.isdigit() or len(track_id) > 18:
            raise MusicGenreError(f"{line}: found track_id {track_id!r}; expected a number, as in data/tracks.parquet")
        if not genre or None in row:
            raise MusicGenreError(f"{line}: expected track_id, genre (or {DROP}) and reason")
        if int(track_id) in rows:
            raise MusicGenreError(f"{line}: track {track_id} has two corrections; keep one")
        rows[int(track_id)] = (int(track_id), genre, (row["reason"] or "").strip())
    table = pd.DataFrame(rows.values(), columns=list(COLUMNS))
    return table.astype({"track_id": "int64", "genre": "string", "reason": "string"})


def write_corrections(path: Path, rows: Iterable[tuple[int, str, str]]) -> None:
    """Replace the file as a whole; rows are (track_id, genre or ``drop``, reason), by track_id."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(rows))
    atomic_write_text(path, text.getvalue())


def forgotten_tracks(corrections: pd.DataFrame) -> frozenset[int]:
    """The ids of tracks that are forgotten, of what ``read_corrections`` gives."""
    is_forgotten = corrections["genre"].eq(DROP) & corrections["reason"].eq(FORGOTTEN)
    return frozenset(corrections.loc[is_forgotten, "track_id"].tolist())


def apply_corrections(tracks: pd.DataFrame, issues: pd.DataFrame, corrections: pd.DataFrame) -> CorrectedTracks:
    """Give tracks their right genres, and leave out those that are to be dropped.

    Args:
        tracks: usable tracks.
        issues: found so far.
        corrections: see ``read_corrections``.

    Raises:
        MusicGenreError: a correction names a genre that no track has.
    """
    tracks = tracks.assign(listed_genre=tracks["genre"])
    genres = {genre.casefold(): genre for genre in tracks["genre"].dropna().unique()}
    wanted = corrections.set_index("track_id")["genre"]
    unknown = sorted(set(wanted) - {DROP} - set(genres.values()))
    unknown = [name for name in unknown if name.casefold() not in genres]
    if unknown:
        raise MusicGenreError(
            f"data/corrections.csv: no track has the genre {', '.join(unknown)}; choose from"
            f" {', '.join(sorted(genres.values()))}, or {DROP}"
        )
    is_known = wanted.index.isin(tracks["track_id"])
    corrected = tracks["track_id"].map(wanted.to_dict()).astype("string")
    is_dropped = corrected.eq(DROP).fillna(False).astype(bool)
    names = corrected.map({name: genres.get(name.casefold(), name) for name in wanted}).astype("string")
    tracks["genre"] = names.where(~is_dropped).fillna(tracks["genre"]).astype("string")
    reasons = corrections.set_index("track_id")["reason"]
    found = [
        DataIssue(int(row.track_id), row.path, "dropped", IssueReason.CORRECTION, str(reasons[row.track_id]))
        for row in tracks[is_dropped].itertuples()
    ]
    merged = merge_issues([issues, issue_table(found)])
    return CorrectedTracks(tracks[~is_dropped], merged, tuple(map(int, wanted.index[~is_known])))
