"""Settings that change no result: how the service runs, and when drift is reported.

Each is an environment variable (``MUSIC_GENRE_SHADOW=true``) or a key of ``settings.toml`` (``shadow = true``) in the
project's folder, or in the working directory of a bento, which has no project. The environment has precedence; an empty
variable counts as unset.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from music_genre.audio.folder import AudioFolder
from music_genre.config import Count, OptionalPath
from music_genre.errors import MusicGenreError

SETTINGS_FILE = "settings.toml"
ENV_PREFIX = "MUSIC_GENRE_"


class Settings(BaseSettings):
    """All settings with their defaults. Arguments have less precedence than the environment.

    Args:
        api_key: that requests must have; None: no key is needed.
        request_log: folder for statistics of each request and for feedback; None: neither.
        keep_audio: whether the recording of a request with feedback is kept, in the folder of its right genre below
            ``<request_log>/audio``.
        keep_audio_days: how long after its feedback.
        feedback_per_minute: the most feedback of all clients together, on one worker.
        shadow: shadow mode: the challenger's predictions are recorded, not returned.
        promote: whether ``music-genre retrain`` promotes a challenger by itself.
        promote_min_shadow: after at least so many recordings in shadow mode.
        promote_min_feedback: and feedback on at least so many of these, of which it predicts as many right as the
            champion.
        rollback_max_error_share: a champion is rolled back where certainly more of its requests fail; None: never.
        rollback_min_feedback_accuracy: or its accuracy on feedback is certainly lower; None: never.
        audio_url: where Dask workers that lack the project's folder find the files of ``data/audio``, as fsspec takes
            it: ``s3://bucket/audio``; None: they read that folder.
        drift_js_threshold: Jensen-Shannon distances (0 to 1) up to this one do not matter.
        drift_alpha: false-alarm rate of drift detection on data like the training data.
        drift_window: the number of newest requests that are compared.
        drift_min_requests: fewer requests are not enough to compare.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    api_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    request_log: OptionalPath = None
    keep_audio: bool = False
    keep_audio_days: Count = 90
    feedback_per_minute: Count = 60
    shadow: bool = False
    promote: Literal["manual", "automatic"] = "manual"
    promote_min_shadow: Count = 200
    promote_min_feedback: Count = 20
    rollback_max_error_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    rollback_min_feedback_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    audio_url: Annotated[str, Field(pattern="://")] | None = None
    drift_js_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.15
    drift_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.02
    drift_window: Count = 1000
    drift_min_requests: Count = 50

    def audio_folder(self, path: Path) -> AudioFolder:
        """The recordings in a folder of the project, as Dask workers reach them."""
        return AudioFolder(path.resolve(), self.audio_url)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the arguments, which ``load_settings`` reads from the file."""
        return env_settings, init_settings


def load_settings(folder: Path) -> Settings:
    """The settings of the environment and of ``settings.toml`` in a folder.

    Args:
        folder: the project's, or the working directory of a bento; a relative path of ``request_log`` is below it.

    Raises:
        MusicGenreError: the file is not TOML, or a setting is unknown or impossible; the message names each.
    """
    file = folder / SETTINGS_FILE
    try:
        settings = Settings(**_read_toml(file))
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors(include_input=False))
        raise MusicGenreError(f"settings ({ENV_PREFIX}... or {file}): {problems}") from error
    log_dir = settings.request_log
    return settings.model_copy(update={"request_log": folder / log_dir}) if log_dir else settings


def _describe(problem: ErrorDetails) -> str:
    """What is wrong with which setting; never its value, which may be secret."""
    key = ".".join(map(str, problem["loc"]))
    return f"{key} is not a setting" if problem["type"] == "extra_forbidden" else f"{key}: {problem['msg']}"


def _read_toml(file: Path) -> dict[str, Any]:
    """The values of a TOML file; none where there is no file."""
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        raise MusicGenreError(f"{file}: {error}") from error
