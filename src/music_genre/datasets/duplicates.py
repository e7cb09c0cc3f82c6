"""Recordings that a collection holds more than once."""

from __future__ import annotations

import pandas as pd

from music_genre.datasets.issues import DataIssue
from music_genre.errors import IssueReason


def drop_copies(tracks: pd.DataFrame) -> tuple[pd.DataFrame, list[DataIssue]]:
    """Keep one of several files with the same track_id, which hold the same recording: the first by path. Where they
    have several genres, none is kept: nobody can say which is right.
    """
    issues: list[DataIssue] = []
    dropped: list[int] = []
    is_copy = tracks["track_id"].duplicated(keep=False)
    for _, copies in tracks[is_copy].sort_values("path").groupby("track_id"):
        genres = copies["genre"].unique()
        kept = copies.index[0] if len(genres) == 1 else None
        for row in copies.itertuples():
            if row.Index == kept:
                continue
            others = ", ".join(copies.loc[copies.index != row.Index, "path"])
            detail = f"the same recording as {others}"
            reason = IssueReason.DUPLICATE
            if kept is None:
                reason = IssueReason.LABEL_CONFLICT
                detail += f", under {', '.join(sorted(genres))}: data/corrections.csv can say which"
            dropped.append(row.Index)
            issues.append(DataIssue(int(row.track_id), row.path, "dropped", reason, detail))
    return tracks.drop(index=dropped), issues


def drop_leaked_duplicates(tracks: pd.DataFrame) -> tuple[pd.DataFrame, list[DataIssue]]:
    """Drop training copies of recordings that validation or test hold, too.

    Copies in one split, or without a split as yet, are kept; one warning, under the lowest of their track ids, names
    the others.

    Args:
        tracks: columns track_id, path, split (may be null), audio_sha256.
    """
    issues, leaked = [], []
    for _, copies in tracks.sort_values("track_id").groupby("audio_sha256"):
        if len(copies) == 1:
            continue
        split = next((name for name in ("test", "validation", "training") if (copies["split"] == name).any()), None)
        kept_ids = copies.loc[copies["split"].isna() | (copies["split"] == split), "track_id"].tolist()
        for row in copies.itertuples():
            others = copies[copies["track_id"] != row.track_id]
            detail = f"the same recording as {', '.join(map(str, others['track_id']))}"
            if row.track_id not in kept_ids:
                leaked.append(row.Index)
                detail = f"{detail}, held out"
                issues.append(DataIssue(int(row.track_id), row.path, "dropped", IssueReason.DUPLICATE, detail))
            elif len(kept_ids) > 1 and row.track_id == kept_ids[0]:
                issues.append(DataIssue(int(row.track_id), row.path, "warned", IssueReason.DUPLICATE, detail))
    return tracks.drop(index=leaked), issues
