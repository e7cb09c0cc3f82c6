"""What each file of a collection holds, kept by content, so that a recording is decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from music_genre.audio.decoding import decoder_crashed
from music_genre.audio.folder import AudioFolder
from music_genre.audio.info import AudioInfo
from music_genre.compute import map_clips
from music_genre.datasets.copying import ManifestEntry, read_manifest
from music_genre.datasets.identity import identify_in
from music_genre.errors import AudioError, IssueReason
from music_genre.features.cache import ClipWriter
from music_genre.features.extraction import ClipResult, FeatureExtractor, describe_and_extract
from music_genre.files import JsonLines, file_sha256, sha256

MAX_DURATION_S = 3600.0  # of longer files, no more is decoded
INSPECTION_VERSION = 2  # of what is kept: raise it where the same file gives other values


@dataclass(frozen=True)
class InspectionCache:
    """Where what was found is kept, by content, and where features go that the same decoding gives.

    Args:
        folder: of what was found.
        features: caches of features, each with what makes them.
    """

    folder: Path
    features: tuple[tuple[Path, FeatureExtractor], ...] = ()

    @property
    def journal(self) -> Path:
        """Names the file that is worked on; see ``map_clips``."""
        return self.folder / "journal"


@dataclass(frozen=True)
class InspectedFile:
    """A file's audio and digests, or why it cannot be used.

    Args:
        info: None where the file cannot be decoded.
        sha256: of the content; None where there is no file.
        audio_sha256: of the recording, see ``identity``.
        artist: by the file's tags.
        error: reason and detail; None where the file can be decoded.
    """

    info: AudioInfo | None
    sha256: str | None
    audio_sha256: str
    artist: str | None
    error: tuple[IssueReason, str] | None

    @classmethod
    def from_probe(cls, probed: dict[str, Any], digest: str, audio_sha256: str, artist: str | None) -> InspectedFile:
        """From what ``_to_json`` gave."""
        if "error" in probed:
            reason, detail = probed["error"]
            return cls(None, digest, audio_sha256, artist, (IssueReason(reason), detail))
        return cls(AudioInfo.from_json(probed["info"]), digest, audio_sha256, artist, None)


def inspect_files(audio: AudioFolder, paths: Sequence[str], cache: InspectionCache) -> list[InspectedFile]:
    """What each file holds. Only recordings that were never inspected are decoded: a file that was renamed or tagged
    anew is known by its audio.

    Args:
        audio: the folder of the collection, with the digests that ``copying`` knows.
        paths: relative to it.
        cache: keeps what was found.
    """
    manifest = read_manifest(audio.path)
    digests = {path: _sha256(audio.path, path, manifest.get(path)) for path in paths}
    first_path = {digest: path for path, digest in reversed(digests.items()) if digest}
    identities = _identify_files(audio, first_path, cache)
    recordings = {identities[digest][0]: path for digest, path in reversed(first_path.items())}
    probed = _inspect_recordings(audio, recordings, cache)
    inspected = []
    for path in paths:
        digest = digests[path]
        if digest is None:
            error = (IssueReason.MISSING, "listed, but there is no such file")
            inspected.append(InspectedFile(None, None, sha256(path), None, error))
            continue
        audio_sha256, artist = identities[digest]
        inspected.append(InspectedFile.from_probe(probed[audio_sha256], digest, audio_sha256, artist))
    return inspected


def _sha256(audio: Path, path: str, entry: ManifestEntry | None) -> str | None:
    """The digest of a file, from the manifest where it has one; None where there is no file."""
    file = audio / path
    if not file.is_file():
        return None
    return entry.sha256 if entry and entry.sha256 and entry.size == file.stat().st_size else file_sha256(file)


def _identify_files(
    audio: AudioFolder, paths: Mapping[str, str], cache: InspectionCache
) -> dict[str, tuple[str, str | None]]:
    """Digest of the audio and artist, by the digest of the file."""
    kept = JsonLines(cache.folder / f"files-{INSPECTION_VERSION}.jsonl")
    known = {name: (audio_sha256, artist) for name, (audio_sha256, artist) in kept.read().items()}
    missing = [name for name in paths if name not in known]
    results = map_clips(
        partial(identify_in, audio),
        [paths[name] for name in missing],
        "Reading tags",
        lambda path: (file_sha256(audio.path / path), None),
        cache.journal,
    )
    with kept.appending() as append:
        for name, identity in zip(missing, results, strict=True):
            append(name, identity)
            known[name] = identity
    return known


def _inspect_recordings(audio: AudioFolder, paths: Mapping[str, str], cache: InspectionCache) -> dict[str, Any]:
    """What ``_to_json`` gives of each recording, by the digest of its audio; its features go to their own caches.

    What was found is written once the features are, so that a run after a kill decodes what lacks either.
    """
    kept = JsonLines(cache.folder / f"recordings-{INSPECTION_VERSION}.jsonl")
    writers = [ClipWriter(folder, extractor.dtype) for folder, extractor in cache.features]
    extractors = [extractor for _, extractor in cache.features]
    known = kept.read()
    missing = [name for name in paths if name not in known]
    inspect = partial(describe_and_extract, audio, max_seconds=MAX_DURATION_S + 1, extractors=extractors)
    results = map_clips(inspect, [paths[name] for name in missing], "Inspecting", _crashed, cache.journal)
    written = 0
    with kept.appending() as append:
        for count, (name, (found, clips)) in enumerate(zip(missing, results, strict=True), 1):
            known[name] = _to_json(found)
            for writer, extractor, clip in zip(writers, extractors, clips, strict=False):
                writer.add(extractor.key(name), clip)
            if count == len(missing) or any(writer.is_full for writer in writers):
                for writer in writers:
                    writer.flush()
            if not any(writer.waiting for writer in writers):
                for done in missing[written:count]:
                    append(done, known[done])
                written = count
    return known


def _to_json(found: AudioInfo | AudioError) -> dict[str, Any]:
    if isinstance(found, AudioError):
        return {"error": [found.reason, found.detail]}
    return {"info": asdict(found)}


def _crashed(path: str) -> tuple[AudioError, list[ClipResult]]:
    return decoder_crashed(path), []
