"""The Free Music Archive data set (Defferrard et al., ISMIR 2017), in its published layout.

``fma_metadata/tracks.csv`` describes 106,574 tracks under three header lines; ``fma_<subset>/000/000002.mp3`` holds
the clips. Each subset contains the smaller ones.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Literal

import pandas as pd
from tqdm import tqdm

from music_genre.config import ParamsModel
from music_genre.datasets.download import ARCHIVES, Archive, download
from music_genre.datasets.extract import unpack
from music_genre.datasets.registry import Dataset
from music_genre.errors import MusicGenreError
from music_genre.files import require_room, size_of

SUBSETS = ("small", "medium", "large", "full")
ADDRESS = "https://os.unil.cloud.switch.ch/fma/"
METADATA = Path("fma_metadata/tracks.csv")
COLUMNS = {
    ("track", "genre_top"): "genre",
    ("artist", "id"): "artist_id",
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
    path: Path | None
    mirror: str | None


def download_subset(raw: Path, params: FmaParams, cache: Path, seed: int = 0) -> None:
    """Bring the metadata and the subset's clips: from the unpacked folder ``params.path``, or by download where none is
    named. What is lacking, ``index`` finds missing.

    Args:
        raw: the folder to fill, not there yet.
        params: the subset and where it is to be had.
        cache: where archives come to lie, and stay for the next time.
        seed: not used.

    Raises:
        MusicGenreError: the folder is not in FMA's layout, or an archive is not to be had.
    """
    if params.path is not None:
        _copy(raw, params.path, params.subset)
    else:
        address = params.mirror or ADDRESS
        _download(raw, ARCHIVES["metadata"], address, cache, {METADATA.as_posix()})
        _download(raw, ARCHIVES[params.subset], address, cache, set(load_tracks(raw, params.subset)["path"]))


def _download(raw: Path, archive: Archive, address: str, cache: Path, wanted: set[str]) -> None:
    """The wanted members of a published archive. mp3 unpacks to about the archive's size; twice that would be wrong."""
    path = cache / archive.name
    download(f"{address.rstrip('/')}/{archive.name}", path, archive.sha1, archive.bytes, room=archive.bytes)
    unpack(path, raw, wanted.__contains__, 2 * archive.bytes)


def _copy(raw: Path, root: Path, subset: str) -> None:
    """What the subset needs of an unpacked folder."""
    metadata = root / METADATA
    if not metadata.is_file():
        raise MusicGenreError(f"data.fma.path: {metadata} does not exist; expected an unpacked fma_metadata.zip there")
    (raw / METADATA).parent.mkdir(parents=True)
    shutil.copyfile(metadata, raw / METADATA)
    clips = _clip_folder(root, subset)
    wanted = {raw / path: clips / Path(path).relative_to(f"fma_{subset}") for path in load_tracks(raw, subset)["path"]}
    there = {target: source for target, source in wanted.items() if source.is_file()}
    require_room(raw, sum(map(size_of, there.values())))
    for target, source in tqdm(there.items(), desc="Copying clips", unit="clip"):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def load_tracks(raw: Path, subset: str) -> pd.DataFrame:
    """Labelled tracks of a subset, as the metadata lists them.

    Args:
        raw: the folder that holds ``fma_metadata``.
        subset: small, medium, large or full.

    Returns:
        columns track_id, path (relative to ``raw``), genre, artist_id, title, license, split; by track_id. One that
        the metadata list twice stands there twice.
    """
    table = _read_metadata(raw / METADATA)
    wanted = table["subset"].isin(SUBSETS[: SUBSETS.index(subset) + 1]) & table["genre"].notna()
    table = table[wanted].drop(columns="subset").sort_index(kind="stable")
    names = [f"{track_id:06d}" for track_id in table.index]
    table.insert(0, "path", [f"fma_{subset}/{name[:3]}/{name}.mp3" for name in names])
    return table.reset_index(names="track_id")


def _read_metadata(path: Path) -> pd.DataFrame:
    """The columns this project uses, by track id."""
    with path.open(encoding="utf-8", newline="") as file:
        levels, names = (next(csv.reader(file), []) for _ in range(2))
    found = list(zip(levels, names, strict=False))
    lacking = [".".join(column) for column in COLUMNS if column not in found]
    if lacking:
        raise MusicGenreError(f"{path} lacks the columns {', '.join(lacking)}; expected FMA's tracks.csv")
    positions = [found.index(column) for column in COLUMNS]
    kinds = dict.fromkeys(positions, "string")
    try:
        table = pd.read_csv(path, header=None, skiprows=3, usecols=[0, *positions], index_col=0, dtype=kinds)
        table = table[positions].set_axis(list(COLUMNS.values()), axis=1)
        return table.set_axis(table.index.astype("int64"))
    except ValueError as error:  # half a file, a number that is none
        raise MusicGenreError(f"{path}: {' '.join(str(error).split())}; expected FMA's tracks.csv") from error


def _clip_folder(root: Path, subset: str) -> Path:
    """The unpacked archive that holds a subset: its own, or a larger one's."""
    candidates = [root / f"fma_{name}" for name in SUBSETS[SUBSETS.index(subset) :]]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise MusicGenreError(f"data.fma.path: {root} holds none of {', '.join(folder.name for folder in candidates)}")


def _load(raw: Path, params: FmaParams) -> pd.DataFrame:
    return load_tracks(raw, params.subset)


DATASET = Dataset(FmaParams, download_subset, _load)
