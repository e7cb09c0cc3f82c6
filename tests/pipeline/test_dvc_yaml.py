"""``dvc.yaml``: every stage names all code that can change its outs, and DVC can read every one of its commands."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from music_genre.models.registry import ENSEMBLE, Network, get_model
from music_genre.params import load_params

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/music_genre"
STAGES: dict[str, dict[str, Any]] = {
    name: stage.get("do", stage)
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
}
MODELS = load_params(ROOT / "params.yaml").models.names

# A change in these cannot change a number in any out, so no stage must run again for it.
NEUTRAL = {
    "cluster",  # of workers
    "compute",  # where clips are worked on
    "config",  # base classes of sections; the values themselves are in `params`
    "encoders/description",  # the schema of `encoder.json`, whose values are in data
    "encoders/sessions",  # threads of ONNX Runtime
    "errors",
    "files",  # atomic writes, digests, free space
    "params",
    "paths",
    "pipeline/__init__",  # the entry point that all stages share
    "runtime",  # settings of libraries and of start-up
    "settings",  # change no result by definition
    "tracking/provenance",  # what a run records of its origin
    "tracking/runs",  # records runs in MLflow
}


def module_path(name: str) -> str | None:
    """Path without suffix of a module of the package, ``datasets/fma``; None where there is no such module."""
    path = name.removeprefix("music_genre").strip(".").replace(".", "/")
    if (PACKAGE / f"{path}.py").is_file():
        return path
    return f"{path}/__init__".lstrip("/") if (PACKAGE / path / "__init__.py").is_file() else None


def imports(module: str) -> set[str]:
    """Modules of the package that a module imports, in its functions, too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = (module_path(name) for name in names if name.split(".")[0] == "music_genre")
    return {path for path in ours if path is not None}


def reachable(module: str) -> set[str]:
    """Everything that a module imports, directly or not, but for what is neutral and packages that are only a name."""
    reached, waiting = set[str](), [module]
    while waiting:
        current = waiting.pop()
        if current not in reached and current not in NEUTRAL:
            reached.add(current)
            waiting += imports(current)
    return {path for path in reached if not (path.endswith("__init__") and not imports(path))}


def listed(deps: list[str]) -> set[str]:
    """The modules that a list of deps names, those of folders, too."""
    modules: set[str] = set()
    for dep in deps:
        path = ROOT / dep
        if path.is_relative_to(PACKAGE):
            files = path.rglob("*.py") if path.is_dir() else [path]
            modules |= {str(file.relative_to(PACKAGE).with_suffix("")) for file in files}
    return modules


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_every_module_it_can_reach(stage: str) -> None:
    described = STAGES[stage]
    assert described["cmd"].removesuffix(" ${key}") == f"python -m music_genre.pipeline.{stage}"
    missing = reachable(f"pipeline/{stage}") - listed(described["deps"])
    assert missing == set()


def test_scan_alone_runs_every_time() -> None:
    # No dep of its tells DVC that the user's files have changed.
    assert [name for name, stage in STAGES.items() if stage.get("always_changed")] == ["scan"]


@pytest.mark.parametrize("name", MODELS)
def test_training_depends_on_its_own_model_and_on_no_other(name: str) -> None:
    deps = listed([dep.replace("${key}", name) for dep in STAGES["train"]["deps"]])
    assert reachable(f"models/{name}") - deps == set()
    assert deps & {f"models/{other}" for other in (*MODELS, ENSEMBLE) if other != name} == set()


def test_evaluation_depends_on_the_module_that_makes_a_classifiers_features() -> None:
    # It is imported by its name, which `reachable` cannot see.
    assert "src/music_genre/models/${key}.py" in STAGES["evaluate"]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_dep_that_is_code_exists(stage: str) -> None:
    deps = [dep.replace("${key}", name) for dep in STAGES[stage]["deps"] for name in MODELS]
    assert [dep for dep in deps if dep.startswith("src/") and not (ROOT / dep).exists()] == []


def test_every_stage_module_is_a_stage() -> None:
    assert {path.stem for path in (PACKAGE / "pipeline").glob("[a-z]*.py")} == set(STAGES)


def test_networks_are_distinguished_from_other_models() -> None:
    # `ensemble.members` and `interpret` rest on this.
    assert {name for name in MODELS if isinstance(get_model(name), Network)} == {"crnn", "parallel"}


def outs(stage: str) -> dict[str, bool]:
    """The outs, metrics and plots of a stage for model ``crnn``: whether DVC's cache keeps them, else git does."""
    listed = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    options = dict(next(iter(out.items())) if isinstance(out, dict) else (out, {}) for out in listed)
    return {path.replace("${key}", "crnn"): options[path].get("cache", True) for path in options}


def test_git_keeps_only_what_every_processor_gives() -> None:
    # Probabilities, and with them losses, calibration and histories, differ by the processor that trains.
    assert {path for stage in STAGES for path, is_cached in outs(stage).items() if not is_cached} == {
        "data/faults.csv",
        "data/listing.parquet",  # of one machine, and not in git
        "data/split_ledger.csv",
        "reports/data_quality/summary.json",
        "reports/evaluation/crnn/per_class.csv",
        "reports/evaluation/ensemble/agreement_by_genre.csv",
        "reports/evaluation/ensemble/per_class.csv",
        "reports/evaluation/ensemble/top_confusions.csv",
        "reports/evaluation/mcnemar.csv",
        "reports/gate.json",
        "reports/metrics/crnn.json",
        "reports/metrics/ensemble.json",
        "reports/registered.json",  # of one machine, and not in git
        "reports/splits.csv",
    }


def test_git_ignores_what_dvc_keeps_and_nothing_else() -> None:
    paths = {path: is_cached for stage in STAGES for path, is_cached in outs(stage).items()}
    command = ("git", "check-ignore", "--no-index", "--stdin")
    done = subprocess.run(command, cwd=ROOT, input="\n".join(paths), capture_output=True, text=True)
    of_this_machine = {"data/listing.parquet", "reports/registered.json"}
    assert set(done.stdout.splitlines()) == {path for path, is_cached in paths.items() if is_cached} | of_this_machine


def test_experiment_up_to_the_gate_makes_no_sheets_and_no_report() -> None:
    # Of model crnn, which needs no embeddings.
    made_by = {path: stage for stage in STAGES for path in outs(stage)}
    needed, waiting = set[str](), {"gate"}
    while waiting:
        current = waiting.pop()
        needed.add(current)
        for dep in (dep.replace("${key}", "crnn") for dep in STAGES[current]["deps"]):
            stages = {stage for path, stage in made_by.items() if path == dep or path.startswith(f"{dep}/")}
            waiting |= stages - needed
    assert set(STAGES) - needed == {"embeddings", "interpret", "label_quality", "register", "report"}


def test_file_is_short_enough_to_read_in_one_go() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) < 200
