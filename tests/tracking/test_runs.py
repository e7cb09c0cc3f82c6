"""Runs: where the store is, what a run has, how it is found, and a store that is lost during a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from music_genre.tracking.models import DIGEST_TAG, RunRef
from music_genre.tracking.provenance import RunProvenance
from music_genre.tracking.runs import (
    EXPERIMENT,
    VIEW_TAG,
    best_effort_run,
    connect,
    find_run,
    flatten,
    list_experiments,
    log_epoch,
    run,
    store_uri,
)

PROVENANCE = RunProvenance("sample", "unknown")


def test_store_is_at_the_projects_root(tmp_path: Path) -> None:
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_experiments_in_temporary_copies_share_the_store_at_dvcs_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    assert store_uri(tmp_path / "copy") == f"sqlite:///{tmp_path}/project/mlflow.db"


def test_tracking_server_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_uri(tmp_path) == "http://127.0.0.1:5000"


def test_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_uri(Path()) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.slow
def test_processes_that_create_the_store_at_the_same_time_share_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from music_genre.tracking.runs import EXPERIMENT, connect\n"
        "root, me = Path(sys.argv[1]), sys.argv[2]\n"
        "(root / f'ready{me}').touch()\n"
        "while len(list(root.glob('ready*'))) < 2: time.sleep(0.001)\n"
        "print(connect(root).get_experiment_by_name(EXPERIMENT).experiment_id)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0], outputs
    experiments = connect(tmp_path).search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    assert [experiment.artifact_location for experiment in experiments] == [(tmp_path / "mlartifacts").as_uri()]


def test_prepared_view_shows_validation_the_best_first_also_in_a_store_that_had_another(client: MlflowClient) -> None:
    experiment_id = client.get_experiment_by_name(EXPERIMENT).experiment_id
    client.set_experiment_tag(experiment_id, VIEW_TAG, "{}")
    connect(Path(client.tracking_uri.removeprefix("sqlite:///")).parent)
    view = json.loads(client.get_experiment(experiment_id).tags[VIEW_TAG])
    assert view["selectedColumns"][0] == "metrics.`validation_accuracy`"
    assert all(column.startswith("metrics.`validation_") for column in view["selectedColumns"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`validation_macro_f1`", False)


def test_run_has_params_under_dotted_names_and_tags_to_filter_by(client: MlflowClient) -> None:
    provenance = RunProvenance("sample", "0123.dir", "f" * 40, True, "a patch", "faster")
    with run("crnn", {"recipe": "improved", "pools": [2, 2], "inner": {"rate": 0.1}}, provenance):
        pass
    logged = client.get_run(mlflow.last_active_run().info.run_id)
    assert (logged.info.run_name, logged.info.status) == ("crnn", "FINISHED")
    assert logged.data.params == {"recipe": "improved", "pools": "[2, 2]", "inner.rate": "0.1"}
    tags = logged.data.tags
    assert (tags["model"], tags["recipe"], tags["dvc_experiment"]) == ("crnn", "improved", "faster")
    assert tags["mlflow.source.git.commit"] == "f" * 40
    assert "git_commit" not in tags
    assert tags["mlflow.note.content"].startswith(
        "**crnn**, recipe improved, trained on `sample` at commit `ffffffffffff` with the changes in `changes.patch`,"
        " in the experiment `faster`."
    )
    assert Path(client.download_artifacts(logged.info.run_id, "changes.patch")).read_text() == "a patch"


def test_run_without_a_recipe_or_changes_has_neither_tag_nor_patch(client: MlflowClient) -> None:
    with run("ensemble", {"members": ["crnn"]}, PROVENANCE):
        pass
    logged = client.get_run(mlflow.last_active_run().info.run_id)
    assert "recipe" not in logged.data.tags
    assert client.list_artifacts(logged.info.run_id) == []


def test_epochs_are_steps_and_missing_values_are_left_out(client: MlflowClient) -> None:
    with run("crnn", {}, PROVENANCE):
        for epoch in (1, 2):
            log_epoch({"epoch": epoch, "loss": 1 / epoch, "learning_rate": float("nan")})
    run_id = mlflow.last_active_run().info.run_id
    assert [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")] == [(1, 1.0), (2, 0.5)]
    assert client.get_metric_history(run_id, "learning_rate") == []


def test_finished_run_is_found_by_the_models_digest(client: MlflowClient, run: RunRef) -> None:
    client.set_tag(run.run_id, DIGEST_TAG, "a" * 64)
    assert find_run(client, "a" * 64) == run
    assert find_run(client, "0" * 64) is None


def test_failed_run_is_not_found(client: MlflowClient) -> None:
    class PowerCutError(Exception):
        pass

    with pytest.raises(PowerCutError), run("crnn", {}, PROVENANCE):
        mlflow.set_tag(DIGEST_TAG, "b" * 64)
        raise PowerCutError
    assert client.get_run(mlflow.last_active_run().info.run_id).info.status == "FAILED"
    assert find_run(client, "b" * 64) is None


def test_training_goes_on_where_the_store_is_lost(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no space left on device")

    with best_effort_run("crnn", {}, PROVENANCE) as logger:
        logger.log_epoch({"epoch": 1, "loss": 1.0})
        monkeypatch.setattr(mlflow, "log_metrics", fail)
        for epoch in (2, 3):
            logger.log_epoch({"epoch": epoch, "loss": 1.0})
    assert logger.lost
    message = capsys.readouterr().err
    assert message.count("The tracking store is lost: no space left on device") == 1
    assert "`music-genre register` logs what models/ holds" in message
    assert mlflow.active_run() is None
    finished = client.get_run(mlflow.last_active_run().info.run_id)
    assert finished.info.status == "FAILED"
    assert len(client.get_metric_history(finished.info.run_id, "loss")) == 1


def test_failure_of_the_training_fails_its_run(client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), best_effort_run("crnn", {}, PROVENANCE) as logger:
        logger.log_duration(1 / 0)
    assert client.get_run(mlflow.last_active_run().info.run_id).info.status == "FAILED"


def test_experiments_are_listed_best_first_with_the_params_that_differ(tmp_path: Path) -> None:
    client = connect(tmp_path)
    for name, macro_f1, epochs in (("slow", 0.5, 10), ("fast", 0.75, 20)):
        provenance = RunProvenance("sample", "unknown", experiment=name)
        with run("crnn", {"epochs": epochs, "seed": 7}, provenance):
            mlflow.log_metric("validation_macro_f1", macro_f1)
            mlflow.log_metric("training_seconds", 1.0)
    with run("crnn", {"epochs": 30}, PROVENANCE):
        pass
    expected = pd.DataFrame(
        {
            "experiment": ["fast", "slow"],
            "model": "crnn",
            "validation_macro_f1": [0.75, 0.5],
            "training_seconds": 1.0,
            "epochs": ["20", "10"],
        }
    )
    pd.testing.assert_frame_equal(list_experiments(client), expected)


def test_no_experiments_are_an_empty_table(tmp_path: Path) -> None:
    assert list_experiments(connect(tmp_path)).empty


def test_nested_values_get_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": (1, 2)}, "e": None}) == {"a.b.c": 1, "a.d": (1, 2), "e": None}


@pytest.mark.slow
def test_store_that_was_killed_while_it_was_created_is_created_anew(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
import sqlalchemy
from music_genre.tracking import runs
created = 0
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    global created
    created += "CREATE TABLE" in statement
    if created == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
print(runs.connect(Path.cwd()).get_experiment_by_name(runs.EXPERIMENT).name)
"""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    codes = []
    for number in (10, 30, 1000):
        command = [sys.executable, "-c", script, str(number)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0], done.stderr
    assert done.stdout.split() == [EXPERIMENT]
    assert not (tmp_path / ".cache/mlflow.db").exists()
