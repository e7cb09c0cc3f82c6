"""A small synthetic collection in the layout of the Free Music Archive (FMA) data set; it needs no download.

``fma_small/000/000002.mp3`` and so on are described by ``fma_metadata/tracks.csv`` under FMA's own three header lines.
What a model scores on it says nothing about music.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import soundfile
from pydantic import Field

from music_genre.compute import map_clips
from music_genre.config import ParamsModel
from music_genre.datasets.fma import METADATA, load_subset
from music_genre.datasets.instruments import SAMPLE_RATE_HZ
from music_genre.datasets.registry import Dataset
from music_genre.datasets.synthesis import STYLES, synthesize
from music_genre.files import atomic_write

LICENSE = "CC0 1.0"
HELD_OUT_FRACTION = 0.15  # of a genre's tracks, for validation and for test each
TRACKS_PER_ARTIST = 2
MAX_ID_GAP = 40
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
COUNT_COLUMNS = frozenset({"comments", "favorites", "interest", "listens"})  # never empty in FMA


class TrackSpec(NamedTuple):
    """One track of the collection; artists are numbered within a genre, tracks within an artist."""

    track_id: int
    genre: str
    artist: int
    track: int
    split: str

    @property
    def path(self) -> Path:
        """The clip's file, relative to the collection."""
        name = f"{self.track_id:06d}"
        return Path("fma_small", name[:3], f"{name}.mp3")


class SampleParams(ParamsModel):
    """The section ``data.sample``.

    Args:
        tracks_per_genre: clips of each genre.
        duration_s: of each clip.
    """

    tracks_per_genre: Annotated[int, Field(ge=3)]
    duration_s: Annotated[float, Field(gt=0, le=600)]


def download(folder: Path, params: SampleParams, cache: Path, seed: int) -> list[str]:
    """Generate the collection in ``folder``; the names of its files."""
    generate(folder, params.tracks_per_genre, params.duration_s, seed)
    clips = [track.path.as_posix() for track in plan_collection(params.tracks_per_genre, seed)]
    return [METADATA.as_posix(), *clips]


def load_tracks(folder: Path, params: SampleParams) -> pd.DataFrame:
    """The tracks that the metadata list; see ``fma.load_subset``."""
    return load_subset(folder, "small")


def generate(root: Path, tracks_per_genre: int, duration_s: float, seed: int) -> None:
    """Write the collection; the same arguments give the same audio and the same table.

    Args:
        root: folder that receives ``fma_small`` and ``fma_metadata``.
        tracks_per_genre: at least 3, so that every split has every genre.
        duration_s: of a clip.
        seed: of everything drawn, not negative.

    Raises:
        ValueError: there are too few tracks for three splits.
    """
    tracks = plan_collection(tracks_per_genre, seed)
    for _ in map_clips(partial(write_clip, root, duration_s=duration_s, seed=seed), tracks, "Synthesizing"):
        pass
    # Last, so that a table on disk means that its clips are there, too.
    write_metadata(root / METADATA, tracks, duration_s)


def plan_collection(tracks_per_genre: int, seed: int) -> list[TrackSpec]:
    """Assign tracks to artists and artists to splits.

    Args:
        tracks_per_genre: at least 3.
        seed: decides track ids and their order, in which genres and splits are mixed.

    Returns:
        The tracks by increasing id, tracks_per_genre for each genre.

    Raises:
        ValueError: tracks_per_genre is below 3.
    """
    if tracks_per_genre < 3:
        raise ValueError(
            f"{tracks_per_genre} tracks a genre cannot fill training, validation and test; expected 3 or more"
        )
    rng = np.random.default_rng([seed, len(STYLES)])
    roles = assign_roles(tracks_per_genre)
    shuffled = {genre: rng.permutation(tracks_per_genre) for genre in STYLES}
    ids = 2 + np.cumsum(rng.integers(1, MAX_ID_GAP, len(STYLES) * tracks_per_genre))
    ids -= ids[0] - 2
    numbers = iter(ids.tolist())
    return [
        TrackSpec(next(numbers), str(genre), *roles[shuffled[genre][turn]])
        for turn in range(tracks_per_genre)
        for genre in rng.permutation(list(STYLES))
    ]


def assign_roles(n_tracks: int) -> list[tuple[int, int, str]]:
    """Give each track of a genre (artist, track of that artist, split), no artist in two splits."""
    held_out = max(1, round(HELD_OUT_FRACTION * n_tracks))
    sizes = {"training": n_tracks - 2 * held_out, "validation": held_out, "test": held_out}
    roles: list[tuple[int, int, str]] = []
    first_artist = 0
    for split, size in sizes.items():
        min_artists = min(size, 2 if split == "training" else 1)
        n_artists = max(min_artists, -(-size // TRACKS_PER_ARTIST))
        roles += [(first_artist + n % n_artists, n // n_artists, split) for n in range(size)]
        first_artist += n_artists
    return roles


def write_clip(root: Path, track: TrackSpec, duration_s: float, seed: int) -> None:
    """Synthesize one clip and write it to its place below ``root``."""
    samples = synthesize(track.genre, track.artist, track.track, duration_s, seed)
    # The grid of 16-bit audio hides the last digit, in which sines differ between processors.
    audio = (np.round(samples * 32768.0) / 32768.0).astype(np.float32)
    with atomic_write(root / track.path) as temporary:
        # A variable bit rate is encoded in three quarters of the time of a constant one.
        soundfile.write(
            temporary,
            audio,
            SAMPLE_RATE_HZ,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="VARIABLE",
            compression_level=0.5,
        )


def write_metadata(path: Path, tracks: Sequence[TrackSpec], duration_s: float) -> None:
    """Write FMA's table of tracks: two lines of column names, one for the index, then the rows."""
    columns = [(level, name) for level, names in COLUMNS.items() for name in names.split()]
    defaults = {column: 0 if column[1] in COUNT_COLUMNS else "" for column in columns}
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["", *(level for level, _ in columns)])
        table.writerow(["", *(name for _, name in columns)])
        table.writerow(["track_id", *[""] * len(columns)])
        for track in tracks:
            table.writerow([track.track_id, *(defaults | metadata_of(track, duration_s)).values()])


def metadata_of(track: TrackSpec, duration_s: float) -> dict[tuple[str, str], str | int]:
    """A row of the table, by (level, name) of the column, without its default values."""
    number = 1 + list(STYLES).index(track.genre) + len(STYLES) * track.artist
    name = f"{track.genre} Machine {track.artist + 1}"
    genres = f"[{GENRE_IDS[track.genre]}]"
    return {
        ("album", "id"): number,
        ("album", "tags"): "[]",
        ("album", "title"): f"{name}: Sketches",
        ("artist", "id"): number,
        ("artist", "name"): name,
        ("artist", "tags"): "[]",
        ("set", "split"): track.split,
        ("set", "subset"): "small",
        ("track", "bit_rate"): 128_000,
        ("track", "duration"): round(duration_s),
        ("track", "genre_top"): track.genre,
        ("track", "genres"): genres,
        ("track", "genres_all"): genres,
        ("track", "license"): LICENSE,
        ("track", "number"): track.track + 1,
        ("track", "tags"): "[]",
        ("track", "title"): f"{track.genre} Sketch {track.artist + 1}.{track.track + 1}",
    }


DATASET = Dataset(SampleParams, load_tracks, download=download)
