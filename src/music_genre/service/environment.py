"""Where the service runs, in a checkout or in a bento, and its settings there."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from music_genre.paths import ProjectPaths
from music_genre.settings import Settings, load_settings

BENTO_ROOT = Path(__file__).parents[3]  # the folder of the bento, if this code was packed into one


def in_bento() -> bool:
    """Whether this code was packed into a bento, together with a model."""
    return (BENTO_ROOT / "bento.yaml").is_file()


@cache
def service_settings() -> Settings:
    """The settings of this process, read once: the project's, or in a bento those of the working directory.

    Raises:
        MusicGenreError: a setting is unknown or impossible, or the service runs in neither a project nor a bento.
    """
    return load_settings(Path.cwd() if in_bento() else ProjectPaths.find().root)
