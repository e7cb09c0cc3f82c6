"""Variables of the libraries, and cores."""

from __future__ import annotations

import logging
import os

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


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
