"""``dvc repro`` in clones of a published project: the same data, params and seed give the same models."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from mlflow import MlflowClient

pytestmark = pytest.mark.pipeline

Run = Callable[..., str]


@pytest.fixture
def clone(reproduced: Path, run: Run, tmp_path: Path) -> Path:
    run(tmp_path, "git", "clone", "-q", str(reproduced / "published.git"), "clone")
    return tmp_path / "clone"


def digests(lock: str) -> dict[str, str]:
    """The digests of the trained models and of their metrics that a ``dvc.lock`` names."""
    stages = yaml.safe_load(lock)["stages"].values()
    outs = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}
    return {path: md5 for path, md5 in outs.items() if path.startswith("models/") or path.endswith("metrics.json")}


@pytest.mark.slow
def test_commands_of_a_model_card_reproduce_the_model_in_a_fresh_clone(reproduced: Path, clone: Path, run: Run) -> None:
    # The same data, params and seed give the same bytes.
    store = f"sqlite:///{reproduced}/mlflow.db"
    card = MlflowClient(store).get_model_version_by_alias("music-genre", "champion").description
    commands = card.split("```bash\n")[1].split("\n```")[0].splitlines()
    assert [command.split()[:2] for command in commands] == [
        ["git", "checkout"],
        ["mlflow", "artifacts"],
        ["git", "apply"],
        ["dvc", "repro"],
        ["dvc", "metrics"],
    ]
    printed = ""
    for command in commands:
        variables = {"MLFLOW_TRACKING_URI": store} if command.startswith("mlflow") else {}
        printed += run(clone, *shlex.split(command), **variables)
    stages = set(yaml.safe_load(run(clone, "git", "show", "origin/main:dvc.lock"))["stages"])
    later = {"label_quality", "gate", "report", "register", *(name for name in stages if name.startswith("interpret@"))}
    assert set(re.findall(r"Running stage '(.+)'", printed)) == stages - later

    def published(name: str) -> str:
        return run(clone, "git", "show", f"origin/main:{name}")

    for name in ("baseline", "crnn", "parallel", "ensemble"):
        metrics = f"reports/metrics/{name}.json"
        assert (clone / metrics).read_text(encoding="utf-8") == published(metrics)
    assert digests((clone / "dvc.lock").read_text(encoding="utf-8")) == digests(published("dvc.lock"))


@pytest.mark.slow
def test_second_clone_pulls_everything_and_only_registers(clone: Path, run: Run) -> None:
    run(clone, "dvc", "pull")
    for pulled in (
        "reports/index.html",
        "reports/genre_examples.png",
        "reports/interpretation/parallel/plots/filters_last.png",
        "reports/evaluation/crnn/metrics.json",
        "reports/evaluation/crnn/plots/confusion_matrix.png",
        "data/audio",
        "data/spectrograms",
        "models/parallel/model.keras",
        "reports/data_quality/site/index.html",
    ):
        assert (clone / pulled).exists(), pulled
    printed = run(clone, "dvc", "repro")
    assert re.findall(r"Running stage '(.+)'", printed) == ["scan", "register"]
    assert run(clone, "git", "status", "--porcelain") == ""
    (version,) = json.loads(run(clone, "music-genre", "versions", "--json"))
    assert set(version["aliases"]) == {"challenger", "champion"}


@pytest.mark.slow
def test_bad_spectrograms_stop_before_training(clone: Path, run: Run) -> None:
    tables = ("data/splits.parquet", "data/tracks.parquet", "data/inspection.csv", "reports/split_changes.csv")
    run(clone, "dvc", "pull", "data/spectrograms", *tables)
    path = clone / "data/spectrograms/index.parquet"
    index = pd.read_parquet(path)
    index.loc[0, "finite_fraction"] = 0.5
    path.unlink()  # DVC may have linked it to its cache
    index.to_parquet(path, index=False)
    printed = run(clone, "python", "-m", "music_genre.pipeline.validate", ok=False)
    assert "spectrograms.finite_fraction" in printed
    assert str(index.loc[0, "track_id"]) in printed
    assert "dvc.yaml" not in printed


def test_impossible_value_stops_before_any_work(clone: Path, run: Run) -> None:
    apply_overrides(clone / "params.yaml", ["models.crnn.published.epochs=-3"])
    printed = run(clone, "python", "-m", "music_genre.pipeline.fetch", ok=False)
    assert "models.crnn.published.epochs: found -3: Input should be greater than or equal to 1" in printed
    assert not (clone / "data/audio").exists()
