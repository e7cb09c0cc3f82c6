"""Stored features of clips, spectrograms and embeddings: arrays of up to 512 clips a file, read by memory map, found by
an index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from music_genre.encoders.description import EncoderConfig
from music_genre.errors import MusicGenreError
from music_genre.features.params import EMBEDDINGS, FEATURES_VERSION, MelConfig

if TYPE_CHECKING:  # predictions need no tables
    import pandas as pd

INDEX = "index.parquet"
DESCRIPTION, EMBEDDING_DESCRIPTION = "spectrogram.json", "embedding.json"


@dataclass(frozen=True)
class ClipDataset:
    """The clips of one split, read from disk on demand.

    Args:
        track_id: (n,) int64.
        label: (n,) int64, positions in the genres.
        shards: memory-mapped (clips, ...): (n_frames, n_mels) float16 dB or (windows, dimension) float32 of each clip.
        shard: (n,) which of ``shards`` holds a clip.
        row: (n,) where in it.
    """

    track_id: np.ndarray
    label: np.ndarray
    shards: tuple[np.ndarray, ...]
    shard: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.track_id)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_frames, n_mels) of every clip, or (windows, dimension)."""
        length, width = self.shards[0].shape[1:]
        return length, width

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(len(positions), *shape) float32, in the order of ``positions``."""
        clips = np.empty((len(positions), *self.shape), dtype=np.float32)
        for target, position in enumerate(positions):
            clips[target] = self.shards[self.shard[position]][self.row[position]]
        return clips

    def subsample(self, fraction: float) -> ClipDataset:
        """A fraction of the clips of each genre, at least one, drawn by a hash of their ids: a smaller fraction is part
        of every larger one.
        """
        import pandas as pd

        hashes = pd.Series([hash64(track_id) for track_id in self.track_id], dtype="uint64")
        ranks = hashes.groupby(self.label).rank(method="first").to_numpy()
        counts = np.bincount(self.label)[self.label]
        drawn = ranks <= np.maximum(1, np.round(fraction * counts))
        return ClipDataset(self.track_id[drawn], self.label[drawn], self.shards, self.shard[drawn], self.row[drawn])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Every clip in order: (size or fewer, *shape) float32."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


@dataclass(frozen=True)
class ClipStore:
    """A folder of shards.

    Args:
        folder: holds the shards, ``index.parquet`` and a description.
        index: one row a clip.
        genres: names in label order.
        min_duration_s: the shortest clip that the collection may hold.
        features_version: ``FEATURES_VERSION`` of the code that made the features.
    """

    folder: Path
    index: pd.DataFrame
    genres: tuple[str, ...]
    min_duration_s: float
    features_version: int

    def split(self, name: str) -> ClipDataset:
        """The clips of ``training``, ``validation`` or ``test``."""
        import pandas as pd

        rows = self.index[self.index["split"] == name]
        codes, files = pd.factorize(rows["shard"])
        shards = tuple(np.load(self.folder / file, mmap_mode="r", allow_pickle=False) for file in files)
        return ClipDataset(
            rows["track_id"].to_numpy(), rows["label"].to_numpy(), shards, np.asarray(codes), rows["row"].to_numpy()
        )


@dataclass(frozen=True)
class SpectrogramStore(ClipStore):
    """The spectrograms of a collection.

    Args:
        transform: from audio to spectrograms; None for a collection of ready spectrograms.
    """

    transform: MelConfig | None

    @classmethod
    def open(cls, folder: Path) -> SpectrogramStore:
        """Read what ``write_index`` and ``write_description`` wrote.

        Raises:
            MusicGenreError: there is nothing yet.
        """
        description = _read_description(folder, DESCRIPTION, "spectrograms")
        transform = description.pop("transform")
        return cls(**description, transform=MelConfig.model_validate(transform) if transform else None)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_frames, n_mels) that every clip should have: the transform's, or the most frequent one of ready
        spectrograms.
        """
        if self.transform is not None:
            return self.transform.n_frames, self.transform.n_mels
        return int(self.index["n_frames"].mode()[0]), int(self.index["n_mels"].mode()[0])

    def embeddings(self, encoder: str) -> EmbeddingStore:
        """The embeddings of the same clips, in the same order, from the folder ``embeddings/<encoder>`` beside this.

        Raises:
            MusicGenreError: there are none, or they are of other clips.
        """
        store = EmbeddingStore.open(self.folder.parent / EMBEDDINGS / encoder)
        columns = ["track_id", "split", "label"]
        if not store.index[columns].equals(self.index[columns]):
            raise MusicGenreError(f"{store.folder} and {self.folder} hold other clips: `dvc repro` makes them anew")
        return store


