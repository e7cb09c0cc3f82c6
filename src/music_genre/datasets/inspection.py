"""Find what a collection really holds: listen to every file, drop or warn about what is not as it should be."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre.compute import map_clips
from music_genre.errors import AudioError, MusicGenreError
from music_genre.features.audio import MISSING_SECONDS, AudioInfo, is_silent, listen

MAX_SECONDS = 3600.0
"""Files are heard up to here; longer ones are no songs."""

MOSTLY = 0.5
"""A clip is mostly silent above this share of silence."""

AUDIO_COLUMNS = {"seconds": "Float64", "sample_rate_hz": "Int64", "channels": "Int64", "sha256": "string"}


@dataclass(frozen=True)
class Fault:
    """A row of ``faults.csv``. ``severity`` is ``dropped`` or ``warned``."""

    track_id: int
    path: str
    severity: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Heard:
    """What one file turned out to be: facts and digest, or the reason it cannot be used."""

    facts: AudioInfo | None
    sha256: str | None
    fault: tuple[str, str] | None


def index_audio(
    listed: pd.DataFrame, raw: Path, min_duration_s: float, artists_from_tags: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Listen to every listed track.

    Args:
        listed: columns track_id, path (relative to ``raw``), genre, artist_id, title, license, split.
        raw: the folder of the collection.
        min_duration_s: shorter clips are dropped.
        artists_from_tags: an artist that a file's tags name takes the place of the listed one.

    Returns:
        usable tracks (``listed`` with ``AUDIO_COLUMNS``) and faults (the columns of ``Fault``), both by track_id.
    """
    twice = listed["track_id"].duplicated()
    repeated = [
        Fault(int(row.track_id), row.path, "dropped", "duplicate", "listed before under the same id")
        for row in listed[twice].itertuples()
    ]
    listed = listed[~twice]
    paths = listed["path"].tolist()
    heard = list(map_clips(partial(hear, raw, min_duration_s=min_duration_s), paths, "Listening", on_crash=crashed))
    tracks = listed.copy()
    tracks["seconds"] = [h.facts.seconds if h.facts else None for h in heard]
    tracks["sample_rate_hz"] = [h.facts.sample_rate_hz if h.facts else None for h in heard]
    tracks["channels"] = [h.facts.channels if h.facts else None for h in heard]
    tracks["sha256"] = [h.sha256 for h in heard]
    if artists_from_tags:
        tags = pd.Series([h.facts.artist if h.facts else None for h in heard], tracks.index, "string")
        tracks["artist_id"] = tags.fillna(tracks["artist_id"])
    tracks = tracks.astype(AUDIO_COLUMNS)
    faults = [
        Fault(int(track_id), path, "dropped", *h.fault)
        for track_id, path, h in zip(tracks["track_id"], paths, heard, strict=True)
        if h.fault
    ]
    usable = [h.fault is None for h in heard]
    faults += [
        Fault(int(track_id), path, "warned", reason, detail)
        for track_id, path, h in zip(tracks["track_id"], paths, heard, strict=True)
        if h.facts and h.fault is None
        for reason, detail in _warnings(h.facts)
    ]
    tracks, duplicates = drop_leaking_copies(tracks[usable])
    return tracks.sort_values("track_id", ignore_index=True), faults_table(repeated + faults + duplicates)


