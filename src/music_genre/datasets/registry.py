"""The kinds of data sets: ``datasets/<name>.py`` describes the section ``data.<name>`` of ``params.yaml`` as its
``DATASET``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from music_genre.config import ParamsModel, SectionMap, load_description
from music_genre.datasets.inspection import inspect_audio, inspect_spectrograms
from music_genre.features.extraction import ClipSource, audio_clips
from music_genre.features.mel import MelConfig


@dataclass(frozen=True)
class ReadySpectrograms:
    """How a data set without audio gives its spectrograms.

    Args:
        value_range: from (its folder, its section) to the largest minus the smallest value of every spectrogram, in
            the order of ``load_tracks``.
        clips: from (its folder, usable tracks, its section) to their spectrograms.
    """

    value_range: Callable[[Path, Any], np.ndarray]
    clips: Callable[[Path, pd.DataFrame, Any], ClipSource]


@dataclass(frozen=True)
class Dataset:
    """A kind of data set.

    Args:
        params: class of its section in ``params.yaml``.
        download: fills a folder that is not there yet: from (the folder, its section, a folder that keeps downloads
            from run to run, the seed).
        load_tracks: what such a folder lists: from (the folder, its section) to columns track_id, path (relative to
            the folder), genre, artist_id, title, license, split (official or null).
        artists_from_tags: whether an artist that a file's tags name takes the place of the listed one.
        split_sizes: from its section to the published number of clips of each split, as (least, most); None: unknown.
        spectrograms: of a data set without audio.
    """

    params: type[ParamsModel]
    download: Callable[[Path, Any, Path, int], None]
    load_tracks: Callable[[Path, Any], pd.DataFrame]
    artists_from_tags: bool = False
    split_sizes: Callable[[Any], Mapping[str, tuple[int, int]] | None] = lambda section: None
    spectrograms: ReadySpectrograms | None = None

    @property
    def has_audio(self) -> bool:
        """Whether there are recordings, or ready spectrograms."""
        return self.spectrograms is None


class DataParams(SectionMap):
    """The section ``data``, with a section for each kind of data set.

    Args:
        source: the name of the data set's section.
        min_duration_s: shorter clips are dropped.
        max_skipped_fraction: more dropped tracks than this stop the run.
    """

    source: str
    min_duration_s: Annotated[float, Field(gt=0)]
    max_skipped_fraction: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def check_source(self) -> DataParams:
        """The source must have a section."""
        sources = [name for name in self.names if name not in DataParams.model_fields]
        if self.source not in sources:
            raise ValueError(f"source: found {self.source!r}, choose one of: {', '.join(sources)}")
        return self

    @property
    def section(self) -> Any:
        """The section of the source."""
        return self[self.source]

    @property
    def dataset(self) -> Dataset:
        """The source's kind of data set."""
        return get_dataset(self.source)

    def download(self, raw: Path, cache: Path, seed: int) -> None:
        """Fill ``raw``, which is not there yet; see ``Dataset``."""
        self.dataset.download(raw, self.section, cache, seed)

    def load_tracks(self, raw: Path) -> pd.DataFrame:
        """The tracks that ``raw`` lists; see ``Dataset``."""
        return self.dataset.load_tracks(raw, self.section)

    def inspect(self, tracks: pd.DataFrame, raw: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Usable tracks, and issues of all; see ``inspection``."""
        ready = self.dataset.spectrograms
        if ready is not None:
            return inspect_spectrograms(tracks, ready.value_range(raw, self.section))
        return inspect_audio(tracks, raw, self.min_duration_s, self.dataset.artists_from_tags)

    def clips(self, raw: Path, tracks: pd.DataFrame, transform: MelConfig) -> ClipSource:
        """The spectrograms of usable tracks; ready ones need no transform."""
        ready = self.dataset.spectrograms
        return audio_clips(raw, tracks, transform) if ready is None else ready.clips(raw, tracks, self.section)

    @property
    def split_sizes(self) -> Mapping[str, tuple[int, int]] | None:
        """The published number of clips of each split, as (least, most); None: unknown."""
        return self.dataset.split_sizes(self.section)


def get_dataset(name: str) -> Dataset:
    """What ``datasets/<name>.py`` describes.

    Raises:
        ValueError: there is no such kind of data set; the message names the file that would describe it.
    """
    dataset = load_description("music_genre.datasets", name, "DATASET")
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"there is no data set {name!r}: src/music_genre/datasets/{name}.py with a DATASET would be one"
        )
    return dataset
