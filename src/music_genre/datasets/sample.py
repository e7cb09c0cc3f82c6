"""A small synthetic collection in the layout of the Free Music Archive (FMA) data set.

It needs no download: `fma_small/000/000002.mp3` and so on, described by `fma_metadata/tracks.csv`
under FMA's own three header lines. What a model scores on it says nothing about music.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import soundfile
from pydantic import Field

from music_genre.compute import map_clips
from music_genre.config import ParamsModel
from music_genre.datasets.fma import load_tracks
from music_genre.datasets.registry import Dataset
from music_genre.datasets.synthesis import SAMPLE_RATE_HZ, STYLES, synthesise

METADATA = Path("fma_metadata/tracks.csv")
LICENSE = "CC0 1.0"
HELD_OUT_SHARE = 0.15  # of a genre's tracks, for validation and for test each
TRACKS_PER_ARTIST = 2
LARGEST_ID_GAP = 40
# FMA's ids in its table of genres.
GENRE_IDS = {
    "Electronic": 15,
    "Experimental": 38,
    "Folk": 17,
    "Hip-Hop": 21,
    "Instrumental": 1235,
    "International": 2,
    "Pop": 10,
    "Rock": 12,
}
COLUMNS = {
    "album": "comments date_created date_released engineer favorites id information listens "
    "producer tags title tracks type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created "
    "favorites id latitude location longitude members name related_projects tags website "
    "wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top "
    "genres genres_all information interest language_code license listens lyricist number "
    "publisher tags title",
}
COUNTS = frozenset({"comments", "favorites", "interest", "listens"})  # never empty in FMA


class Clip(NamedTuple):
    """One track of the collection; artists count within a genre, tracks within an artist."""

    track_id: int
    genre: str
    artist: int
    track: int
    split: str

    @property
    def path(self) -> Path:
        """Where the clip lies in the collection."""
        name = f"{self.track_id:06d}"
        return Path("fma_small", name[:3], f"{name}.mp3")


class Job(NamedTuple):
    """What a worker needs to write one clip."""

    clip: Clip
    root: Path
    seconds: float
    seed: int


class SampleParams(ParamsModel):
    """The section ``data.sample``.

    Args:
        tracks_per_genre: clips of each genre.
        duration_s: of each clip.
    """

    tracks_per_genre: Annotated[int, Field(ge=3)]
    duration_s: Annotated[float, Field(gt=0, le=600)]


def write_collection(root: Path, tracks_per_genre: int, seconds: float, seed: int) -> None:
    """Write the collection; the same arguments give the same audio and the same table.

    Args:
        root: Folder that receives `fma_small` and `fma_metadata`.
        tracks_per_genre: At least 3, so that every split has every genre.
        seconds: Length of a clip in seconds.
        seed: Of everything drawn, not negative.

    Raises:
        ValueError: If there are too few tracks to share out among the splits.
    """
    clips = plan_collection(tracks_per_genre, seed)
    jobs = [Job(clip, root, seconds, seed) for clip in clips]
    for _ in map_clips(write_clip, jobs, "Synthesising"):
        pass
    # Last, so that a table on disk means that its clips are too.
    write_metadata(root / METADATA, clips, seconds)


def plan_collection(tracks_per_genre: int, seed: int) -> list[Clip]:
    """Share tracks out among artists and artists among splits.

    Args:
        tracks_per_genre: At least 3.
        seed: Settles track ids and their order, in which genres and splits are mixed.

    Returns:
        The clips by increasing track id, tracks_per_genre for each genre.

    Raises:
        ValueError: If tracks_per_genre is below 3.
    """
    if tracks_per_genre < 3:
        raise ValueError(
            f"{tracks_per_genre} tracks a genre cannot fill training, validation and test; expected 3 or more"
        )
    rng = np.random.default_rng([seed, len(STYLES)])
    roles = share_out(tracks_per_genre)
    shuffled = {genre: rng.permutation(tracks_per_genre) for genre in STYLES}
    ids = 2 + np.cumsum(rng.integers(1, LARGEST_ID_GAP, len(STYLES) * tracks_per_genre))
    ids -= ids[0] - 2
    numbers = iter(ids.tolist())
    return [
        Clip(next(numbers), str(genre), *roles[shuffled[genre][turn]])
        for turn in range(tracks_per_genre)
        for genre in rng.permutation(list(STYLES))
    ]


def share_out(tracks: int) -> list[tuple[int, int, str]]:
    """Give each track of a genre (artist, track of that artist, split), no artist in two splits."""
    held_out = max(1, round(HELD_OUT_SHARE * tracks))
    sizes = {"training": tracks - 2 * held_out, "validation": held_out, "test": held_out}
    roles: list[tuple[int, int, str]] = []
    first_artist = 0
    for split, size in sizes.items():
        least = min(size, 2 if split == "training" else 1)
        artists = max(least, -(-size // TRACKS_PER_ARTIST))
        roles += [(first_artist + n % artists, n // artists, split) for n in range(size)]
        first_artist += artists
    return roles


def write_clip(job: Job) -> None:
    """Synthesise one clip and write it whole: under a temporary name, then renamed."""
    clip = job.clip
    samples = synthesise(clip.genre, clip.artist, clip.track, job.seconds, job.seed)
    # The grid of 16-bit audio hides what sines differ by between processors, in the last digit.
    audio = (np.round(samples * 32768.0) / 32768.0).astype(np.float32)
    path = job.root / clip.path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    # A variable rate is encoded a quarter sooner than a constant one.
    soundfile.write(
        unfinished,
        audio,
        SAMPLE_RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    )
    unfinished.replace(path)


def write_metadata(path: Path, clips: Sequence[Clip], seconds: float) -> None:
    """Write FMA's table of tracks: two lines of column names, one for the index, then the rows."""
    columns = [(level, name) for level, names in COLUMNS.items() for name in names.split()]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *(level for level, _ in columns)])
        table.writerow(["", *(name for _, name in columns)])
        table.writerow(["track_id", *[""] * len(columns)])
        for clip in clips:
            known = describe(clip, seconds)
            blank = {column: 0 if column[1] in COUNTS else "" for column in columns}
            table.writerow([clip.track_id, *(blank | known).values()])
    unfinished.replace(path)