def index_spectrograms(listed: pd.DataFrame, spread: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same for ready spectrograms: no audio columns to fill; one without any change is silence.

    Args:
        listed: as for ``index_audio``.
        spread: (n,) largest less smallest value of each spectrogram; not finite where it holds such values.
    """
    empty = {column: pd.array([None] * len(listed), dtype=kind) for column, kind in AUDIO_COLUMNS.items()}
    faults = [
        Fault(
            int(listed["track_id"].iloc[row]),
            listed["path"].iloc[row],
            "dropped",
            "silent",
            "the same value everywhere",
        )
        if spread[row] == 0
        else Fault(
            int(listed["track_id"].iloc[row]),
            listed["path"].iloc[row],
            "dropped",
            "not_finite",
            "holds NaN or infinity",
        )
        for row in np.flatnonzero((spread == 0) | ~np.isfinite(spread))
    ]
    return listed.assign(**empty)[(spread != 0) & np.isfinite(spread)].reset_index(drop=True), faults_table(faults)


def hear(raw: Path, path: str, min_duration_s: float) -> Heard:
    """Listen to one file."""
    file = raw / path
    if not file.is_file():
        return Heard(None, None, ("missing", "listed, but there is no such file"))
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    try:
        facts = listen(file, MAX_SECONDS + 1)
    except AudioError as fault:
        return Heard(None, digest, (fault.reason, fault.detail))
    return Heard(facts, digest, _reason_to_drop(facts, min_duration_s))


def crashed(path: str) -> Heard:
    """What is said of a file that ended its worker."""
    return Heard(None, None, ("undecodable", "the decoder crashed"))


def drop_leaking_copies(tracks: pd.DataFrame) -> tuple[pd.DataFrame, list[Fault]]:
    """Treat files that are the same byte for byte.

    The training copy of a clip that validation or test holds is dropped. Copies that share a split, or whose
    split is not decided yet, are kept, and those are told once, under the lowest track id of them.

    Args:
        tracks: columns track_id, path, split (may be null), sha256.
    """
    faults, leaking = [], []
    for _, copies in tracks.sort_values("track_id").groupby("sha256"):
        if len(copies) == 1:
            continue
        leading = ["test", "validation", "training"]
        kept = next((split for split in leading if (copies["split"] == split).any()), None)
        stay = copies.loc[copies["split"].isna() | (copies["split"] == kept), "track_id"].tolist()
        for row in copies.itertuples():
            others = copies[copies["track_id"] != row.track_id]
            detail = f"the same file as {', '.join(map(str, others['track_id']))}"
            if row.track_id not in stay:
                leaking.append(row.Index)
                faults.append(Fault(int(row.track_id), row.path, "dropped", "duplicate", f"{detail}, held out"))
            elif len(stay) > 1 and row.track_id == stay[0]:
                faults.append(Fault(int(row.track_id), row.path, "warned", "duplicate", detail))
    return tracks.drop(index=leaking), faults


def refuse_too_many(faults: pd.DataFrame, listed: int, max_share: float) -> None:
    """Stop where a collection is more broken than expected.

    Raises:
        MusicGenreError: more than ``max_share`` of the ``listed`` tracks were dropped, or all.
    """
    dropped = faults[faults["severity"] == "dropped"]
    if listed and len(dropped) < listed and len(dropped) <= max_share * listed:
        return
    first = "; ".join(f"{row.path} {row.reason}" for row in dropped.head(3).itertuples())
    raise MusicGenreError(
        f"{len(dropped)} of {listed} tracks cannot be used, data.max_skipped_fraction allows {max_share:.0%}:"
        f" {first or 'nothing is listed'};"
        " data/faults.csv has all"
    )


def faults_table(faults: list[Fault]) -> pd.DataFrame:
    columns = list(Fault.__dataclass_fields__)
    return pd.DataFrame([asdict(fault) for fault in faults], columns=columns).sort_values(
        ["track_id", "reason"], ignore_index=True
    )


def _reason_to_drop(facts: AudioInfo, min_duration_s: float) -> tuple[str, str] | None:
    if is_silent(facts.peak) and facts.lost_share:
        return "not_finite", _lost(facts)
    if is_silent(facts.peak):
        return "silent", f"peak {facts.peak:.6f} over {facts.seconds:.1f} s"
    if facts.seconds < min_duration_s:
        return "short", f"{facts.seconds:.1f} s, data.min_duration_s is {min_duration_s:g}"
    if facts.seconds > MAX_SECONDS:
        return "too_long", f"over {MAX_SECONDS:.0f} s"
    return None


def _warnings(facts: AudioInfo) -> list[tuple[str, str]]:
    found = []
    if facts.lost_share:
        found.append(("not_finite", _lost(facts)))
    if facts.claimed_seconds - facts.seconds > MISSING_SECONDS:
        found.append(("truncated", f"{facts.seconds:.1f} s, its header says {facts.claimed_seconds:.1f}"))
    if facts.silent_share > MOSTLY:
        found.append(("mostly_silent", f"{facts.silent_share:.0%} of it"))
    return found


def _lost(facts: AudioInfo) -> str:
    return f"{facts.lost_share:.2%} of its samples are NaN, infinite or beyond any sound"
