"""``docs/adding-a-model.md`` is true: its two code blocks take a new model to the registry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]

GUIDE = Path(__file__).parents[3] / "docs/adding-a-model.md"

Run = Callable[..., str]


def code_block(language: str) -> str:
    """The one block of a language in the guide."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def clone(reproduced: Path, run: Run, tmp_path: Path) -> Path:
    """A clone with all data and models, as ``dvc pull`` brings them, and a registry of its own."""
    run(tmp_path, "git", "clone", "-q", str(reproduced / "published.git"), "clone")
    run(tmp_path / "clone", "dvc", "pull", "-q")
    return tmp_path / "clone"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_one_file_and_one_section_take_a_model_to_the_gate(clone: Path, run: Run) -> None:
    (clone / "src/music_genre/models/cnn.py").write_text(code_block("python"), encoding="utf-8")
    params = (clone / "params.yaml").read_text(encoding="utf-8")
    assert params.count("\nmodels:\n") == 1
    (clone / "params.yaml").write_text(params.replace("\nmodels:\n", f"\n{code_block('yaml')}", 1), encoding="utf-8")
    code = {"PYTHONPATH": str(clone / "src")}  # the clone's own, as `make setup` installs it
    printed = run(clone, "dvc", "repro", **code)

    stages = re.findall(r"Running stage '(.+)'", printed)
    assert stages[:2] == ["scan", "train@cnn"]
    later = {"evaluate@cnn", "calibrate", "compare", "interpret@cnn", "gate", "report", "register"}
    assert set(stages) == {"scan", "train@cnn", *later}
    edited = [line[3:] for line in run(clone, "git", "status", "--porcelain", "--untracked-files=all").splitlines()]
    made = ("reports/", "dvc.lock", "models/", "data/")
    assert sorted(name for name in edited if not name.startswith(made)) == [
        "params.yaml",
        "src/music_genre/models/cnn.py",
    ]

    comparison = pd.read_csv(clone / "reports/evaluation/comparison.csv").set_index(["model", "split"])
    assert comparison.loc[("cnn", "test"), "parameters"] < comparison.loc[("crnn", "test"), "parameters"]
    assert (clone / "reports/interpretation/cnn/plots/filters_first.png").is_file()
    assert ">cnn<" in (clone / "reports/index.html").read_text(encoding="utf-8")
    assert "reports/metrics/cnn.json" in run(clone, "dvc", "metrics", "show", "--md")

    gate, registration = (read_json(clone / f"reports/{name}.json") for name in ("gate", "registration"))
    candidates = {candidate["name"]: candidate for candidate in gate["candidates"]}
    assert set(candidates) == {"cnn", "baseline", "transfer", "crnn", "parallel", "ensemble"}
    failed = [criterion["name"] for criterion in candidates["cnn"]["criteria"] if not criterion["passed"]]
    assert failed == []  # another one may still be better, or surer
    assert (registration["model"], registration["version"], registration["verdict"]) == (gate["model"], "1", "passed")

    client, run_of_cnn = MlflowClient(f"sqlite:///{clone}/mlflow.db"), read_json(clone / "reports/runs/cnn.json")
    logged = client.get_run(run_of_cnn["run_id"])
    assert logged.info.run_name == "cnn"
    assert logged.data.metrics["validation_macro_f1"] == comparison.loc[("cnn", "validation"), "macro_f1"]
    assert logged.data.params["epochs"] == "24"
    recording = next((clone / "data/audio").rglob("*.mp3"))
    prediction = json.loads(
        run(clone, "music-genre", "predict", str(recording), "--json", "--model", "cnn", **code).splitlines()[-1]
    )
    assert prediction["genre"] in read_json(clone / "data/spectrograms/spectrogram.json")["genres"]
