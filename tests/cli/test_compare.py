"""``music-genre compare`` in a small repository of git and DVC, with versions in a real store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from music_genre.evaluation import metrics
from music_genre.evaluation.results import write_summary
from music_genre.params import load_params
from music_genre.tracking import runs
from music_genre.tracking.provenance import RunProvenance

pytestmark = pytest.mark.slow

Command = Callable[..., Any]

GENRES = ("Folk", "R&B", "Rock")
FOLK, RNB, ROCK = range(3)
N_CLIPS = 30  # of validation: 10 of each genre; of test: as many
# Clips of validation that a model predicts wrongly, and the genre that it predicts. Clip i is of genre i // 10.
BEFORE = {0: ROCK, 1: ROCK, 2: ROCK, 3: ROCK, 10: FOLK}
AFTER = {0: ROCK, 20: FOLK, 21: FOLK}
TUNED: dict[int, int] = {}
STAGES = """
stages:
  spectrograms:
    cmd: "true"
    outs: [data/spectrograms]
  train:
    foreach: ${models}
    do:
      cmd: mkdir -p models/${key} && cp params.yaml models/${key}/model
      deps: [data/spectrograms]
      params: [seed, "models.${key}"]
      outs: ["models/${key}"]
  evaluate:
    foreach: ${models}
    do:
      cmd: "true"
      deps: ["models/${key}"]
      outs: ["reports/evaluation/${key}/metrics.json", "reports/evaluation/${key}/predictions.csv",
        "reports/evaluation/${key}/per_class.csv": {cache: false}]
      metrics: ["reports/metrics/${key}.json": {cache: false}]
"""
CHANGE = {"models": {"crnn": {"published": {"learning_rate": 0.5}, "improved": {"epochs": 99}}}}  # the second is idle


def run_in(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return run_in(folder, sys.executable, "-m", "dvc", *arguments)


def commit(folder: Path, tag: str) -> None:
    """Store the outs in DVC's cache and the rest in git."""
    dvc(folder, "commit", "--force", "--quiet")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-qm", tag)
    run_in(folder, "git", "tag", tag)


