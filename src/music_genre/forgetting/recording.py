"""Which recording is meant: by its track id, its file or the id of a request; and what was known of it when it began to
be forgotten, so that a command that was killed goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from music_genre.datasets.copying import ManifestEntry, read_manifest
from music_genre.datasets.identity import track_id_of
from music_genre.datasets.listing import ListedFile, read_listing
from music_genre.errors import MusicGenreError
from music_genre.files import JsonLines, atomic_write_text, read_csv, sha256
from music_genre.paths import ProjectPaths
from music_genre.validation.request_log import files_of_request

MAX_ID_DIGITS = 18


@dataclass(frozen=True)
class Recording:
    """What is to be forgotten.

    Args:
        what: as it was named.
        track_id: None for a request that became no track.
        names: its files in ``data/audio``.
        audio_sha256: of the encoded audio; None where it is unknown.
        sha256: of its files, with whatever tags.
        request_ids: of the requests that brought it.
        twins: ids of other tracks that are the same recording, in data sets with ids of their own.
        splits: by DVC's digest of the spectrograms that have it, the split that it is in.
        returns: whether the next run would take it in again; None where that is not known as yet.
    """

    what: str
    track_id: int | None = None
    names: tuple[str, ...] = ()
    audio_sha256: str | None = None
    sha256: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    twins: tuple[int, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    returns: bool | None = None

    @property
    def id_follows_audio(self) -> bool:
        """Whether every copy of the recording has its track id."""
        return self.audio_sha256 is not None and self.track_id == track_id_of(self.audio_sha256)

    def __str__(self) -> str:
        parts = [f"track {self.track_id}"] if self.track_id is not None else []
        return ", ".join([*parts, *(f"request {request_id}" for request_id in self.request_ids)]) or self.what


class Journal:
    """What is known of recordings that are being forgotten: ``<folder>/<digest>.json``; of those that are forgotten
    only a digest of how they were named: ``<digest>.done``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, what: str) -> Recording | None:
        """The recording that ``what`` named, or names, in a command that has not finished."""
        for file in sorted(self.folder.glob("*.json")):
            values = json.loads(file.read_text(encoding="utf-8"))
            lists = {key: tuple(values[key]) for key in ("names", "sha256", "request_ids", "twins")}
            recording = Recording(**values | lists)
            if what in (recording.what, str(recording.track_id), *recording.names, *recording.request_ids):
                return recording
        return None

    def write(self, recording: Recording) -> None:
        """Remember a recording until ``finish``."""
        atomic_write_text(self._file(recording.what), json.dumps(asdict(recording), indent=2) + "\n")

    def finish(self, recording: Recording) -> None:
        """It is forgotten."""
        for what in (recording.what, *recording.request_ids):
            atomic_write_text(self._file(what, "done"), "")
        self._file(recording.what).unlink(missing_ok=True)

    def is_finished(self, what: str) -> bool:
        """Whether a recording of this name was forgotten."""
        return self._file(what, "done").is_file()

    def _file(self, what: str, suffix: str = "json") -> Path:
        return self.folder / f"{sha256(what)[:16]}.{suffix}"


