"""What a large collection costs in every run: listing 50,000 small files, splitting the tracks of 30,000 artists.

The reference of the split is scikit-learn's ``StratifiedGroupKFold``, which knows neither shares nor former splits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from timing import in_process, interleaved, ratios, seconds, spread, table, write

from music_genre.datasets.copying import update_copy
from music_genre.datasets.folder import FolderParams, list_files, load_tracks
from music_genre.datasets.listing import read_listing, stat_files, write_listing
from music_genre.datasets.splits import SplitParams, assign_splits

N_ROUNDS, N_FILES, N_ARTISTS, N_GENRES = 5, 50_000, 30_000, 10
PARAMS = SplitParams(method="artist", validation_fraction=0.1, test_fraction=0.1)


def make_files(music: Path, n_files: int) -> None:
    """Files of 100 bytes as ``<genre>/<artist>/<song>.mp3``."""
    for number in range(n_files):
        path = music / f"genre {number % N_GENRES}/artist {number // 10}/{number}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))


def make_tracks(n_artists: int) -> pd.DataFrame:
    """Two tracks an artist on average, one in a hundred of two artists."""
    rng, n = np.random.default_rng(0), 2 * n_artists
    artists = np.concatenate([np.arange(n_artists), rng.integers(0, n_artists, n_artists)])
    names = [f"Artist {number}" for number in artists]
    for position in range(0, n, 100):
        names[position] += f" feat. Artist {rng.integers(0, n_artists)}"
    genres = [f"genre {number % N_GENRES}" for number in artists]
    table = pd.DataFrame({"track_id": np.arange(n) + 10**12, "genre": genres, "artist_id": names, "split": None})
    return table.astype({"genre": "string", "artist_id": "string", "split": "string"})


def scan(folder: Path) -> None:
    """What stage ``scan`` does, and the listing of stage ``inspect``."""
    params = FolderParams(path=folder / "music", artist_pattern=None)
    write_listing(folder / "listing.parquet", stat_files(list_files(params).files), {})
    load_tracks(folder / "copy", params)


def copy(folder: Path) -> None:
    """What stage ``fetch`` does where nothing has changed."""
    update_copy(folder / "copy", read_listing(folder / "listing.parquet"), folder / "cache", list, [])


def split(folder: Path) -> None:
    """Deal all tracks."""
    assign_splits(pd.read_parquet(folder / "tracks.parquet"), PARAMS, 7)


def split_again(folder: Path) -> None:
    """Keep all tracks where they are."""
    tracks = pd.read_parquet(folder / "tracks.parquet")
    former = dict.fromkeys(tracks["track_id"].tolist(), "training")
    assign_splits(tracks, PARAMS, 7, former)


def reference(folder: Path) -> None:
    """Folds of whole artists by scikit-learn."""
    from sklearn.model_selection import StratifiedGroupKFold

    tracks = pd.read_parquet(folder / "tracks.parquet")
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=7)
    list(folds.split(tracks, tracks["genre"], tracks["artist_id"]))


ROUTES: dict[str, Callable[[Path], None]] = {
    "list 50,000 files": scan,
    "find their 50,000 copies up to date": copy,
    "split 60,000 tracks of 30,000 artists": split,
    "split them again with a ledger": split_again,
    "StratifiedGroupKFold on them": reference,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of a hundredth; writes nothing")
    parser.add_argument("--route", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.route:
        route = ROUTES[arguments.route]
        print(json.dumps({"seconds": seconds(lambda: route(arguments.folder))}))
        return
    share = 100 if arguments.quick else 1
    folder = Path(tempfile.mkdtemp())
    try:
        make_files(folder / "music", N_FILES // share)
        make_tracks(N_ARTISTS // share).to_parquet(folder / "tracks.parquet")
        scan(folder)
        copy(folder)
        measured = measure(folder, 1 if arguments.quick else N_ROUNDS)
    finally:
        shutil.rmtree(folder)
    write("collection", table(["work", "seconds", "peak MB", "times the reference"], measured), quick=arguments.quick)


def measure(folder: Path, n_rounds: int) -> list[list[str]]:
    """A row for each route."""
    peaks: dict[str, float] = {}

    def run(name: str) -> float:
        result = in_process(__file__, "--route", name, "--folder", str(folder))
        peaks[name] = max(peaks.get(name, 0.0), result.peak_mb)
        return result.values["seconds"]

    values = interleaved({name: partial(run, name) for name in ROUTES}, n_rounds)
    last = list(ROUTES)[-1]
    return [
        [
            name,
            spread(taken),
            f"{peaks[name]:.0f}",
            spread(ratios(taken, values[last])) if name.startswith("split") else "",
        ]
        for name, taken in values.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
