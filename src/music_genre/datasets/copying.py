"""The pipeline's own copy of the user's files, brought up to date: only what is new or changed is copied, as bytes.

``manifest.csv`` beside the copies names them all. What it does not name is not the pipeline's, and is left alone.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from music_genre.datasets.listing import ListedFile
from music_genre.errors import MusicGenreError
from music_genre.files import JsonLines, atomic_write, check_free_space, file_sha256

MANIFEST = "manifest.csv"
COLUMNS = ("path", "size", "sha256")
CHUNK_BYTES = 1 << 20
MAX_FILES_SHOWN = 3  # of those that are not the pipeline's, in the error message


class ManifestEntry(NamedTuple):
    """A file of the copy; of one that is being written neither size nor digest is known."""

    size: int | None
    sha256: str | None


Manifest = Mapping[str, ManifestEntry]


def read_manifest(audio: Path) -> dict[str, ManifestEntry]:
    """By name relative to ``audio``; a name that ends in a slash stands for all files of a folder. Empty where there
    is no manifest.
    """
    try:
        with (audio / MANIFEST).open(encoding="utf-8", newline="") as file:
            entries = {
                row["path"]: ManifestEntry(int(row["size"]) if row["size"] else None, row["sha256"] or None)
                for row in csv.DictReader(file)
            }
    except FileNotFoundError:
        return {}
    except (KeyError, ValueError) as error:
        raise MusicGenreError(f"{audio / MANIFEST}: not a manifest: {error}; `dvc checkout` brings it back") from error
    outside = [name for name in entries if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise MusicGenreError(f"{audio / MANIFEST} names {outside[0]!r}, which lies outside: nothing is done")
    return entries


def update_copy(
    audio: Path,
    listed: Sequence[ListedFile],
    cache: Path,
    download: Callable[[], Iterable[str]],
    downloaded: Iterable[str],
) -> None:
    """Make ``audio`` hold exactly the listed files and what is downloaded.

    An interrupted run leaves whole files only, and the next goes on with the rest.

    Args:
        audio: the pipeline's folder, which may be there already.
        listed: the user's files.
        cache: remembers which file was copied from run to run.
        download: fills the folders ``downloaded`` and gives the names of their files, relative to ``audio``.
        downloaded: names of folders, ending in a slash.

    Raises:
        MusicGenreError: ``audio`` holds files that are not the pipeline's, or there is no space.
    """
    before = read_manifest(audio)
    _refuse_foreign_files(audio, before)
    audio.mkdir(parents=True, exist_ok=True)
    planned = dict.fromkeys([*(file.name for file in listed), *downloaded], ManifestEntry(None, None))
    _write_manifest(audio, planned | before)
    after = _copy_files(audio, listed, before, JsonLines(cache / "copied.jsonl"))
    names = list(download())
    after |= {name: ManifestEntry((audio / name).stat().st_size, file_sha256(audio / name)) for name in names}
    _remove_gone(audio, before, after)
    _write_manifest(audio, after)


def _copy_files(
    audio: Path, listed: Sequence[ListedFile], before: Manifest, copied: JsonLines
) -> dict[str, ManifestEntry]:
    known = {key: str(value) for key, value in copied.read().items()}
    entries, missing = {}, []
    for file in listed:
        digest = known.get(_key(file))
        entry = before.get(file.name, ManifestEntry(None, None))
        is_same = digest is not None and entry.sha256 in (digest, None) and _size(audio / file.name) == file.size
        if is_same:
            entries[file.name] = ManifestEntry(file.size, digest)
        else:
            missing.append(file)
    check_free_space(audio, sum(file.size for file in missing))
    with copied.appending() as append:
        for file in tqdm(missing, desc="Copying clips", unit="clip", disable=not missing):
            entry = _copy(Path(file.path), audio / file.name, before.get(file.name))
            entries[file.name] = entry
            append(_key(file), entry.sha256)
    return entries


def _key(file: ListedFile) -> str:
    return f"{file.name} {file.path} {file.size} {file.mtime}"


def _copy(source: Path, target: Path, before: ManifestEntry | None) -> ManifestEntry:
    """Copy bytes, never a link; a target that has them already is left as it is."""
    digest, size = hashlib.sha256(), 0
    temporary = target.with_name(f"{target.name[:100]}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as reader, temporary.open("wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                digest.update(chunk)
                size += writer.write(chunk)
        entry = ManifestEntry(size, digest.hexdigest())
        if entry != before or _size(target) != size:
            temporary.replace(target)
        return entry
    except FileNotFoundError as error:
        raise MusicGenreError(f"{source} vanished while it was copied; run again") from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_foreign_files(audio: Path, manifest: Manifest) -> None:
    folders = tuple(name for name in manifest if name.endswith("/"))
    foreign = []
    for folder, _, names in os.walk(audio):
        for file in names:
            name = os.path.relpath(Path(folder, file), audio).replace(os.sep, "/")
            if name != MANIFEST and name not in manifest and not name.startswith(folders) and not _is_partial(name):
                foreign.append(name)
    if foreign:
        shown = ", ".join(ascii(name) for name in sorted(foreign)[:MAX_FILES_SHOWN])
        raise MusicGenreError(
            f"{audio} is the pipeline's own, and holds {len(foreign)} files that it did not put there: {shown};"
            " move them to a folder of yours, such as data/raw"
        )


def _is_partial(name: str) -> bool:
    """Whether an interrupted copy left the file."""
    return name.endswith(".partial")


def _remove_gone(audio: Path, before: Manifest, after: Manifest) -> None:
    for name in before.keys() - after.keys():
        if name.endswith("/"):  # an interrupted run was filling it
            files = [path for path in (audio / name).rglob("*") if not path.is_dir()]
            gone = [path for path in files if path.relative_to(audio).as_posix() not in after]
        else:
            gone = [audio / name]
        for path in gone:
            path.unlink(missing_ok=True)
    for folder, _, _ in os.walk(audio, topdown=False):
        path = Path(folder)
        for partial in path.glob("*.partial"):
            partial.unlink()
        if path != audio and not any(path.iterdir()):
            path.rmdir()


def _write_manifest(audio: Path, entries: Manifest) -> None:
    with atomic_write(audio / MANIFEST) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((name, *entries[name]) for name in sorted(entries))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
