"""The kinds of data sets: ``datasets/<name>.py`` describes the section ``data.<name>`` of ``params.yaml`` as its
``DATASET``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator, model_validator

from music_genre.audio.folder import AudioFolder
from music_genre.config import ParamsModel, SectionMap, load_description
from music_genre.datasets.corrections import CorrectedTracks, apply_corrections
from music_genre.datasets.duplicates import drop_copies, drop_leaked_duplicates
from music_genre.datasets.inspection import check_genres, inspect_audio, inspect_spectrograms
from music_genre.datasets.issues import issue_table, merge_issues
from music_genre.datasets.listing import SourceListing
from music_genre.datasets.names import unify_genres
from music_genre.datasets.recordings import InspectionCache
from music_genre.features.extraction import ClipSource, SpectrogramExtractor, audio_clips
from music_genre.features.params import MelConfig


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


def no_download(folder: Path, section: Any, cache: Path, seed: int) -> list[str]:
    """Nothing is downloaded."""
    return []


@dataclass(frozen=True)
class Dataset:
    """A kind of data set.

    Args:
        params: class of its section in ``params.yaml``.
        load_tracks: what its folder of ``data/audio`` lists: from (the folder, its section) to columns track_id (null:
            by the audio), path (relative to the folder), genre, artist_id, title, license, split (official or null).
        list_files: from its section to the user's files, outside the project, that it takes: they lie in or below the
            section's ``path``.
        download: brings or makes what does not come from the user's files: from (the folder, its section, a folder that
            keeps downloads from run to run, the seed) to the names of its files. What is there already may stay.
        artists_from_tags: whether an artist that a file's tags name takes the place of the listed one.
        split_sizes: from its section to the published number of clips of each split, as (least, most); None: unknown.
        spectrograms: of a data set without audio.
    """

    params: type[ParamsModel]
    load_tracks: Callable[[Path, Any], pd.DataFrame]
    list_files: Callable[[Any], SourceListing] = lambda section: SourceListing()
    download: Callable[[Path, Any, Path, int], Sequence[str]] = no_download
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
        source: the name of the data set's section, or of several.
        min_duration_s: shorter clips are dropped.
        max_skipped_fraction: more dropped tracks than this stop the run.
    """

    source: str | tuple[str, ...]
    min_duration_s: Annotated[float, Field(gt=0)]
    max_skipped_fraction: Annotated[float, Field(ge=0, le=1)]

    @field_validator("source", mode="after")
    @classmethod
    def check_source_is_named(cls, source: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """At least one, and each once."""
        if not source or (isinstance(source, tuple) and len(set(source)) < len(source)):
            raise ValueError("name one source, or several in a list, each once")
        return source

    @model_validator(mode="after")
    def check_sources(self) -> DataParams:
        """Every source must have a section; ready spectrograms have no transform and stand alone."""
        known = [name for name in self.names if name not in DataParams.model_fields]
        for name in self.sources:
            if name not in known:
                raise ValueError(f"source: found {name!r}, choose from: {', '.join(known)}")
        if len(self.sources) > 1 and not all(get_dataset(name).has_audio for name in self.sources):
            raise ValueError(f"source: {self.source_name}: ready spectrograms cannot be combined with another source")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def source_name(self) -> str:
        """The sources in one word, such as ``fma+folder``."""
        return "+".join(self.sources)

    @property
    def has_audio(self) -> bool:
        """Whether there are recordings, or ready spectrograms."""
        return all(dataset.has_audio for _, dataset, _ in self._parts())

    @property
    def split_sizes(self) -> Mapping[str, tuple[int, int]] | None:
        """The published number of clips of each split, as (least, most); None: unknown."""
        sizes = [dataset.split_sizes(section) for _, dataset, section in self._parts()]
        return sizes[0] if len(sizes) == 1 else None

    def _parts(self) -> Iterator[tuple[str, Dataset, Any]]:
        """Each source's name, kind and section."""
        for name in self.sources:
            yield name, get_dataset(name), self[name]

    def source_sections(self) -> dict[str, Any]:
        """The values of each source's section."""
        return {name: section.model_dump(mode="json") for name, _, section in self._parts()}

    @property
    def roots(self) -> tuple[Path, ...]:
        """The user's folders and files, outside the project, that sections name as ``path``."""
        paths = [getattr(section, "path", None) for _, _, section in self._parts()]
        return tuple(root for path in paths if path for root in (path if isinstance(path, tuple) else (path,)))

    def list_files(self) -> SourceListing:
        """What the sources take from outside the project; names begin with the source's."""
        files: dict[str, Path] = {}
        skipped: list[str] = []
        for name, dataset, section in self._parts():
            listing = dataset.list_files(section)
            skipped += listing.skipped
            files |= {f"{name}/{file}": path for file, path in listing.files.items()}
        return SourceListing(files, tuple(skipped))

    def download(self, audio: Path, cache: Path, seed: int, forgotten: Collection[int] = ()) -> list[str]:
        """Bring or make what does not come from the user's files, but for tracks that are forgotten; the names,
        relative to ``audio``.
        """
        names = []
        for name, dataset, section in self._parts():
            brought = dataset.download(audio / name, section, cache, seed)
            left_out = set()
            if forgotten and brought:
                tracks = dataset.load_tracks(audio / name, section)
                left_out = set(tracks.loc[tracks["track_id"].isin(forgotten), "path"])
            for file in left_out:
                (audio / name / file).unlink(missing_ok=True)
            names += [f"{name}/{file}" for file in brought if file not in left_out]
        return names

    def load_tracks(self, audio: Path, forgotten: Collection[int] = ()) -> tuple[pd.DataFrame, list[str]]:
        """The tracks that ``data/audio`` lists, with a column source, and notes on genres that were unified. Tracks
        that are forgotten are left out, as far as their ids do not follow from the audio.
        """
        tables = []
        for name, dataset, section in self._parts():
            table = dataset.load_tracks(audio / name, section).assign(source=name)
            tables.append(table.assign(path=name + "/" + table["path"].astype("string")))
        tracks = pd.concat(tables, ignore_index=True).astype({"track_id": "Int64", "source": "string"})
        tracks = tracks[~tracks["track_id"].isin(forgotten)].reset_index(drop=True)
        tracks["genre"], notes = unify_genres(tracks["genre"])
        return tracks, notes

    def inspect(
        self, tracks: pd.DataFrame, audio: AudioFolder, cache: InspectionCache, corrections: pd.DataFrame
    ) -> CorrectedTracks:
        """Usable tracks with the right genres, and issues of all; see ``inspection`` and ``corrections``."""
        parts = []
        for name, dataset, section in self._parts():
            rows = tracks[tracks["source"] == name]
            if dataset.spectrograms is not None:
                parts.append(inspect_spectrograms(rows, dataset.spectrograms.value_range(audio.path / name, section)))
            else:
                parts.append(inspect_audio(rows, audio, self.min_duration_s, cache, dataset.artists_from_tags))
        usable = pd.concat([table for table, _ in parts], ignore_index=True)
        corrected = apply_corrections(usable, merge_issues([issues for _, issues in parts]), corrections)
        kept, copies = drop_copies(corrected.tracks)
        kept, leaked = drop_leaked_duplicates(kept)
        check_genres(kept)
        issues = merge_issues([corrected.issues, issue_table([*copies, *leaked])])
        return replace(corrected, tracks=kept.sort_values("track_id", ignore_index=True), issues=issues)

    def clips(
        self, audio: AudioFolder, tracks: pd.DataFrame, transform: MelConfig, journal: Path | None = None
    ) -> ClipSource:
        """The spectrograms of usable tracks; ready ones need no transform."""
        (name, dataset, section), *others = self._parts()
        if dataset.spectrograms is None or others:
            return audio_clips(audio, tracks, SpectrogramExtractor(transform), journal)
        names = tracks["path"].str.removeprefix(f"{name}/")
        return dataset.spectrograms.clips(audio.path / name, tracks.assign(path=names), section)


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
