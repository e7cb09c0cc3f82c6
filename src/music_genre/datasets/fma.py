"""The Free Music Archive data set (Defferrard et al., ISMIR 2017), in its published layout.

``fma_metadata/tracks.csv`` describes 106,574 tracks under three header lines; ``fma_<subset>/000/000002.mp3`` holds
the clips. Each subset contains the smaller ones.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from music_genre.config import OptionalPath, ParamsModel
from music_genre.datasets.download import RemoteFile, download_file
from music_genre.datasets.extract import extract
from music_genre.datasets.listing import SourceListing
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError

BASE_URL = "https://os.unil.cloud.switch.ch/fma/"
GIB = 1 << 30
ARCHIVES = {
    "metadata": RemoteFile("fma_metadata.zip", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 342 << 20),
    "small": RemoteFile("fma_small.zip", "ade154f733639d52e35e32f5593efe5be76c6d70", int(7.2 * GIB)),
    "medium": RemoteFile("fma_medium.zip", "c67b69ea232021025fca9231fc1c7c1a063ab50b", 22 * GIB),
    "large": RemoteFile("fma_large.zip", "497109f4dd721066b5ce5e5f250ec604dc78939e", 93 * GIB),
    "full": RemoteFile("fma_full.zip", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", 879 * GIB),
}
SUBSETS = ("small", "medium", "large", "full")
SMALL_SPLIT_SIZES = {"training": (6394, 6400), "validation": (800, 800), "test": (800, 800)}  # 6 clips are too short
METADATA = Path("fma_metadata/tracks.csv")
COLUMNS = {
    ("track", "genre_top"): "genre",
    ("artist", "id"): "artist_id",
    ("artist", "name"): "artist",
    ("track", "title"): "title",
    ("track", "license"): "license",
    ("set", "split"): "split",
    ("set", "subset"): "subset",
}


class FmaParams(ParamsModel):
    """The section ``data.fma``.

    Args:
        subset: which of FMA's subsets.
        path: a folder that holds ``fma_metadata/`` and ``fma_<subset>/``; None: download.
        mirror: an address to download from instead of the published one.
    """

    subset: Literal["small", "medium", "large", "full"]
    path: OptionalPath
    mirror: str | None


def list_files(params: FmaParams) -> SourceListing:
    """What the subset needs of the unpacked folder ``params.path``; nothing where none is named. Clips that are missing
    there are reported when files are inspected.

    Raises:
        MusicGenreError: the folder is not in FMA's layout.
    """
    if params.path is None:
        return SourceListing()
    root = params.path
    metadata = root / METADATA
    if not metadata.is_file():
        inside = " (name its parent)" if root.name.startswith("fma_") and (root.parent / METADATA).is_file() else ""
        raise MusicGenreError(
            f"data.fma.path: {metadata} does not exist{inside}; expected an unpacked fma_metadata.zip there"
        )
    folder = _clip_folder(root, params.subset)
    names = load_subset(root, params.subset)["path"].unique()
    sources = {name: folder / Path(name).relative_to(f"fma_{params.subset}") for name in names}
    files = {name: path for name, path in sources.items() if path.is_file()}
    return SourceListing({METADATA.as_posix(): metadata, **files})


def download(folder: Path, params: FmaParams, cache: Path, seed: int) -> list[str]:
    """Bring the metadata and the subset's clips by download where no unpacked folder is named.

    Args:
        folder: the folder to fill; what it holds already is kept.
        params: the subset and where it comes from.
        cache: keeps archives for the next time.
        seed: not used.

    Returns:
        The names of the files.

    Raises:
        MusicGenreError: an archive could not be downloaded.
    """
    if params.path is not None:
        return []
    url = params.mirror or BASE_URL
    metadata = _download_archive(folder, ARCHIVES["metadata"], url, cache, {METADATA.as_posix()})
    clips = set(load_subset(folder, params.subset)["path"])
    return metadata + _download_archive(folder, ARCHIVES[params.subset], url, cache, clips)


def _download_archive(
    folder: Path, archive: RemoteFile, base_url: str, cache: Path, names: Container[str]
) -> list[str]:
    """Download a published archive and extract its members ``names``; those that there are."""
    path = cache / archive.name
    # mp3 does not compress: what is extracted is about as large as the archive, and never twice as large.
    download_file(f"{base_url.rstrip('/')}/{archive.name}", path, archive, extra_bytes=archive.bytes)
    return extract(path, folder, names, 2 * archive.bytes)


def load_tracks(folder: Path, params: FmaParams) -> pd.DataFrame:
    """The tracks of ``params.subset``; see ``load_subset``."""
    return load_subset(folder, params.subset)


def load_subset(folder: Path, subset: str) -> pd.DataFrame:
    """Labelled tracks of a subset, as the metadata lists them.

    Args:
        folder: the one that holds ``fma_metadata``.
        subset: small, medium, large or full.

    Returns:
        columns track_id, path (relative to ``folder``), genre, artist_id, artist, title, license, split; by track_id. A
        track that the metadata list twice has two rows.
    """
    table = _read_metadata(folder / METADATA)
    in_subset = table["subset"].isin(SUBSETS[: SUBSETS.index(subset) + 1]) & table["genre"].notna()
    table = table[in_subset].drop(columns="subset").sort_index(kind="stable")
    names = [f"{track_id:06d}" for track_id in table.index]
    table.insert(0, "path", [f"fma_{subset}/{name[:3]}/{name}.mp3" for name in names])
    return table.reset_index(names="track_id")


def split_sizes(params: FmaParams) -> Mapping[str, tuple[int, int]] | None:
    """The number of clips of each split, as (least, most), where it is known."""
    return SMALL_SPLIT_SIZES if params.subset == "small" else None


def _read_metadata(path: Path) -> pd.DataFrame:
    """The columns of ``COLUMNS``, by track id."""
    with path.open(encoding="utf-8", newline="") as file:
        levels, names = (next(csv.reader(file), []) for _ in range(2))
    header = list(zip(levels, names, strict=False))
    missing = [".".join(column) for column in COLUMNS if column not in header]
    if missing:
        raise MusicGenreError(f"{path} lacks the columns {', '.join(missing)}; expected FMA's tracks.csv")
    positions = [header.index(column) for column in COLUMNS]
    dtypes = dict.fromkeys(positions, "string")
    try:
        table = pd.read_csv(path, header=None, skiprows=3, usecols=[0, *positions], index_col=0, dtype=dtypes)
        table = table[positions].set_axis(list(COLUMNS.values()), axis=1)
        return table.set_axis(table.index.astype("int64"))
    except ValueError as error:  # a file that was cut off, or an id that is no number
        raise MusicGenreError(f"{path}: {' '.join(str(error).split())}; expected FMA's tracks.csv") from error


def _clip_folder(root: Path, subset: str) -> Path:
    """The folder that holds a subset's clips: its own, or a larger subset's."""
    candidates = [root / f"fma_{name}" for name in SUBSETS[SUBSETS.index(subset) :]]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise MusicGenreError(f"data.fma.path: {root} holds none of {', '.join(folder.name for folder in candidates)}")


DATASET = Dataset(FmaParams, load_tracks, list_files, download, split_sizes=split_sizes)
