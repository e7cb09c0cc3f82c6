"""The real ``dvc repro`` on a tiny sample in temporary clones of this checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
TINY = {
    "data": {"min_seconds": 3, "sample": {"tracks_per_genre": 4, "seconds": 6}},
    "spectrogram": {"frames": 128, "clip_seconds": 7},
    "models": {"crnn": {"epochs": 2}, "parallel": {"epochs": 2}},
    "registry": {"gate": {"macro_f1": 0.0, "recall": 0.0, "ece": 1.0}},
}
CONTRACT = {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "ece"}
"""What every model is measured by, at least."""


def run(folder: Path, *command: str, ok: bool = True, **extra: str) -> str:
    """Run a command of the environment in ``folder``; returns what it printed."""
    ours = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "GLIBC_TUNABLES")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment | extra, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert (done.returncode == 0) == ok, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-qm", message)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, write_params: Callable[[Path, dict[str, Any]], None]) -> Path:
    """A checkout of these very files with tiny params, after its first ``dvc repro``, committed and pushed."""
    folder = tmp_path_factory.mktemp("pipeline") / "checkout"
    files = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in files:
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "remote", "add", "--default", "shelf", str(folder.parent / "shelf"))
    commit(folder, "what is published")
    # Not committed before it is run: what a model is made of is then a commit and changes to it.
    write_params(folder, TINY)
    run(folder, "dvc", "repro")
    commit(folder, "what was run")
    run(folder, "dvc", "push")
    return folder


@pytest.fixture
def clone(checkout: Path, tmp_path: Path) -> Path:
    run(tmp_path, "git", "clone", "-q", str(checkout), "clone")
    return tmp_path / "clone"


def test_every_file_of_the_contract_is_made(checkout: Path) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet")
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet")
    assert len(tracks) == len(index) == 32
    assert (
        sorted(index["genre"].unique())
        == json.loads((checkout / "data/spectrograms/spectrogram.json").read_text(encoding="utf-8"))["genres"]
    )
    for name in ("baseline", "crnn", "parallel", "ensemble"):
        metrics = json.loads((checkout / f"reports/evaluation/{name}/metrics.json").read_text(encoding="utf-8"))
        assert set(metrics) == {"validation", "test"}
        assert set(metrics["test"]) == set(metrics["validation"]) - {"confident_from"} >= CONTRACT
        assert set(json.loads((checkout / f"models/{name}/run.json").read_text(encoding="utf-8"))) == {
            "run_id",
            "model_id",
        }
    registration = json.loads((checkout / "reports/registration.json").read_text(encoding="utf-8"))
    assert (registration["name"], registration["version"], registration["verdict"]) == ("music-genre", "1", "passed")


def test_the_page_needs_nothing_but_what_lies_beside_it(checkout: Path) -> None:
    page = (checkout / "reports/index.html").read_text(encoding="utf-8")
    pointed = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert len(pointed) > 20
    assert all((checkout / "reports" / unquote(unescape(target))).is_file() for target in pointed)


def test_a_second_repro_has_nothing_to_do_and_leaves_git_clean(checkout: Path) -> None:
    assert "Data and pipelines are up to date." in run(checkout, "dvc", "repro")
    assert run(checkout, "git", "status", "--porcelain") == ""


def test_dvc_tells_an_engineer_what_was_run(checkout: Path) -> None:
    shown = run(checkout, "dvc", "metrics", "show", "--md")
    assert all(
        f"reports/evaluation/{name}/metrics.json" in shown for name in ("baseline", "crnn", "parallel", "ensemble")
    )
    assert "train@crnn" in run(checkout, "dvc", "dag")
    assert "models.crnn.epochs" in run(checkout, "dvc", "params", "diff", "HEAD~1", "--all", "--targets", "params.yaml")
    page = run(checkout, "dvc", "plots", "show", "--out", "plots").strip().removeprefix("file://")
    text = Path(page).read_text(encoding="utf-8")
    assert "Validation accuracy by epoch" in text
    assert "confusion.png" in text
    shutil.rmtree(checkout / "plots")


def model_store(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def models_of(lock: Path) -> dict[str, str]:
    """The digests of the trained models that a ``dvc.lock`` names."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
    outs = [out for stage in stages for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("models/")}


def test_the_commands_on_a_models_card_make_that_very_model_in_a_fresh_clone(checkout: Path, clone: Path) -> None:
    # The same data, params and seed give the same bytes.
    card = model_store(checkout).get_model_version_by_alias("music-genre", "champion").description
    commands = card.split("```bash\n")[1].split("\n```")[0].splitlines()
    assert [command.split()[:2] for command in commands] == [
        ["git", "checkout"],
        ["mlflow", "artifacts"],
        ["git", "apply"],
        ["dvc", "repro"],
        ["dvc", "metrics"],
    ]
    for command in commands:
        asks_the_store = command.startswith("mlflow")
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{checkout}/mlflow.db"} if asks_the_store else {}
        run(clone, *shlex.split(command), **store)
    for name in ("baseline", "crnn", "parallel", "ensemble"):
        metrics = f"reports/evaluation/{name}/metrics.json"
        assert (clone / metrics).read_bytes() == (checkout / metrics).read_bytes()
    assert models_of(clone / "dvc.lock") == models_of(checkout / "dvc.lock")


