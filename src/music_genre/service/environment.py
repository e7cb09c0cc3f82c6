"""Where the service runs, in a checkout or in a bento, and its settings there."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from music_genre.paths import ProjectPaths
from music_genre.settings import Settings, load_settings

BENTO_ROOT = Path(__file__).parents[3]  # the folder of the bento, if this code was packed into one
SETTINGS_DIR_VARIABLE = "_MUSIC_GENRE_SETTINGS_DIR"  # from the process that starts the service to its workers


def release() -> str:
    """The version of this code: that of the installed package, or of the bento that holds it."""
    try:
        return version("music-genre")
    except PackageNotFoundError:
        return BENTO_ROOT.name


def in_bento() -> bool:
    """Whether this code was packed into a bento, together with a model."""
    return (BENTO_ROOT / "bento.yaml").is_file()


def settings_dir() -> Path:
    """The folder of ``settings.toml``: the project's, or in a bento the working directory of ``bentoml serve``.

    Raises:
        MusicGenreError: the service runs in neither a project nor a bento.
    """
    if SETTINGS_DIR_VARIABLE in os.environ:
        return Path(os.environ[SETTINGS_DIR_VARIABLE])
    return Path.cwd() if in_bento() else ProjectPaths.find().root


def share_settings_dir() -> None:
    """Let the workers find ``settings.toml``: BentoML starts them in the bento's folder, not in the working directory.

    Raises:
        MusicGenreError: see ``settings_dir``.
    """
    os.environ[SETTINGS_DIR_VARIABLE] = str(settings_dir())


@cache
def service_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        MusicGenreError: a setting is unknown or impossible; or see ``settings_dir``.
    """
    return load_settings(settings_dir())
