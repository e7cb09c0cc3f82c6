"""``kill -9`` in the middle of registering and promoting: the registry is never half-done, the next call ends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from music_genre.tracking import runs as tracking

pytestmark = pytest.mark.slow

# A child a step: it ends itself by SIGKILL before its n-th write to the store, for every n there is.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import pandas as pd, sqlalchemy
from music_genre import registry, tracking
from music_genre.gate import Candidate, Criterion, GateResult

root, name, model_id, run_id = Path(sys.argv[1]), *sys.argv[2:]

def judged(passed):
    metrics = {"validation": {"macro_f1": 0.5, "ece": 0.1}, "test": {"macro_f1": 0.5, "ece": 0.1}}
    return GateResult(Candidate("crnn", 1, metrics, pd.DataFrame()), [Criterion("data_quality", passed, True, passed)])

def register(client, digest, passed=True):
    pointer = tracking.RunRef(run_id, model_id)
    return registry.register(client, name, digest, pointer, judged(passed))

STEPS = {
    "register": lambda c: register(c, "a"),
    "second": lambda c: register(c, "b"),
    "promote": lambda c: registry.promote(c, name, "2", None),
    "rollback": lambda c: registry.rollback(c, name),
    "refuse": lambda c: register(c, "b", False),
    "force": lambda c: registry.promote(c, name, "2", "a try"),
    "accept": lambda c: register(c, "b"),
    "third": lambda c: register(c, "c"),
}

def state(client):
    versions = [dict(version=str(v.version), tags=dict(v.tags)) for v in registry._versions(client, name)]
    model = client.get_registered_model(name) if versions else None
    print(json.dumps(dict(
        versions=versions,
        aliases={a: str(v) for a, v in model.aliases.items()} if model else {},
        history=[[r.version, r.reason] for r in registry.history(client, name)],
    )), flush=True)

def child(step, fatal):
    with tracking.lock(root):
        client, commits, wrote = tracking.connect(root), 0, False
        state(client)
        def write(connection, cursor, statement, *rest):
            nonlocal wrote
            wrote = wrote or statement.startswith(("INSERT", "UPDATE", "DELETE"))
        def count(connection):
            nonlocal commits, wrote
            commits, wrote = commits + wrote, False
            if commits == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", write)
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", count)
        STEPS[step](client)
        state(client)

def forked(work, *arguments):
    pid = os.fork()
    if pid == 0:
        try:
            work(*arguments)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# What every child would import and arrange anew is there before the first is forked; it opens a store of its own.
registry.history(tracking.connect(root / "before"), name)
os.environ.pop("MLFLOW_TRACKING_URI")

for step in STEPS:
    fatal, kills = 1, 0
    while (code := forked(child, step, fatal)) != 0:
        assert code == -signal.SIGKILL, code
        fatal, kills = fatal + 1, kills + 1
    print(json.dumps(dict(step=step, kills=kills)), flush=True)
"""


@pytest.fixture(scope="module")
def told(recovered_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What was seen after every kill and every finished step."""
    folder = tmp_path_factory.mktemp("killed")
    for place in (folder, folder / "before"):
        place.mkdir(exist_ok=True)
        shutil.copyfile(recovered_checkout / "mlflow.db", place / "mlflow.db")
    pointer = json.loads((recovered_checkout / "reports/runs/crnn.json").read_text())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), "killed", pointer["model_id"], pointer["run_id"]],
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def states(told: list[dict[str, object]]) -> list[dict[str, object]]:
    return [line for line in told if "aliases" in line]


def test_it_was_killed_more_than_ten_times_in_registering_and_in_promoting(told: list[dict[str, object]]) -> None:
    kills = {str(line["step"]): int(str(line["kills"])) for line in told if "step" in line}
    assert sum(kills[step] for step in ("register", "second", "refuse", "accept", "third")) >= 10, kills
    assert kills["promote"] + kills["force"] + kills["rollback"] >= 10, kills


def test_a_version_always_has_its_verdict(told: list[dict[str, object]]) -> None:
    for state in states(told):
        for version in state["versions"]:
            assert version["tags"]["verdict"] in ("passed", "refused")
            failed = any(not criterion["passed"] for criterion in json.loads(version["tags"]["criteria"]))
            assert not failed or version["tags"]["verdict"] == "refused"


def test_an_alias_always_points_at_a_version(told: list[dict[str, object]]) -> None:
    for state in states(told):
        numbers = {version["version"] for version in state["versions"]}
        assert set(state["aliases"].values()) <= numbers


def test_the_history_ends_with_the_champion_whatever_moment_is_looked_at(told: list[dict[str, object]]) -> None:
    for state in states(told):
        champion = state["aliases"].get("champion")
        assert [champion] == [entry[0] for entry in state["history"][-1:]] or champion is None


def test_what_was_interrupted_is_done_once_in_the_end(told: list[dict[str, object]]) -> None:
    last = states(told)[-1]
    assert [version["version"] for version in last["versions"]] == ["3", "2", "1"]
    assert last["aliases"] == {"champion": "2", "challenger": "3"}
    assert last["history"] == [
        ["1", "the first to pass the gate"],
        ["2", "promoted"],
        ["1", "rolled back from version 2"],
        ["2", "forced: a try"],
    ]


def test_two_at_once_wait_for_each_other(tmp_path: Path) -> None:
    with tracking.lock(tmp_path):
        held = tracking.lock(tmp_path)
        with pytest.raises(TimeoutError):
            held.acquire(timeout=0.1)
