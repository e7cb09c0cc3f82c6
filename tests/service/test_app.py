"""How the service starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = "from music_genre.service.app import MusicGenre; MusicGenre.inner.on_deployment()"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("shadow = 3", "shadow: Input should be a valid boolean"), ("drift = true", "drift is not a setting")],
)
def test_impossible_setting_ends_the_service_with_one_line(tmp_path: Path, setting: str, reason: str) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").touch()
    (tmp_path / "settings.toml").write_text(setting)
    done = subprocess.run([sys.executable, "-c", START], cwd=tmp_path, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("bentoml serve: settings")
    assert reason in line
    assert done.returncode == 1