def evaluate(folder: Path, model: str, wrong: Mapping[int, int]) -> None:
    """A model's files, as training and evaluation leave them, where it is wrong about some clips of validation."""
    trained, evaluation = folder / "models" / model, folder / "reports/evaluation" / model
    for path in (trained, evaluation):
        path.mkdir(parents=True, exist_ok=True)
    (trained / "model").write_text(json.dumps(wrong))
    labels = np.repeat(np.arange(3), N_CLIPS // 3)
    values, tables, per_class = {}, [], []
    for split, errors, first_id in (("validation", wrong, 0), ("test", {}, 1000)):
        predicted = labels.copy()
        for clip, genre in errors.items():
            predicted[clip] = genre
        probabilities = np.where(np.arange(3) == predicted[:, None], 0.8, 0.1)
        values[split] = metrics.classification_metrics(labels, probabilities)
        table = metrics.predictions(np.arange(N_CLIPS) + first_id, labels, probabilities, GENRES)
        # Shuffled, because clips are matched by track_id and not by their order.
        tables.append(table.assign(split=split).sample(frac=1, random_state=len(wrong)))
        per_class.append(metrics.per_class(labels, probabilities, GENRES).assign(split=split))
    (evaluation / "metrics.json").write_text(json.dumps(values))
    write_summary(folder / f"reports/metrics/{model}.json", values)
    pd.concat(tables).to_csv(evaluation / "predictions.csv", index=False)
    pd.concat(per_class).to_csv(evaluation / "per_class.csv", index=False)


def register(folder: Path, model: str, dirty: bool) -> str:
    """A version with its run, of what the folder holds now; its number."""
    client, head = runs.connect(folder), run_in(folder, "git", "rev-parse", "HEAD").strip()
    with runs.run(
        model, load_params(folder / "params.yaml").active(model), RunProvenance("folder", "0.dir", head, dirty)
    ):
        mlflow.log_artifacts(str(folder / "reports/evaluation" / model), "evaluation")
    run_id = mlflow.last_active_run().info.run_id
    return str(client.create_model_version("music-genre", f"runs:/{run_id}/model", run_id).version)


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory,
    describe_project: Callable[[Path], None],
    write_params: Callable[[Path, dict[str, Any]], None],
) -> Path:
    """Commits ``before`` and ``after``, experiments ``tuned`` and ``trained-only``, versions 1 (of ``before``, the
    champion), 2 (of ``after`` with changes) and 3 (without a run); two experiments ``twice``.
    """
    folder = tmp_path_factory.mktemp("repository")
    describe_project(folder)
    (folder / "dvc.lock").unlink()
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / ".gitignore").write_text(
        "/mlflow.db*\n/mlartifacts\n/.cache\n/models\n/data\npredictions.csv\nmetrics.json\n"
    )
    (folder / "data/spectrograms").mkdir(parents=True)
    (folder / "reports").mkdir()
    (folder / "reports/gate.json").write_text(json.dumps({"model": "crnn"}))
    run_in(folder, "git", "init", "-q", "-b", "main")
    dvc(folder, "init", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        runs.connect(folder).create_registered_model("music-genre")
        evaluate(folder, "baseline", {})
        evaluate(folder, "parallel", BEFORE)
        evaluate(folder, "crnn", BEFORE)
        commit(folder, "before")
        register(folder, "crnn", dirty=False)
        runs.connect(folder).set_registered_model_alias("music-genre", "champion", "1")
        change(folder, CHANGE)
        evaluate(folder, "crnn", AFTER)
        commit(folder, "after")
        register(folder, "crnn", dirty=True)
        runs.connect(folder).create_model_version("music-genre", (folder / "models").as_uri())
        change(folder, {"models": {"crnn": {"published": {"epochs": 7}}}})
        evaluate(folder, "crnn", TUNED)
        dvc(folder, "commit", "--force", "--quiet")
        dvc(folder, "exp", "save", "--force", "--name", "tuned")
        restore(folder)
        only = ("-S", "models.parallel.published.epochs=9", "train@parallel")
        dvc(folder, "exp", "run", "--name", "trained-only", *only)
        restore(folder)
        params = load_params(folder / "params.yaml").active("parallel") | {"epochs": 9}
        with runs.run("parallel", params, RunProvenance("folder", "unknown", experiment="trained-only")):
            mlflow.log_metrics({"validation_macro_f1": 0.5, "validation_accuracy": 0.6, "validation_log_loss": 1.0})
    for tag in ("before", "after"):  # as DVC keeps experiments of one name that began at two commits
        began = run_in(folder, "git", "rev-parse", tag).strip()
        run_in(folder, "git", "update-ref", f"refs/exps/{began[:2]}/{began[2:]}/twice", tag)
    return folder


def restore(folder: Path) -> None:
    """The last commit in the checkout."""
    run_in(folder, "git", "checkout", "-q", ".")
    dvc(folder, "checkout", "--quiet")


def change(folder: Path, changes: dict[str, Any]) -> None:
    from dvc.utils.serialize import modify_yaml

    def update(values: Any, new: dict[str, Any]) -> None:
        for key, value in new.items():
            if isinstance(value, dict):
                update(values[key], value)
            else:
                values[key] = value

    with modify_yaml(folder / "params.yaml") as params:
        update(params, changes)


@pytest.fixture
def in_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository)
    return repository


def compared(command: Command, *names: str) -> dict[str, Any]:
    done = command("compare", *names, "--json")
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


