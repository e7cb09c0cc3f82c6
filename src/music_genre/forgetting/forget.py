"""Find everything that holds a recording, take it out, and say what still holds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mlflow import MlflowClient

from music_genre.datasets.listing import read_listing
from music_genre.features.store import INDEX
from music_genre.forgetting.dvc_objects import (
    ObjectCache,
    Shard,
    find_shards,
    index_rows,
    known_stores,
    object_holders,
)
from music_genre.forgetting.holders import Holder
from music_genre.forgetting.project_files import (
    SourceFiles,
    audio_holders,
    cache_holders,
    correction_holder,
    feature_holders,
    list_sources,
    request_pages,
    table_holders,
)
from music_genre.forgetting.recording import Collection, Journal, Recording
from music_genre.forgetting.runs import RunArtifacts, version_notes
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.settings import load_settings
from music_genre.tracking import runs
from music_genre.tracking.provenance import data_digest
from music_genre.tracking.store import STORE_FILE, store_root
from music_genre.validation.request_log import files_of_request, forget_request

SPLIT_WORDS = {"training": "trained on it", "validation": "validated on it", "test": "tested on it"}


@dataclass(frozen=True)
class ForgetPlan:
    """What forgetting a recording takes.

    Args:
        recording: which one.
        holders: what holds it here, in the order in which it is taken out.
        remaining: what holds it then, and what to do about that.
        keep_out: what else keeps the recording out of the next run, where its file cannot be removed.
        journal: remembers the recording until all is done.
    """

    recording: Recording
    holders: list[Holder]
    remaining: list[str]
    keep_out: list[Holder]
    journal: Journal

    def carry_out(self) -> list[str]:
        """Take the recording out of everything; a kill loses nothing but the rest, which another call removes.

        Returns:
            What could not be removed, and why.
        """
        failures = []
        if self.holders:
            self.journal.write(self.recording)
        for holder in self.holders:
            try:
                holder.remove()
            except OSError as error:
                failures.append(f"{holder.where}: {error.strerror or error}")
        if failures:
            for holder in self.keep_out:
                holder.remove()
        elif self.holders or self.journal.find(self.recording.what):  # a kill may have left the journal alone
            self.journal.finish(self.recording)
        return failures


def plan_forgetting(project: ProjectPaths, what: str) -> ForgetPlan:
    """Find what holds a recording; nothing is changed.

    Args:
        project: the checkout.
        what: a track id, a file or the id of a request; see ``Collection.resolve``.

    Raises:
        MusicGenreError: there is no such recording, or the tracking server does not answer.
    """
    params, request_log = load_params(project.params), load_settings(project.root).request_log
    journal = Journal(project.cache / "forget")
    listed, notes = list_sources(project, params.data)
    recording = journal.find(what) or Collection(project, listed, request_log).resolve(what, journal.is_finished(what))
    cache, client = ObjectCache.open(project.root), connect_existing(project.root)
    shards = [*_workspace_shards(project, recording), *(find_shards(cache, recording.track_id) if cache else ())]
    recording = replace(recording, splits={**recording.splits, **{shard.digest: shard.split for shard in shards}})
    sources = SourceFiles(listed, read_listing(project.listing), notes, recording)
    if recording.returns is None:  # else another call has begun to remove what it comes from
        recording = replace(recording, returns=sources.returns)
    clips = [clip for shard in shards if (clip := shard.read()) is not None]
    artifacts = RunArtifacts(client, recording, clips) if client else None
    holders = [
        *correction_holder(project, recording),
        *(artifacts.holders() if artifacts else ()),
        *_request_holders(request_log, recording),
        *request_pages(project, recording),
        *(object_holders(cache, project.lock, recording) if cache else ()),
        *feature_holders(project, recording),
        *table_holders(project, recording),
        *cache_holders(project, recording),
        *audio_holders(project, recording),
        *sources.holders(),
    ]
    remaining = [
        *sources.notes,
        *_source_notes(project, recording, sources),
        *(_version_notes(client, params, project, recording, cache) if client else ()),
        *(
            f"artifacts of runs at {uri}: delete there what names it"
            for uri in (artifacts.remote_uris() if artifacts else ())
        ),
        *_copies_elsewhere(project, recording, cache, request_log),
    ]
    keep_out = correction_holder(project, replace(recording, returns=True))
    return ForgetPlan(recording, holders, remaining, keep_out, journal)


def connect_existing(root: Path) -> MlflowClient | None:
    """The tracking store's client; None where there is no store as yet."""
    exists = os.environ.get("MLFLOW_TRACKING_URI") or (store_root(root) / STORE_FILE).is_file()
    return runs.connect(root) if exists else None


