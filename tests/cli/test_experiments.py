"""``music-genre experiments``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from music_genre.tracking import runs

Command = Callable[..., Any]


def record_run(folder: Path, experiment: str, macro_f1: float, epochs: int) -> None:
    """A finished run of a DVC experiment, as training records it."""
    client = runs.connect(folder)
    store = client.get_experiment_by_name(runs.EXPERIMENT)
    run = client.create_run(store.experiment_id, tags={"dvc_experiment": experiment, "model": "crnn"})
    client.log_param(run.info.run_id, "epochs", epochs)
    client.log_param(run.info.run_id, "seed", 7)
    client.log_metric(run.info.run_id, "validation_macro_f1", macro_f1)
    client.set_terminated(run.info.run_id)


def test_runs_are_listed_best_first_with_the_params_that_differ(command: Command, writable_checkout: Path) -> None:
    record_run(writable_checkout, "sweep-few", 0.25, 10)
    record_run(writable_checkout, "sweep-many", 0.75, 20)
    listed = command("experiments")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split() for line in listed.lines] == [
        ["experiment", "model", "validation_macro_f1", "training_seconds", "epochs"],
        ["sweep-many", "crnn", "0.750", "-", "20"],
        ["sweep-few", "crnn", "0.250", "-", "10"],
    ]


def test_without_experiments_the_message_says_how_to_run_one(command: Command, in_checkout: Path) -> None:
    listed = command("experiments")
    assert (listed.code, listed.err) == (0, "")
    assert "`dvc exp run -S ...`" in listed.out
