"""Settings that change no result: how the service runs, and when drift is reported.

Each is a variable of the environment (``MUSIC_GENRE_SHADOW=true``) or a key of ``settings.toml``
(``shadow = true``) in the project's folder, or in the working directory of a service without a project; the environment
has the last word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from music_genre.config import Count
from music_genre.errors import MusicGenreError

SETTINGS_FILE = "settings.toml"


class Settings(BaseSettings):
    """All settings with their defaults.

    Args:
        api_key: that requests must bear; None: no key is needed.
        request_log: folder for statistics of each request, no audio; None: no log.
        shadow: shadow mode: the challenger's predictions are recorded, not returned.
        drift_js_threshold: Jensen-Shannon distances (0 to 1) up to this one do not matter.
        drift_alpha: false-alarm rate of drift detection on data like the training data.
        drift_window: the newest requests that are compared.
        drift_min_requests: fewer requests are not enough to compare.
    """

    model_config = SettingsConfigDict(env_prefix="MUSIC_GENRE_", extra="forbid", frozen=True, env_ignore_empty=True)

    api_key: SecretStr | None = None
    request_log: Path | None = None
    shadow: bool = False
    drift_js_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.15
    drift_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.02
    drift_window: Count = 1000
    drift_min_requests: Count = 50

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file that ``load_settings`` names."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(folder: Path | None = None) -> Settings:
    """The settings of the environment and of ``settings.toml`` in a folder (default: the working directory).

    Raises:
        MusicGenreError: the file is not TOML, or a setting is unknown or impossible; the message names each.
    """
    file = (folder or Path.cwd()) / SETTINGS_FILE

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return FromFile()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise MusicGenreError(f"settings (MUSIC_GENRE_... or {file}): {problems}") from error
    except ValueError as error:
        raise MusicGenreError(f"{file}: {error}") from error
