"""Settings from the environment and ``settings.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from music_genre.errors import MusicGenreError
from music_genre.settings import ENV_PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller's environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)


def write(folder: Path, text: str) -> None:
    (folder / "settings.toml").write_text(text, encoding="utf-8")


def test_all_settings_have_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert (settings.api_key, settings.request_log, settings.shadow) == (None, None, False)
    assert not settings.keep_audio
    assert settings.drift_min_requests <= settings.drift_window


def test_file_sets_each_setting(tmp_path: Path) -> None:
    write(
        tmp_path,
        'api_key = "ключ"\nrequest_log = "/var/log/music-genre"\nshadow = true\ndrift_js_threshold = 0.2\n'
        "drift_alpha = 0.1\ndrift_window = 500\ndrift_min_requests = 10\n"
        "keep_audio = true\nkeep_audio_days = 30\nfeedback_per_minute = 6\n"
        'promote = "automatic"\npromote_min_shadow = 7\npromote_min_feedback = 3\n'
        "rollback_max_error_share = 0.05\nrollback_min_feedback_accuracy = 0.4\n",
    )
    assert load_settings(tmp_path).model_dump() == {
        "api_key": SecretStr("ключ"),
        "request_log": Path("/var/log/music-genre"),
        "audio_url": None,
        "keep_audio": True,
        "keep_audio_days": 30,
        "feedback_per_minute": 6,
        "shadow": True,
        "promote": "automatic",
        "promote_min_shadow": 7,
        "promote_min_feedback": 3,
        "rollback_max_error_share": 0.05,
        "rollback_min_feedback_accuracy": 0.4,
        "drift_js_threshold": 0.2,
        "drift_alpha": 0.1,
        "drift_window": 500,
        "drift_min_requests": 10,
    }


def test_environment_has_precedence_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'shadow = true\napi_key = "of the file"\ndrift_window = 500\n')
    monkeypatch.setenv("MUSIC_GENRE_SHADOW", "false")
    monkeypatch.setenv("MUSIC_GENRE_API_KEY", "of the environment")
    settings = load_settings(tmp_path)
    assert (settings.shadow, settings.drift_window) == (False, 500)
    assert settings.api_key == SecretStr("of the environment")


def test_empty_variable_is_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "shadow = true\n")
    for name in ("SHADOW", "REQUEST_LOG", "API_KEY"):
        monkeypatch.setenv(f"MUSIC_GENRE_{name}", "")
    settings = load_settings(tmp_path)
    assert (settings.shadow, settings.request_log, settings.api_key) == (True, None, None)


def test_relative_request_log_is_below_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSIC_GENRE_REQUEST_LOG", "logs/requests")
    assert load_settings(tmp_path).request_log == tmp_path / "logs/requests"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHADOW", "maybe"),
        ("DRIFT_JS_THRESHOLD", "1.0"),
        ("DRIFT_ALPHA", "0"),
        ("DRIFT_ALPHA", "nan"),
        ("DRIFT_WINDOW", "0"),
        ("DRIFT_MIN_REQUESTS", "many"),
        ("KEEP_AUDIO_DAYS", "0"),
        ("FEEDBACK_PER_MINUTE", "0"),
    ],
)
def test_impossible_variable_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"MUSIC_GENRE_{name}", value)
    with pytest.raises(MusicGenreError, match=f"{name.lower()}: Input should") as error:
        load_settings(tmp_path)
    assert "\n" not in str(error.value)


def test_empty_request_log_in_the_file_is_none_and_not_the_folder(tmp_path: Path) -> None:
    write(tmp_path, 'request_log = ""\n')
    assert load_settings(tmp_path).request_log is None


def test_unknown_key_of_the_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "shdow = true\n")
    with pytest.raises(MusicGenreError, match=r"settings\.toml\): shdow is not a setting$"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ['shdow = "x"', "shadow = ", 'api_key = ""', "api_key = 17", 'request_log = ["x"]'])
def test_impossible_file_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(MusicGenreError, match=r"settings\.toml") as error:
        load_settings(tmp_path)
    assert "\n" not in str(error.value)


def test_file_that_is_not_text_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes(b"shadow = \xff\n")
    with pytest.raises(MusicGenreError, match=r"settings\.toml"):
        load_settings(tmp_path)


def test_refused_api_key_is_not_in_the_message(tmp_path: Path) -> None:
    write(tmp_path, 'api_key = ["secret word"]\n')
    with pytest.raises(MusicGenreError) as error:
        load_settings(tmp_path)
    assert "secret word" not in str(error.value)


def test_api_key_is_not_in_the_text_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSIC_GENRE_API_KEY", "secret word")
    assert "secret word" not in f"{load_settings(tmp_path)!r} {load_settings(tmp_path)}"
