"""The real ``dvc repro`` on a tiny sample in a copy of this checkout, and what is done there after it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.pipeline

Run = Callable[..., str]
CONTRACT = {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "ece"}
"""What every model is measured by, at least."""


@pytest.fixture(scope="module")
def checkout(reproduced: Path) -> Path:
    """The tests here work in it, one after the other."""
    return reproduced / "checkout"


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
        assert set(json.loads((checkout / f"reports/runs/{name}.json").read_text(encoding="utf-8"))) == {
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


def test_a_second_repro_has_nothing_to_do_and_leaves_git_clean(checkout: Path, run: Run) -> None:
    assert "Data and pipelines are up to date." in run(checkout, "dvc", "repro")
    assert run(checkout, "git", "status", "--porcelain") == ""


def test_dvc_tells_an_engineer_what_was_run(checkout: Path, run: Run) -> None:
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


def test_what_dvc_restores_points_at_its_old_runs_and_is_registered_once(checkout: Path, run: Run) -> None:
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


@pytest.mark.slow
def test_a_sweep_queues_trains_and_compares_on_validation_and_registers_nothing(checkout: Path, run: Run) -> None:
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


@pytest.mark.slow
def test_an_experiment_is_tracked_and_registers_nothing(checkout: Path, run: Run) -> None:
    printed = run(checkout, "dvc", "exp", "run", "-S", "models.baseline.c=0.01", "--name", "softer")
    assert "nothing is registered" in printed
    begun = re.findall(r"Running stage '(.+)'", printed)
    assert sorted(begun) == ["evaluate", "register", "report", "train@baseline"]
    assert '"version": "2"' not in run(checkout, "music-genre", "versions", "--json")
    assert "softer" in run(checkout, "dvc", "exp", "show", "--csv")
    run(checkout, "git", "checkout", "-q", "--", ".")
    run(checkout, "dvc", "checkout")