def test_commits_are_compared_on_the_clips_that_both_predicted(command: Command, in_repository: Path) -> None:
    found = compared(command, "before", "after")
    assert found["notes"] == []
    assert (found["a"]["model"], found["b"]["model"]) == ("crnn", "crnn")
    # Before: clips 0 to 3 and 10 are wrong; after: 0, 20 and 21. So 20, 21 against 1, 2, 3, 10.
    paired = found["paired"]
    assert (paired["n_clips"], paired["a_only"], paired["b_only"]) == (30, 2, 4)
    assert paired["p_value"] == pytest.approx(2 * (1 + 6 + 15) / 64)  # two tails of six coins
    assert paired["accuracy_difference"] == pytest.approx(2 / 30)
    assert paired["macro_f1_low"] < 0 < paired["macro_f1_high"]
    moved = [(row["genre"], row["a"]["correct"], row["b"]["correct"], row["b"]["clips"]) for row in found["genres"]]
    assert moved == [("Folk", 6, 9, 10), ("Rock", 10, 8, 10), ("R&B", 9, 10, 10)]
    accuracy = found["metrics"]["validation"][0]
    assert (accuracy["a"]["value"], accuracy["b"]["value"]) == pytest.approx((25 / 30, 27 / 30))
    assert accuracy["a"]["low"] < 25 / 30 < accuracy["a"]["high"]


def test_only_active_params_that_differ_are_shown(command: Command, in_repository: Path) -> None:
    key = "models.crnn.published.learning_rate"
    assert compared(command, "before", "after")["params"] == [{"key": key, "a": 0.01, "b": 0.5}]


@pytest.mark.parametrize("names", [("1", "after"), ("champion", "2"), ("before:crnn", "2:crnn"), ("1", "workspace")])
def test_versions_and_commits_are_compared_with_each_other(
    command: Command, in_repository: Path, names: tuple[str, str]
) -> None:
    found = compared(command, *names)
    by_key = {row["key"]: (row["a"], row["b"]) for row in found["params"] if "digest" not in row["key"]}
    assert by_key == {"models.crnn.published.learning_rate": (0.01, 0.5)}
    assert (found["paired"]["a_only"], found["paired"]["b_only"]) == (2, 4)
    assert [row["genre"] for row in found["genres"]] == ["Folk", "Rock", "R&B"]


def test_version_trained_with_changes_is_compared_on_what_its_run_knows(command: Command, in_repository: Path) -> None:
    assert compared(command, "1", "2")["notes"] == [
        "of B only the model's own params are known: only these are compared"
    ]
    assert compared(command, "1", "after")["notes"] == []


def test_experiment_is_read_from_the_commit_that_dvc_keeps_of_it(command: Command, in_repository: Path) -> None:
    found = compared(command, "after", "tuned")
    assert found["b"]["name"] == "experiment tuned"
    assert found["params"] == [{"key": "models.crnn.published.epochs", "a": 2, "b": 7}]
    assert (found["paired"]["a_only"], found["paired"]["b_only"]) == (0, 3)


def test_experiment_that_was_only_trained_has_the_metrics_of_its_run(command: Command, in_repository: Path) -> None:
    found = compared(command, "before:parallel", "trained-only")
    assert found["b"] == {"name": "experiment trained-only", "model": "parallel"}
    assert [row["name"] for row in found["metrics"]["validation"] if row["b"]] == ["accuracy", "macro_f1", "log_loss"]
    assert (found["paired"], found["genres"]) == (None, None)
    assert [row for row in found["params"] if row["b"] == 9] == [
        {"key": "models.parallel.published.epochs", "a": 2, "b": 9}
    ]
    assert "B: its MLflow run has no metrics.json, per_class.csv, predictions.csv" in found["notes"]


def test_another_models_params_are_paired_by_their_names(command: Command, in_repository: Path) -> None:
    by_key = {row["key"]: (row["a"], row["b"]) for row in compared(command, "before", "before:parallel")["params"]}
    assert by_key["model"] == ("crnn", "parallel")
    assert by_key["optimizer"] == ("adam", "rmsprop")
    assert by_key["models.parallel.published.reset_after"] == (None, True)
    assert "epochs" not in by_key


@pytest.fixture
def lost_from_cache(in_repository: Path) -> Iterator[Callable[[str], None]]:
    """Removes a file of ``before`` from DVC's cache; after the test it is there again."""
    kept: dict[Path, bytes] = {}

    def lose(path: str) -> None:
        lock = run_in(in_repository, "git", "show", "before:dvc.lock")
        md5 = lock.split(f"path: {path}")[1].split("md5: ")[1].split()[0]
        cached = in_repository / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        kept[cached] = cached.read_bytes()
        cached.unlink()

    yield lose
    for path, content in kept.items():
        path.write_bytes(content)


