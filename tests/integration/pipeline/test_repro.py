"""``dvc repro`` on a tiny sample in a copy of this checkout, and what people do there after it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.pipeline

Run = Callable[..., str]
METRICS = {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss", "ece"}  # at least, of every model
MODELS = ("baseline", "transfer", "crnn", "parallel", "ensemble")


@pytest.fixture(scope="module")
def checkout(reproduced: Path) -> Path:
    """The tests here change it, one after the other."""
    return reproduced / "checkout"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_repro_makes_every_file_of_the_contract(checkout: Path) -> None:
    tracks = pd.read_parquet(checkout / "data/tracks.parquet")
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet")
    assert len(tracks) == len(index) == 32
    assert sorted(index["genre"].unique()) == read_json(checkout / "data/spectrograms/spectrogram.json")["genres"]
    assert set(pd.read_parquet(checkout / "data/splits.parquet")["split"]) == {"training", "validation", "test"}
    assert {"track_id", "path", "severity", "reason", "detail"} <= set(pd.read_csv(checkout / "data/faults.csv"))
    for name in MODELS:
        metrics = read_json(checkout / f"reports/evaluation/{name}/metrics.json")
        assert set(metrics) == {"validation", "test"}
        assert set(metrics["test"]) == set(metrics["validation"]) - {"confidence_threshold"} >= METRICS
        assert set(read_json(checkout / f"reports/runs/{name}.json")) == {"run_id", "model_id"}
    comparison = pd.read_csv(checkout / "reports/evaluation/comparison.csv")
    assert set(comparison["model"]) == set(MODELS)
    assert {"split", "parameters", *METRICS} <= set(comparison)
    gate, registration = (read_json(checkout / f"reports/{name}.json") for name in ("gate", "registration"))
    assert gate["verdict"] == registration["verdict"] == "passed"
    assert registration["model"] == gate["model"] in MODELS
    assert (registration["name"], registration["version"]) == ("music-genre", "1")
    assert all(set(criterion) >= {"name", "value", "threshold", "passed"} for criterion in gate["criteria"])


def test_report_is_one_file_of_a_size_that_can_be_mailed(checkout: Path) -> None:
    page = (checkout / "reports/index.html").read_text(encoding="utf-8")
    targets = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    links = [target for target in targets if not target.startswith("data:")]
    assert len(targets) - len(links) > 10
    assert [link for link in links if not link.startswith("http://localhost:5000/")] == []
    predictions = pd.read_csv(checkout / "reports/evaluation/ensemble/predictions.csv")
    assert page.count("data:audio/mpeg;base64,") == (predictions["split"] == "test").sum()
    assert len(page) < 8_000_000


def test_report_links_to_the_run_of_every_model(checkout: Path) -> None:
    page = (checkout / "reports/index.html").read_text(encoding="utf-8")
    client = MlflowClient(f"sqlite:///{checkout}/mlflow.db")
    searches = [unquote(search) for search in re.findall(r'searchFilter=([^"]+)"', page)]
    names = [run.info.run_name for search in searches for run in client.search_runs(["1"], search)]
    assert set(names) == set(MODELS)


def test_report_names_the_commit_of_code_and_params(checkout: Path, run: Run) -> None:
    page = (checkout / "reports/index.html").read_text(encoding="utf-8")
    commits = run(checkout, "git", "log", "--format=%H", "--", "params.yaml").split()
    named = re.search(r"commit <code>(\w{12})</code> of \d{4}-\d\d-\d\d", page)
    assert named, "no commit"
    assert any(commit.startswith(named[1]) for commit in commits)


def test_second_repro_only_scans_and_leaves_git_clean(checkout: Path, run: Run) -> None:
    assert re.findall(r"Running stage '(.+)'", run(checkout, "dvc", "repro")) == ["scan"]
    assert run(checkout, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_dvc_shows_stages_metrics_params_and_plots(checkout: Path, run: Run) -> None:
    metrics = run(checkout, "dvc", "metrics", "show", "--md")
    assert [name for name in MODELS if f"reports/metrics/{name}.json" not in metrics] == []
    assert "train@crnn" in run(checkout, "dvc", "dag")
    params = run(checkout, "dvc", "params", "diff", "HEAD~1", "--all", "--targets", "params.yaml")
    assert "models.crnn.published.epochs" in params
    page = run(checkout, "dvc", "plots", "show", "--out", "dvc_plots").strip().removeprefix("file://")
    text = Path(page).read_text(encoding="utf-8")
    plots = [
        *(
            f"reports/evaluation/{name}/{plot}"
            for name in MODELS
            for plot in ("confusion.csv", "calibration_curve.csv", "risk_coverage.csv")
        ),
        *(f"reports/evaluation/{name}/history.csv" for name in MODELS[:-1]),
        "genre_examples.png",
        "filters_first.png",
    ]
    assert [plot for plot in plots if plot not in text] == []
    shutil.rmtree(checkout / "dvc_plots")


def model_store(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


@pytest.mark.slow
def test_restored_models_keep_their_runs_and_are_registered_once(checkout: Path, run: Run) -> None:
    client = model_store(checkout)
    refs = {path: path.read_text(encoding="utf-8") for path in checkout.glob("reports/runs/*.json")}
    assert len(refs) == len(MODELS)
    n_runs = len(client.search_runs([client.get_experiment_by_name("music-genre").experiment_id]))
    reports = [checkout / f"reports/{name}.json" for name in ("gate", "registration", "registered")]
    for lost in (*refs, *checkout.glob("models/*/model.*"), *reports):
        lost.unlink()
    run(checkout, "dvc", "checkout")
    printed = run(checkout, "dvc", "repro")
    assert re.findall(r"Running stage '(.+)'", printed) == ["scan", "gate", "register"]
    assert {path: path.read_text(encoding="utf-8") for path in refs} == refs
    assert len(client.search_runs([client.get_experiment_by_name("music-genre").experiment_id])) == n_runs
    assert len(client.search_model_versions("name = 'music-genre'")) == 1
    assert run(checkout, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_sweep_compares_on_validation_and_registers_nothing(checkout: Path, run: Run) -> None:
    client, before = model_store(checkout), (checkout / "params.yaml").read_bytes()
    queue = ("dvc", "exp", "run", "--queue", "-S", "models.crnn.published.learning_rate=0.002,0.004", "train@crnn")
    assert run(checkout, *queue).count("Queued experiment") == 2
    run(checkout, "dvc", "exp", "run", "--run-all")
    experiment = client.get_experiment_by_name("music-genre").experiment_id
    runs = client.search_runs([experiment], "tags.dvc_experiment != ''", order_by=["params.learning_rate"])
    assert [finished.data.params["learning_rate"] for finished in runs] == ["0.002", "0.004"]
    for finished in runs:
        assert finished.info.status == "FINISHED"
        assert "validation_macro_f1" in finished.data.metrics
        assert not [metric for metric in finished.data.metrics if metric.startswith("test")]
        assert {entry.dataset.name for entry in finished.inputs.dataset_inputs} == {
            "spectrograms-training",
            "spectrograms-validation",
        }
    best = max(runs, key=lambda finished: finished.data.metrics["validation_macro_f1"])
    header, first, second = run(checkout, "music-genre", "experiments").splitlines()[:3]
    assert header.split()[:3] == ["experiment", "model", "validation_macro_f1"]
    assert header.split()[-1] == "learning_rate"
    assert first.split()[:2] == [best.data.tags["dvc_experiment"], "crnn"]
    assert {first.split()[-1], second.split()[-1]} == {"0.002", "0.004"}
    assert len(client.search_model_versions("name = 'music-genre'")) == 1
    assert (checkout / "params.yaml").read_bytes() == before
    assert run(checkout, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_experiment_is_tracked_and_registers_nothing(checkout: Path, run: Run) -> None:
    printed = run(checkout, "dvc", "exp", "run", "-S", "models.baseline.C=0.01", "--name", "softer")
    assert "is not registered" in printed
    later = {"calibrate", "compare", "gate", "report", "register"}
    of_baseline = {"train@baseline", "evaluate@baseline", "interpret@baseline"}
    assert set(re.findall(r"Running stage '(.+)'", printed)) == {"scan"} | of_baseline | later
    changed = run(checkout, "git", "diff", "--unified=0", "--", "params.yaml").splitlines()[4:]
    assert [line for line in changed if line[0] in "+-"] == ["-    C: 10.0", "+    C: 0.01"]
    assert len(json.loads(run(checkout, "music-genre", "versions", "--json"))) == 1
    assert "softer" in run(checkout, "dvc", "exp", "show", "--csv")
    run(checkout, "git", "checkout", "-q", "--", ".")
    run(checkout, "dvc", "checkout")
