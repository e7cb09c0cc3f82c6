"""A folder of recordings, on this machine and for workers on others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from music_genre.audio.kinds import AUDIO_SUFFIXES, looks_like_audio
from music_genre.errors import AudioError, IssueReason

# Of operating systems and of network storage (Synology, QNAP), without music; hidden folders begin with a dot.
SYSTEM_FOLDERS = frozenset(
    [
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "lost+found",
        "found.000",
        "__macosx",
        "network trash folder",
        "temporary items",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@sharebin",
        "@tmp",
        "#recycle",
        "#snapshot",
    ]
)


@dataclass(frozen=True)
class AudioFolder:
    """A folder of recordings.

    Args:
        path: absolute, on this machine and on workers that share it.
        url: where workers that do not share it find the same files, as fsspec takes it: ``s3://bucket/audio``.
    """

    path: Path
    url: str | None = None

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to read, by its name relative to the folder.

        Raises:
            AudioError: ``unreadable``.
        """
        try:
            if self.url is None:
                with (self.path / name).open("rb") as file:
                    yield file
            else:
                import fsspec

                with fsspec.open(f"{self.url.rstrip('/')}/{name}", "rb") as file:
                    yield file
        except OSError as error:
            raise AudioError(IssueReason.UNREADABLE, f"{name}: {error.strerror or error}") from error


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """The paths, with each folder replaced by the files below it that are audio or are called so, sorted by name.

    A folder without any remains in the list, so that it is reported.
    """
    files: list[Path] = []
    for path in paths:
        below = [file for file in path.rglob("*") if file.is_file() and _is_audio(file)] if path.is_dir() else []
        files += sorted(below) or [path]
    return files


def check_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        AudioError: ``missing``.
    """
    if not path.is_file():
        raise AudioError(IssueReason.MISSING, "no audio files in this folder" if path.is_dir() else "no such file")


def _is_audio(file: Path) -> bool:
    """Whether a file is called like audio, or is some."""
    if file.suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        with file.open("rb") as content:
            return looks_like_audio(content)
    except OSError:
        return False
