"""``dvc.yaml`` is the table of contents: each stage's command, deps and outs tell the truth."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from music_genre.models.bundle import NETWORKS

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = PIPELINE["stages"]
ORDER = [
    "fetch",
    "index",
    "split",
    "spectrograms",
    "validate",
    "train",
    "ensemble",
    "evaluate",
    "explain",
    "report",
    "register",
]

# They carry values, places, messages and records, and never make a figure: a change in them must not train again.
NEUTRAL = {
    "__init__",
    "errors",
    "params",
    "project",
    "provenance",
    "tracking",
    "workers",
    "stages/__init__",
    "networks/__init__",
}


def imported(module: str) -> set[str]:
    """Modules of the package that a module imports anywhere in it, as paths without suffix: ``sources/fma``."""
    tree = ast.parse((ROOT / f"src/music_genre/{module}.py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("music_genre"):
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    paths = {name.removeprefix("music_genre").strip(".").replace(".", "/") for name in names}
    return {path for path in paths if (ROOT / f"src/music_genre/{path}.py").is_file()}


def needed(module: str) -> set[str]:
    """Everything a module can reach, but for what is neutral."""
    reached, waiting = set[str](), [module]
    while waiting:
        current = waiting.pop()
        if current not in reached and current not in NEUTRAL:
            reached.add(current)
            waiting += imported(current)
    return reached


def listed(deps: list[str]) -> set[str]:
    """The modules that a list of deps names, folders opened."""
    found: set[str] = set()
    for dep in deps:
        path = ROOT / dep
        if dep.startswith("src/music_genre"):
            files = path.rglob("*.py") if path.is_dir() else [path]
            found |= {str(file.relative_to(ROOT / "src/music_genre").with_suffix("")) for file in files}
    return found


def test_the_stages_are_in_the_order_of_the_lifecycle() -> None:
    assert list(STAGES) == ORDER


@pytest.mark.parametrize("stage", [name for name in ORDER if name not in ("train", "register")])
def test_a_stage_depends_on_every_module_that_can_change_its_outs(stage: str) -> None:
    described = STAGES[stage].get("do", STAGES[stage])
    assert described["cmd"].removesuffix(" ${item}") == f"python -m music_genre.pipeline.{stage}"
    missing = needed(f"stages/{stage}") - listed(described["deps"])
    assert not missing


@pytest.mark.parametrize("name", ["baseline", "crnn", "parallel"])
def test_training_depends_on_its_own_network_and_no_other(name: str) -> None:
    deps = [dep.replace("${key}", name) for dep in STAGES["train"]["do"]["deps"]]
    others = {f"networks/{other}" for other in ("baseline", "crnn", "parallel", "ensemble")} - {f"networks/{name}"}
    wanted = (needed("stages/train") | needed(f"networks/{name}")) - others
    assert not wanted - listed(deps)
    assert not others & listed(deps)


def mentions(name: str, part: Any) -> set[str]:
    """What a part of ``dvc.yaml`` says of a model, with a star for its name."""
    if isinstance(part, dict):
        return {said for key, value in part.items() for said in mentions(name, key) | mentions(name, value)}
    if isinstance(part, list):
        return {said for value in part for said in mentions(name, value)}
    words = re.split(r"([/.])", str(part))
    return {"".join("*" if word == name else word for word in words)} if name in words else set()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("part", ["train", "evaluate", "explain", "report", "register", "metrics", "plots"])
def test_every_network_is_named_wherever_one_is(part: str, name: str) -> None:
    found = STAGES.get(part) or PIPELINE[part]
    wanted = set().union(*(mentions(network, found) for network in NETWORKS))
    assert wanted - mentions(name, found) == set()


def test_registering_depends_on_the_code_that_decides() -> None:
    decides = {"card", "completion", "gate", "provenance", "registry", "tracking", "stages/register"}
    assert decides <= listed(STAGES["register"]["deps"])


@pytest.mark.parametrize("stage", ORDER)
def test_every_listed_dep_that_is_code_exists(stage: str) -> None:
    deps = STAGES[stage].get("do", STAGES[stage])["deps"]
    code = [dep for dep in deps if dep.startswith("src/") and "${" not in dep]
    assert all((ROOT / dep).exists() for dep in code)


def test_tracked_files_name_no_registry_host_and_no_path_of_one_machine() -> None:
    hosts = r"files\.pythonhosted|pypi\.org|[^t]-index-url|/root/|/home/"
    found = subprocess.run(
        ["git", "grep", "-nEI", hosts, "--", ".", ":!tests/pipeline/test_dvc_yaml.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""