def _workspace_shards(project: ProjectPaths, recording: Recording) -> list[Shard]:
    """Where ``data/spectrograms`` has the recording."""
    rows = index_rows(project.spectrograms / INDEX, recording.track_id).itertuples()
    digest = data_digest(project.lock)
    return [Shard(digest, project.spectrograms / row.shard, int(row.row), str(row.split)) for row in rows]


def _request_holders(request_log: Path | None, recording: Recording) -> Iterator[Holder]:
    """What the request log keeps of the requests."""
    if request_log is None:
        return
    for request_id in recording.request_ids:
        for path in files_of_request(request_log, request_id):
            yield Holder(f"{path}, of request {request_id}", partial(forget_request, request_log, request_id))


def _source_notes(project: ProjectPaths, recording: Recording, sources: SourceFiles) -> Iterator[str]:
    """What has the recording under another id, or brings it back to ``data/audio``."""
    for twin in recording.twins:
        yield f"track {twin}, which is the same recording: `music-genre forget {twin}`"
    listed = {file.name for file in sources.deletable}
    for name in recording.names:
        source = name.partition("/")[0]
        if name not in listed and not sources.notes:
            yield f"the source {source}, which has {name}: data/corrections.csv keeps it from being taken in again"
    archives = sorted((project.cache / "fetch").glob("*.zip"))
    if archives and any(name.startswith("fma/") for name in recording.names):
        yield f"{', '.join(map(str, archives))}: archives of the source, downloaded again where they are deleted"


def _version_notes(
    client: MlflowClient, params: Params, project: ProjectPaths, recording: Recording, cache: ObjectCache | None
) -> Iterator[str]:
    """Models that know the recording."""
    known = known_stores(cache) if cache else set()
    if (project.spectrograms / INDEX).is_file():
        known.add(data_digest(project.lock))
    for split, numbers in version_notes(client, params.registry.name, recording, known).items():
        word = SPLIT_WORDS.get(split, "of data that is no longer known, maybe trained on it")
        versions = f"version{'s' * (len(numbers) > 1)} {', '.join(reversed(numbers))}"
        yield f"{params.registry.name} {versions}, {word}, and bentos and files made of them: serve a later version"


def _copies_elsewhere(
    project: ProjectPaths, recording: Recording, cache: ObjectCache | None, request_log: Path | None
) -> Iterator[str]:
    """What this command cannot reach, or leaves to other tools."""
    if recording.splits and any(project.models.glob("*/*")):
        yield "models/ and what was measured of them, until `dvc repro` has trained anew"
    if cache:
        yield (
            "DVC's cache: models, tables and lists of file names of earlier revisions, until `dvc repro` and then"
            " `dvc gc --workspace`, which removes all that this revision does not need"
        )
        for remote in cache.remotes:
            yield f"DVC's remote {remote}: `dvc gc --workspace --cloud --remote {remote}` likewise"
    if (project.root / ".git").exists():
        yield "git: earlier commits of data/split_ledger.csv, data/faults.csv and data/corrections.csv have its number"
    if recording.request_ids and request_log:
        yield "a server that runs: it writes to the log that was replaced until it is started again"
    yield "other clones, experiments in folders of their own, and backups"
