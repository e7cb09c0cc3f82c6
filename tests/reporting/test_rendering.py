"""Values in templates: escaped, formatted, and never left out unnoticed; templates that an installation has."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
from hatchling.builders.wheel import WheelBuilder
from jinja2 import UndefinedError

from music_genre.reporting import rendering

ROOT = Path(__file__).parents[2]


def test_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="summary"):
        rendering.render_html("drift.html.j2", features=[], failures=[], n_requests=1)


def test_missing_values_are_empty_cells() -> None:
    (row,) = rendering.rows(pd.DataFrame({"title": [None], "license": [float("nan")], "clips": [3]}))
    assert row == {"title": None, "license": None, "clips": 3}


def test_interval_is_in_percent() -> None:
    metrics = {"accuracy": 0.5, "accuracy_low": 0.395, "accuracy_high": 1.0}
    assert rendering.interval(metrics, "accuracy") == "50.0 % (39.5 to 100.0)"


def test_wheel_has_every_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    templates = (ROOT / "src/music_genre/reporting/templates").iterdir()
    assert {f"music_genre/reporting/templates/{path.name}" for path in templates} <= set(ZipFile(wheel).namelist())