class Collection:
    """What the pipeline knows of files and tracks, as far as its stages have run.

    Args:
        project: the checkout.
        listed: what lies at the sources now.
        request_log: the service's folder, whose recordings may be a source; None: there is none.
    """

    def __init__(self, project: ProjectPaths, listed: Sequence[ListedFile], request_log: Path | None) -> None:
        self.project, self.request_log = project, request_log
        self.manifest: Mapping[str, ManifestEntry] = read_manifest(project.audio)
        self.listed = [*read_listing(project.listing), *listed]
        tracks = pd.read_parquet(project.tracks) if project.tracks.is_file() else pd.DataFrame()
        issues = read_csv(project.inspection) if project.inspection.is_file() else pd.DataFrame()
        self.track_ids: dict[str, int] = {}  # by name
        self.audio_sha256: dict[str, str] = {}  # by the digest of a file
        for file in sorted((project.cache / "inspect").glob("files-*.jsonl")):
            self.audio_sha256 |= {digest: value[0] for digest, value in JsonLines(file).read().items()}
        for table in (issues, tracks):
            if "path" in table:
                self.track_ids |= dict(zip(table["path"], map(int, table["track_id"]), strict=True))
        if "audio_sha256" in tracks:
            rows = tracks.dropna(subset=["sha256", "audio_sha256"])
            self.audio_sha256 |= dict(zip(rows["sha256"], rows["audio_sha256"], strict=True))

    def resolve(self, what: str, is_finished: bool = False) -> Recording:
        """The recording that is meant.

        Args:
            what: a track id, the path of a file that was listed or is in ``data/audio``, or a request's id.
            is_finished: whether a recording of this name was forgotten, of which nothing need be left.

        Raises:
            MusicGenreError: it is none of them.
        """
        is_id = what.isascii() and what.isdigit() and len(what) <= MAX_ID_DIGITS
        if is_id and int(what) in self.track_ids.values():
            return self._complete(Recording(what, int(what)))
        name = self._name_of(Path(what))
        if name is not None:
            return self._complete(Recording(what, self._track_id(name), (name,)))
        if self.request_log and files_of_request(self.request_log, what):
            return self._of_request(Recording(what, request_ids=(what,)))
        if is_id or is_finished:
            return Recording(what, int(what) if is_id else None)
        raise MusicGenreError(
            f"{what}: found no track with this id, no such file among the sources, and no such request"
            f" in {self.request_log or 'the request log, which is not set (MUSIC_GENRE_REQUEST_LOG)'};"
            " data/tracks.parquet lists tracks"
        )

    def _name_of(self, path: Path) -> str | None:
        """The name in ``data/audio`` of a file, which may lie there or at a source."""
        names = {file.path: file.name for file in self.listed}
        for candidate in (path.absolute(), path.resolve()):
            if str(candidate) in names:
                return names[str(candidate)]
            if candidate.is_relative_to(self.project.audio):
                name = candidate.relative_to(self.project.audio).as_posix()
                return name if name in self.manifest else None
        return path.as_posix() if path.as_posix() in self.manifest else None

    def _track_id(self, name: str) -> int | None:
        digest = self._audio_of(name)
        return self.track_ids.get(name, track_id_of(digest) if digest else None)

    def _audio_of(self, name: str) -> str | None:
        entry = self.manifest.get(name)
        return self.audio_sha256.get(entry.sha256) if entry and entry.sha256 else None

    def _of_request(self, recording: Recording) -> Recording:
        """With the track that its kept recording became, if it did."""
        (request_id,) = recording.request_ids
        kept = {str(path.absolute()) for path in files_of_request(self.request_log or Path(), request_id)}
        names = tuple(file.name for file in self.listed if file.path in kept)
        if not names:
            return recording
        return self._complete(replace(recording, track_id=self._track_id(names[0]), names=names))

    def _complete(self, recording: Recording) -> Recording:
        """With all of its copies and digests, and the requests that brought them."""
        names = {*recording.names, *(name for name, number in self.track_ids.items() if number == recording.track_id)}
        digests = {digest for name in names if (digest := self._audio_of(name))}
        audio_sha256 = min(digests, default=None)
        complete = replace(recording, audio_sha256=audio_sha256)
        if complete.id_follows_audio:
            names |= {name for name in self.manifest if self._audio_of(name) == audio_sha256}
        own = {entry.sha256 for name in names if (entry := self.manifest.get(name)) and entry.sha256}
        own |= {file for file, audio in self.audio_sha256.items() if audio == audio_sha256}
        others = {
            number for name, number in self.track_ids.items() if audio_sha256 and self._audio_of(name) == audio_sha256
        }
        return replace(
            complete,
            names=tuple(sorted(names)),
            sha256=tuple(sorted(own)),
            request_ids=tuple(sorted({*recording.request_ids, *self._requests(names)})),
            twins=tuple(sorted(others - {recording.track_id})),
        )

    def _requests(self, names: Iterable[str]) -> list[str]:
        """The ids of requests whose kept recordings are among some files."""
        if self.request_log is None:
            return []
        folders = (self.request_log.absolute(), self.request_log.resolve())
        files = [Path(file.path) for file in self.listed if file.name in set(names)]
        return [path.stem for path in files if any(path.is_relative_to(folder) for folder in folders)]
