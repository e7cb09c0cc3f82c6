"""``kill -9`` before every write of registering and promoting: every state is valid, and the next call completes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from music_genre.tracking.models import RunRef

pytestmark = pytest.mark.slow

# Every step runs in children that kill themselves before their n-th write to the store, for n = 1, 2, ..., until one
# survives to the end of the step.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import pandas as pd, sqlalchemy
from music_genre.evaluation.results import ModelResult
from music_genre.registry import versions
from music_genre.registry.criteria import Criterion, CriterionName
from music_genre.registry.gate import GateResult
from music_genre.registry.history import champion_periods
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef

root, name, model_id, run_id = Path(sys.argv[1]), *sys.argv[2:]

def register(client, digest, passed=True):
    metrics = {"validation": {"macro_f1": 0.5, "ece": 0.1}, "test": {"macro_f1": 0.5, "ece": 0.1}}
    result = ModelResult("crnn", 1, metrics, pd.DataFrame(), pd.DataFrame())
    gate = GateResult("crnn", [], [Criterion(CriterionName.DATA_QUALITY, passed, True, passed)])
    return versions.register(client, name, digest, RunRef(run_id, model_id), result, gate)

STEPS = {
    "register": lambda c: register(c, "a"),
    "second": lambda c: register(c, "b"),
    "promote": lambda c: versions.promote(c, name, "2", None),
    "rollback": lambda c: versions.rollback(c, name),
    "refuse": lambda c: register(c, "b", False),
    "force": lambda c: versions.promote(c, name, "2", "a try"),
    "accept": lambda c: register(c, "b"),
    "third": lambda c: register(c, "c"),
}

def print_state(client):
    listed = [dict(version=str(v.version), tags=dict(v.tags)) for v in versions.all_versions(client, name)]
    model = client.get_registered_model(name) if listed else None
    print(json.dumps(dict(
        versions=listed,
        aliases={a: str(v) for a, v in model.aliases.items()} if model else {},
        history=[[period.version, period.reason] for period in champion_periods(client, name)],
    )), flush=True)

def run_step(step, fatal):
    with versions.registry_lock(root):
        client, commits, wrote = runs.connect(root), 0, False
        print_state(client)
        def note_write(connection, cursor, statement, *rest):
            nonlocal wrote
            wrote = wrote or statement.startswith(("INSERT", "UPDATE", "DELETE"))
        def count_commit(connection):
            nonlocal commits, wrote
            commits, wrote = commits + wrote, False
            if commits == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", note_write)
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", count_commit)
        STEPS[step](client)
        print_state(client)

def run_in_child(step, fatal):
    pid = os.fork()
    if pid == 0:
        try:
            run_step(step, fatal)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# What every child would import is imported before the first fork, with a store that no child uses.
champion_periods(runs.connect(root / "warm_up"), name)
os.environ.pop("MLFLOW_TRACKING_URI")

for step in STEPS:
    fatal, kills = 1, 0
    while (code := run_in_child(step, fatal)) != 0:
        assert code == -signal.SIGKILL, code
        fatal, kills = fatal + 1, kills + 1
    print(json.dumps(dict(step=step, kills=kills)), flush=True)
"""


@pytest.fixture(scope="module")
def log(store: tuple[Path, RunRef], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The state of the registry before every step and every kill, after every finished step, and the number of kills
    in each step.
    """
    root, ref = store
    folder = tmp_path_factory.mktemp("interrupted")
    for copy in (folder, folder / "warm_up"):
        copy.mkdir(exist_ok=True)
        shutil.copyfile(root / "mlflow.db", copy / "mlflow.db")
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), "interrupted", ref.model_id, ref.run_id],
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert completed.returncode == 0, completed.stderr
    return [json.loads(line) for line in completed.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def states(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in log if "aliases" in line]


def test_registering_and_promoting_were_killed_ten_times_each(log: list[dict[str, Any]]) -> None:
    kills = {line["step"]: line["kills"] for line in log if "step" in line}
    assert sum(kills[step] for step in ("register", "second", "refuse", "accept", "third")) >= 10, kills
    assert kills["promote"] + kills["force"] + kills["rollback"] >= 10, kills


def test_every_version_has_its_verdict(states: list[dict[str, Any]]) -> None:
    for state in states:
        for version in state["versions"]:
            assert version["tags"]["verdict"] in ("passed", "refused")
            failed = any(not criterion["passed"] for criterion in json.loads(version["tags"]["criteria"]))
            assert not failed or version["tags"]["verdict"] == "refused"


def test_aliases_point_at_versions(states: list[dict[str, Any]]) -> None:
    for state in states:
        assert set(state["aliases"].values()) <= {version["version"] for version in state["versions"]}


def test_history_ends_with_the_champion(states: list[dict[str, Any]]) -> None:
    for state in states:
        champion = state["aliases"].get("champion")
        assert champion is None or champion == state["history"][-1][0]


def test_interrupted_steps_are_completed_once(states: list[dict[str, Any]]) -> None:
    last = states[-1]
    assert [version["version"] for version in last["versions"]] == ["3", "2", "1"]
    assert last["aliases"] == {"champion": "2", "challenger": "3"}
    assert last["history"] == [
        ["1", "the first to pass the gate"],
        ["2", "promoted"],
        ["1", "rolled back from version 2"],
        ["2", "forced: a try"],
    ]
