"""What the tests of the pipeline share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHORT = {"spectrogram": {"frames": 40, "clip_seconds": 3}}


@pytest.fixture(scope="session")
def describe_short_clips(write_params: Callable[[Path, dict[str, Any]], None]) -> Callable[..., None]:
    """Writes ``dvc.yaml`` and the params of a collection of clips of two seconds; keywords are of section ``data``."""

    def write(project: Path, /, **data: Any) -> None:
        shutil.copy(ROOT / "dvc.yaml", project)
        write_params(project, SHORT | {"data": {"min_seconds": 1, **data}})

    return write