@dataclass(frozen=True)
class EmbeddingStore(ClipStore):
    """What an encoder makes of a collection: (windows, dimension) float32 of each clip.

    Args:
        encoder: its ``encoder.json``.
    """

    encoder: EncoderConfig

    @classmethod
    def open(cls, folder: Path) -> EmbeddingStore:
        """Read what ``write_index`` and ``write_description`` wrote.

        Raises:
            MusicGenreError: there is nothing yet.
        """
        description = _read_description(folder, EMBEDDING_DESCRIPTION, "embeddings")
        encoder = EncoderConfig.model_validate_json(json.dumps(description.pop("encoder")))
        return cls(**description, encoder=encoder)

    @property
    def shape(self) -> tuple[int, int]:
        """(windows, dimension) of every clip."""
        return self.split("training").shape


def write_index(folder: Path, clips: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Write ``index.parquet``, and with it the label of every genre; see ``label_order``.

    Args:
        folder: of the store.
        clips: a row a clip: track_id, shard, row and anything else.
        splits: columns track_id, split, genre; what else it has comes last.
    """
    labels = {genre: label for label, genre in enumerate(label_order(splits))}
    table = clips.merge(splits, on="track_id", validate="one_to_one")
    table.insert(1, "split", table.pop("split"))
    table.insert(2, "genre", table.pop("genre"))
    table.insert(3, "label", table["genre"].map(labels).astype("int64"))
    table.to_parquet(folder / INDEX, index=False)


def label_order(splits: pd.DataFrame) -> list[str]:
    """The genres, sorted by name: their positions are the labels."""
    return sorted(splits["genre"].unique())


def write_description(
    folder: Path, genres: Sequence[str], min_duration_s: float, made_by: MelConfig | EncoderConfig | None
) -> None:
    """Write what a store holds.

    Args:
        folder: of the store.
        genres: in label order.
        min_duration_s: the shortest clip that the collection may hold.
        made_by: the transform or the encoder; None for ready spectrograms.
    """
    is_embedding = isinstance(made_by, EncoderConfig)
    description = {
        "encoder" if is_embedding else "transform": made_by.model_dump() if made_by else None,
        "features_version": FEATURES_VERSION,
        "genres": list(genres),
        "min_duration_s": min_duration_s,
    }
    file = folder / (EMBEDDING_DESCRIPTION if is_embedding else DESCRIPTION)
    file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def hash64(track_id: int) -> int:
    """64 bits that are the same for an id on every machine, and do not depend on other clips."""
    return int.from_bytes(hashlib.blake2b(str(track_id).encode(), digest_size=8).digest(), "big")


def _read_description(folder: Path, file: str, what: str) -> dict[str, Any]:
    """What ``write_description`` wrote, with the folder and its index."""
    if not (folder / file).is_file() or not (folder / INDEX).is_file():
        raise MusicGenreError(f"{folder} holds no {what}: `dvc repro` makes them, `dvc pull` fetches them")
    import pandas as pd

    description = json.loads((folder / file).read_text(encoding="utf-8"))
    return {
        **description,
        "genres": tuple(description["genres"]),
        "folder": folder,
        "index": pd.read_parquet(folder / INDEX),
    }