def describe(clip: Clip, seconds: float) -> dict[tuple[str, str], str | int]:
    """What the table says of a clip, by (level, name) of the column; counts and blanks aside."""
    number = 1 + list(STYLES).index(clip.genre) + len(STYLES) * clip.artist
    name = f"{clip.genre} Machine {clip.artist + 1}"
    genres = f"[{GENRE_IDS[clip.genre]}]"
    return {
        ("album", "id"): number,
        ("album", "tags"): "[]",
        ("album", "title"): f"{name}: Sketches",
        ("artist", "id"): number,
        ("artist", "name"): name,
        ("artist", "tags"): "[]",
        ("set", "split"): clip.split,
        ("set", "subset"): "small",
        ("track", "bit_rate"): 128_000,
        ("track", "duration"): round(seconds),
        ("track", "genre_top"): clip.genre,
        ("track", "genres"): genres,
        ("track", "genres_all"): genres,
        ("track", "license"): LICENSE,
        ("track", "number"): clip.track + 1,
        ("track", "tags"): "[]",
        ("track", "title"): f"{clip.genre} Sketch {clip.artist + 1}.{clip.track + 1}",
    }


def _download(raw: Path, params: SampleParams, cache: Path, seed: int) -> None:
    write_collection(raw, params.tracks_per_genre, params.duration_s, seed)


def _load(raw: Path, params: SampleParams) -> pd.DataFrame:
    return load_tracks(raw, "small")


DATASET = Dataset(SampleParams, _download, _load)