def test_what_dvc_restores_points_at_its_old_runs_and_is_registered_once(checkout: Path) -> None:
    client = model_store(checkout)
    pointers = {path: path.read_text(encoding="utf-8") for path in checkout.glob("models/*/run.json")}
    assert len(pointers) == 4
    runs = len(client.search_runs([client.get_experiment_by_name("music-genre").experiment_id]))
    reports = [checkout / f"reports/{name}.json" for name in ("gate", "registration")]
    for lost in (*pointers, *checkout.glob("models/*/model.*"), *reports):
        lost.unlink()
    run(checkout, "dvc", "checkout")
    printed = run(checkout, "dvc", "repro")
    assert printed.count("Running stage") == 1
    assert "Running stage 'register'" in printed
    assert {path: path.read_text(encoding="utf-8") for path in pointers} == pointers
    assert len(client.search_runs([client.get_experiment_by_name("music-genre").experiment_id])) == runs
    assert len(client.search_model_versions("name = 'music-genre'")) == 1
    assert run(checkout, "git", "status", "--porcelain") == ""


def test_a_sweep_queues_trains_and_compares_on_validation_and_registers_nothing(checkout: Path) -> None:
    client, before = model_store(checkout), (checkout / "params.yaml").read_bytes()
    queue = ("dvc", "exp", "run", "--queue", "-S", "models.crnn.learning_rate=0.001,0.004", "train@crnn")
    assert run(checkout, *queue).count("Queued experiment") == 2
    run(checkout, "dvc", "exp", "run", "--run-all")
    experiment = client.get_experiment_by_name("music-genre").experiment_id
    swept = client.search_runs([experiment], "tags.dvc_experiment != ''", order_by=["params.learning_rate"])
    assert [found.data.params["learning_rate"] for found in swept] == ["0.001", "0.004"]
    for found in swept:
        assert found.info.status == "FINISHED"
        assert "validation_macro_f1" in found.data.metrics
        assert not [metric for metric in found.data.metrics if metric.startswith("test")]
        assert {entry.dataset.name for entry in found.inputs.dataset_inputs} == {
            "spectrograms-training",
            "spectrograms-validation",
        }
    best = max(swept, key=lambda found: found.data.metrics["validation_macro_f1"])
    header, first, second = run(checkout, "music-genre", "runs").splitlines()[:3]
    assert header.split()[:3] == ["experiment", "model", "validation_macro_f1"]
    assert header.split()[-1] == "learning_rate"
    assert first.split()[:2] == [best.data.tags["dvc_experiment"], "crnn"]
    assert {first.split()[-1], second.split()[-1]} == {"0.001", "0.004"}
    assert len(client.search_model_versions("name = 'music-genre'")) == 1
    assert (checkout / "params.yaml").read_bytes() == before
    assert run(checkout, "git", "status", "--porcelain") == ""


def test_a_second_clone_pulls_everything_and_only_registers(clone: Path) -> None:
    run(clone, "dvc", "pull")
    for made in (
        "reports/index.html",
        "reports/explain/parallel/pictures/filters_last.png",
        "data/raw",
        "data/spectrograms",
        "models/parallel/model.keras",
        "reports/data_quality/site/index.html",
    ):
        assert (clone / made).exists()
    printed = run(clone, "dvc", "repro")
    assert printed.count("Running stage") == 1
    assert "Running stage 'register'" in printed
    assert run(clone, "git", "status", "--porcelain") == ""
    assert "challenger, champion" in run(clone, "music-genre", "versions")


def test_an_experiment_is_tracked_and_registers_nothing(checkout: Path) -> None:
    printed = run(checkout, "dvc", "exp", "run", "-S", "models.crnn.learning_rate=0.003", "--name", "faster")
    assert "nothing is registered" in printed
    assert "Running stage 'train@crnn'" in printed
    assert "Running stage 'train@parallel'" not in printed
    assert '"version": "2"' not in run(checkout, "music-genre", "versions", "--json")
    assert "faster" in run(checkout, "dvc", "exp", "show", "--csv")
    run(checkout, "git", "checkout", "-q", "--", ".")
    run(checkout, "dvc", "checkout")


def test_bad_spectrograms_stop_before_training_and_name_the_track(clone: Path) -> None:
    run(clone, "dvc", "pull", "data/spectrograms", "data/splits.parquet", "data/tracks.parquet")
    path = clone / "data/spectrograms/index.parquet"
    index = pd.read_parquet(path)
    index.loc[0, "finite_share"] = 0.5
    path.unlink()  # DVC may have linked it to its cache
    index.to_parquet(path, index=False)
    printed = run(clone, "python", "-m", "music_genre.stages.validate", ok=False)
    assert "spectrograms.finite_share" in printed
    assert str(index.loc[0, "track_id"]) in printed
    assert "dvc.yaml" not in printed


def test_an_impossible_value_stops_before_any_work(clone: Path) -> None:
    params = clone / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("epochs: 2", "epochs: -3"), encoding="utf-8")
    printed = run(clone, "python", "-m", "music_genre.stages.fetch", ok=False)
    assert "models.crnn.epochs: found -3: Input should be greater than or equal to 1" in printed
    assert not (clone / "data/raw").exists()
