"""The real ``dvc repro`` in clones of what was published: others get the same models, or none at all."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

pytestmark = pytest.mark.pipeline

Run = Callable[..., str]


@pytest.fixture
def clone(reproduced: Path, run: Run, tmp_path: Path) -> Path:
    run(tmp_path, "git", "clone", "-q", str(reproduced / "published.git"), "clone")
    return tmp_path / "clone"


def models_of(lock: str) -> dict[str, str]:
    """The digests of the trained models that a ``dvc.lock`` names."""
    stages = yaml.safe_load(lock)["stages"].values()
    outs = [out for stage in stages for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("models/")}


def pull_explanations(clone: Path, run: Run) -> None:
    """Take over what ``explain`` made of the published models: of the very same ones it is not made again."""
    published = yaml.safe_load(run(clone, "git", "show", "origin/main:dvc.lock"))
    kept = {name: stage for name, stage in published["stages"].items() if name.startswith("explain@")}
    (clone / "dvc.lock").write_text(yaml.safe_dump(published | {"stages": kept}, sort_keys=False), encoding="utf-8")
    run(clone, "git", "checkout", "-q", "origin/main", "--", "reports/explain")
    run(clone, "dvc", "pull", *kept)


@pytest.mark.slow
def test_the_commands_on_a_models_card_make_that_very_model_in_a_fresh_clone(
    reproduced: Path, clone: Path, run: Run
) -> None:
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
    said = ""
    for command in commands:
        if command.startswith("dvc repro"):
            pull_explanations(clone, run)
        asks_the_store = command.startswith("mlflow")
        said += run(clone, *shlex.split(command), **({"MLFLOW_TRACKING_URI": store} if asks_the_store else {}))
    stages = set(yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"])
    assert set(re.findall(r"Running stage '(.+)'", said)) == stages - {"explain@crnn", "explain@parallel"}

    def published(name: str) -> str:
        return run(clone, "git", "show", f"origin/main:{name}")

    for name in ("baseline", "crnn", "parallel", "ensemble"):
        metrics = f"reports/evaluation/{name}/metrics.json"
        assert (clone / metrics).read_text(encoding="utf-8") == published(metrics)
    assert models_of((clone / "dvc.lock").read_text(encoding="utf-8")) == models_of(published("dvc.lock"))


@pytest.mark.slow
def test_a_second_clone_pulls_everything_and_only_registers(clone: Path, run: Run) -> None:
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


def test_bad_spectrograms_stop_before_training_and_name_the_track(clone: Path, run: Run) -> None:
    run(clone, "dvc", "pull", "data/spectrograms", "data/splits.parquet", "data/tracks.parquet", "data/inspection.csv")
    path = clone / "data/spectrograms/index.parquet"
    index = pd.read_parquet(path)
    index.loc[0, "finite_fraction"] = 0.5
    path.unlink()  # DVC may have linked it to its cache
    index.to_parquet(path, index=False)
    printed = run(clone, "python", "-m", "music_genre.pipeline.validate", ok=False)
    assert "spectrograms.finite_fraction" in printed
    assert str(index.loc[0, "track_id"]) in printed
    assert "dvc.yaml" not in printed


def test_an_impossible_value_stops_before_any_work(clone: Path, run: Run) -> None:
    params = clone / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("epochs: 2", "epochs: -3"), encoding="utf-8")
    printed = run(clone, "python", "-m", "music_genre.pipeline.fetch", ok=False)
    assert "models.crnn.epochs: found -3: Input should be greater than or equal to 1" in printed
    assert not (clone / "data/raw").exists()