def test_without_predictions_in_the_cache_the_rest_is_compared(
    command: Command, in_repository: Path, lost_from_cache: Callable[[str], None]
) -> None:
    lost_from_cache("reports/evaluation/crnn/predictions.csv")
    found = compared(command, "before:crnn", "after")
    assert found["paired"] is None
    assert found["genres"][0]["genre"] == "Folk"
    assert found["notes"][0].startswith("A: its predictions are not in DVC's cache: `dvc fetch")


def test_without_dvcs_cache_what_git_keeps_is_compared(
    command: Command, in_repository: Path, lost_from_cache: Callable[[str], None]
) -> None:
    for name in ("metrics.json", "predictions.csv"):
        lost_from_cache(f"reports/evaluation/crnn/{name}")
    found = compared(command, "before:crnn", "after")
    rows = {row["name"]: row["a"] for row in found["metrics"]["validation"]}
    assert rows["accuracy"]["value"] == 0.8333
    assert rows["log_loss"] is None
    assert found["genres"][0]["genre"] == "Folk"
    assert found["notes"][0].startswith("A: its other metrics and predictions are not in DVC's cache: `dvc fetch")


def test_table_has_at_most_80_columns_whatever_the_names_are(command: Command, in_repository: Path) -> None:
    branch = "a-long-name/" + "x" * 150
    run_in(in_repository, "git", "branch", "--force", branch, "before")
    shown = command("compare", branch, "after")
    assert (shown.code, shown.err) == (0, "")
    assert max(map(len, shown.lines)) <= 80
    text = " ".join(shown.out.split())
    assert "accuracy 0.833 (0.664-0.927) 0.900 (0.744-0.965) +0.067" in text
    assert "models.crnn. 0.01 0.5 published. learning_rate" in text
    assert "right alone 2 4 p 0.688" in text
    assert "Folk 0.600 (6 of 10) 0.900 (9 of 10) +0.300" in text
    assert "On validation macro-F1 does not differ beyond chance." in text
    assert text.index("Test, for information only") > text.index("Folk")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            ("after", "nothing"),
            "nothing is called 'nothing'; there are the versions: champion, 3, 2, 1; the experiments:",
        ),
        (("17", "after"), "nothing is called '17'"),
        (("after:svm", "after"), "commit after ("),
        (("1:parallel", "after"), "version 1 is of model crnn, not parallel"),
        (("3", "after"), "version 3 has lost its MLflow run"),
        (("twice", "after"), "several experiments are called 'twice': name a commit, "),
        (("challenger", "after"), "nothing is called 'challenger'"),
        (("--", "-p", "after"), "nothing is called '-p'"),
    ],
)
def test_wrong_name_is_one_line_that_says_what_there_is(
    command: Command, in_repository: Path, names: tuple[str, ...], reason: str
) -> None:
    assert reason in command("compare", *names).reason


def test_name_of_two_things_is_taken_for_the_version_and_says_so(command: Command, in_repository: Path) -> None:
    run_in(in_repository, "git", "tag", "--force", "2", "before")
    try:
        found = compared(command, "2", "after")
    finally:
        run_in(in_repository, "git", "tag", "--delete", "2")
    assert found["a"]["name"] == "version 2"
    assert found["notes"][0].startswith(
        "A: taken for version 2; the name is also the commit 2"
    )  # with its hash, which may begin so, too


def test_workspace_with_changed_params_says_that_its_reports_are_older(command: Command, in_repository: Path) -> None:
    change(in_repository, {"models": {"crnn": {"published": {"epochs": 5}}}})
    try:
        found = compared(command, "after", "workspace")
    finally:
        run_in(in_repository, "git", "checkout", "-q", "params.yaml")
    assert found["notes"] == ["B: its reports are older than its params or its model: `dvc repro` makes them anew"]
    assert found["params"] == [{"key": "models.crnn.published.epochs", "a": 2, "b": 5}]
