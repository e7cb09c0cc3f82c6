"""Nothing in the repository rots unseen: benchmarks and examples start, modules stay short, links lead somewhere, and
nothing names a machine of its author.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MAX_LINES = 300
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PARTS = next(line.split()[2:] for line in MAKEFILE.splitlines() if line.startswith("PART := "))
BENCHMARKS = [ROOT / f"benchmarks/{part}.py" for part in PARTS]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def tracked_files() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def start(script: Path, *arguments: str, folder: Path = ROOT) -> str:
    """What a script prints; it must succeed."""
    done = subprocess.run([sys.executable, str(script), *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{script.name}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmark_runs(script: Path, checkout: Path) -> None:
    results = {path: path.read_bytes() for path in (ROOT / "benchmarks/results").iterdir()}
    assert re.search(r"^\| ", start(script, "--quick", folder=checkout), re.MULTILINE), "it prints no table"
    assert {path: path.read_bytes() for path in (ROOT / "benchmarks/results").iterdir()} == results


def test_every_file_of_the_benchmarks_is_used() -> None:
    assert {path.stem for path in (ROOT / "benchmarks/results").glob("*.md")} == set(PARTS)
    texts = [path.read_text(encoding="utf-8") for path in BENCHMARKS]
    others = set((ROOT / "benchmarks").glob("*.py")) - set(BENCHMARKS)
    unused = [path.name for path in others if not any(re.search(rf"\b{path.stem}\b", text) for text in texts)]
    assert unused == []


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_a_benchmark_imports_exists(script: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if str(node.module).startswith("music_genre")]
    exec(compile(ast.Module(body=[*ours], type_ignores=[]), script.name, "exec"), {})


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_starts_and_a_test_runs_it(script: Path) -> None:
    assert script.name in start(script, "--help")
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests/integration").rglob("test_*.py"))
    assert any(f"examples/{script.name}" in text for text in tests)


def test_month_starts() -> None:
    assert "FMA_FOLDER" in start(ROOT / "tools/month.py", "--help")


@pytest.mark.parametrize("suffix", [".py", ".js", ".j2"])
def test_no_module_is_too_long_to_read(suffix: str) -> None:
    modules = [ROOT / name for name in tracked_files() if name.startswith("src/") and name.endswith(suffix)]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules
        if path.is_file() and "vendor" not in path.parts
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # Put together here, so that this file does not match.
    hosts = ["py" + r"pi\.org", "files." + "pythonhosted", "registry." + r"npmjs\.org", "[^t]-index" + "-url"]
    paths = ["/ro" + "ot/", "/ho" + "me/", "/work" + "/"]
    pattern = "|".join([*hosts, *paths])
    matches = subprocess.run(["git", "grep", "-nEI", pattern], cwd=ROOT, capture_output=True, text=True)
    assert (matches.stdout, matches.stderr) == ("", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        headings = re.findall(r"^#+ (.+)$", (page.parent / file if file else page).read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{file}#{anchor}"


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("x" * 72 + "\n", False),
        ("x" * 73 + "\n", True),
        ("Short subject\n\n" + "Long line of the body. " * 10, False),
    ],
)
def test_commit_subject_is_at_most_72_characters(message: str, refused: bool) -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (hook,) = [hook for hook in config["repos"][0]["hooks"] if hook.get("stages") == ["commit-msg"]]
    # As pre-commit's pygrep does it with --multiline.
    assert hook["args"] == ["--multiline"]
    assert bool(re.search(hook["entry"], message, re.MULTILINE | re.DOTALL)) == refused
    assert "commit-msg" in config["default_install_hook_types"]


def test_scheduled_examples_call_commands_that_there_are() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names of units have capitals
    unit.read_string((ROOT / "examples/retrain.service").read_text(encoding="utf-8"))
    assert unit["Service"]["ExecStart"].split()[1:] == ["retrain"]
    assert unit["Service"]["SuccessExitStatus"] == "3"
    workflow = yaml.safe_load((ROOT / "examples/retrain-workflow.yml").read_text(encoding="utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["retrain"]["steps"] if "run" in step]
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    called = set(re.findall(r"\bmusic-genre ([a-z]+) ", "\n".join(scripts)))
    assert called == {"retrain", "compare"}
    assert any("music-genre retrain --output summary.md" in script for script in scripts)
