"""A folder of recordings, on this machine and for workers on others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
