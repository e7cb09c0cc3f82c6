"""Variables of the libraries, and cores."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from music_genre.runtime import LIBRARY_VARIABLES, configure_libraries, cores


def test_libraries_get_their_variables_unless_the_environment_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARY_VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
    configure_libraries()
    expected = LIBRARY_VARIABLES | {"MLFLOW_LOGGING_LEVEL": "ERROR"}
    assert {name: os.environ[name] for name in LIBRARY_VARIABLES} == expected
    assert logging.getLogger("mlflow").level == logging.ERROR
    assert logging.getLogger("alembic").level == logging.WARNING


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["tensorflow", "keras"])
def test_tensorflow_says_nothing_when_it_is_imported(imported: str) -> None:
    """Beside this process, which may have imported it already."""
    script = (
        "import os, sys\nfrom music_genre.runtime import configure_libraries\nconfigure_libraries()\n"
        f"import {imported}, tensorflow as tf\n"
        "print(float(tf.constant(1.0) + 1.0))\nos.write(2, b'from C')"
    )
    environment = {name: value for name, value in os.environ.items() if name not in LIBRARY_VARIABLES}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "from C")


@pytest.mark.parametrize(("options", "said"), [((), ""), (("-W", "default"), "FutureWarning: soon")])
def test_warnings_of_libraries_about_their_future_are_shown_where_they_are_asked_for(
    options: tuple[str, ...], said: str
) -> None:
    script = (
        "import warnings\nfrom music_genre.runtime import configure_libraries\nconfigure_libraries()\n"
        "warnings.warn('soon', FutureWarning)"
    )
    done = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert said in done.stderr if said else done.stderr == ""


def test_import_of_tensorflow_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no such processor')")
    script = "from music_genre.runtime import configure_libraries\nconfigure_libraries()\nimport tensorflow"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("ImportError: no such processor\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
