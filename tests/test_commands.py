"""Every command that the Makefile, the docs and our messages name can be run: its program, subcommand, flags, files,
make targets, stages and params are there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides

from music_genre.errors import MusicGenreError
from music_genre.params import load_params
from music_genre.settings import Settings

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE)
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "src/music_genre").rglob("*.py")) + sorted((ROOT / "src/music_genre").rglob("*.j2"))
OPERATORS = set("();<>|&")
KEYWORDS = {"!", "{", "}", "do", "then", "else"}
# What a shell or any machine for this project has; their arguments are not checked.
PLAIN = {
    *("[", "break", "case", "cd", "command", "done", "echo", "esac", "exec", "exit", "export", "fi", "for", "if"),
    *("printf", "source", "test", "trap", "true", "wait"),
    *("cp", "curl", "expand", "find", "git", "grep", "mkdir", "mktemp", "npm", "patch", "rm", "sed", "sha256sum"),
    *("systemctl", "tar", "taskset", "touch"),
}


def shell_words(line: str) -> list[str]:
    """Words and operators of a shell line, without comments; ``$(...)`` counts as commands of its own."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line, each without assignments before it; loops are unrolled."""
    current: list[str] = []
    loops: dict[str, list[str]] = {}
    for word in [*shell_words(line), ";"]:
        if not word or not set(word) <= OPERATORS:
            current.append(word)
            continue
        while current and (current[0] in KEYWORDS or re.match(r"\w+=", current[0])):
            current.pop(0)
        if current[:1] == ["for"]:
            loops[current[1]] = current[3:]
        elif current:
            variable = next((name for name in loops if any(f"${name}" in part for part in current)), None)
            for value in loops[variable] if variable else [""]:
                yield [part.replace(f"${variable}", value) for part in current]
        # The word after `<` or `>` is a file, like `>/dev/null`.
        current = ["test"] if "<" in word or ">" in word else []


def check(command: list[str]) -> str | None:
    """Why a command cannot be run; None where it can."""
    program, *arguments = command
    if program in CHECKS:
        return CHECKS[program](arguments)
    known = program in PLAIN or (Path(sys.executable).parent / program).exists()
    # A program in a variable is one that the line itself looked for.
    return None if known or "$" in program else f"{program} is no program"


def check_make(arguments: list[str]) -> str | None:
    for argument in arguments:
        name = argument.partition("=")[0]
        if "=" in argument and not re.search(rf"^{name} :?=|\$\({name}\)", MAKEFILE, re.MULTILINE):
            return f"the Makefile has no variable {name}"
        if "=" not in argument and name not in TARGETS:
            return f"the Makefile has no target {name}"
    return None


def check_python(arguments: list[str]) -> str | None:
    if arguments[:1] == ["-m"]:
        return None if importlib.util.find_spec(arguments[1]) else f"there is no module {arguments[1]}"
    if arguments[:1] and arguments[0].endswith(".py") and not (ROOT / arguments[0]).is_file():
        return f"there is no {arguments[0]}"
    return None


def check_dvc(arguments: list[str]) -> str | None:
    # A revision or a file of the user stands for itself.
    try:
        parsed = get_main_parser().parse_args(arguments)
    except DvcParserError:
        return "DVC does not understand it"
    except SystemExit:  # --help
        return None
    if parsed.cmd == "repro" or getattr(parsed, "name", None) is not None or "run" in arguments[:2]:
        unknown = [target for target in getattr(parsed, "targets", None) or [] if target not in stage_names()]
        if unknown:
            return f"dvc.yaml has no stage {', '.join(unknown)}"
    overrides = getattr(parsed, "set_param", None) or []
    return check_overrides([value for override in overrides for value in expand_sweep(override)])


def check_pytest(arguments: list[str]) -> str | None:
    missing = [name for name in arguments if name.startswith("tests/") and not (ROOT / name.split("::")[0]).exists()]
    return f"there is no {', '.join(missing)}" if missing else None


def check_click(group: Callable[[], Any]) -> Callable[[list[str]], str | None]:
    """Check the arguments of a program whose command line is made of ``click``."""

    def check_arguments(arguments: list[str]) -> str | None:
        command, context = group(), None
        while hasattr(command, "commands") or hasattr(command, "list_commands"):
            if not arguments or arguments[0].startswith("-"):
                return None
            context = command.context_class(command, info_name=command.name, parent=context)
            name, *arguments = arguments
            command = command.get_command(context, name)
            if command is None:
                return f"there is no command {name}"
        context = command.context_class(command, info_name=command.name, parent=context)
        try:
            values, surplus, _ = command.make_parser(context).parse_args([*arguments])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if surplus:
            return f"takes no {' '.join(surplus)}"
        for parameter in command.params:
            if parameter.required and not values.get(parameter.name):
                return f"lacks {parameter.name}"
        return None

    return check_arguments


def music_genre_group() -> Any:
    from typer.main import get_command

    from music_genre.cli.main import app

    return get_command(app)


def bentoml_group() -> Any:
    from bentoml_cli.cli import cli

    return cli


def mlflow_group() -> Any:
    from mlflow.cli import cli

    return cli


CHECKS: dict[str, Callable[[list[str]], str | None]] = {
    "make": check_make,
    "python": check_python,
    "dvc": check_dvc,
    "pytest": check_pytest,
    "music-genre": check_click(music_genre_group),
    "bentoml": check_click(bentoml_group),
    "mlflow": check_click(mlflow_group),
}


@cache
def stage_names() -> set[str]:
    """What ``dvc repro`` takes as a target."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    models = load_params(ROOT / "params.yaml").models.names
    groups = {name for name, stage in stages.items() if "foreach" in stage}
    return set(stages) | {f"{group}@{model}" for group in groups for model in models}


def expand_sweep(override: str) -> list[str]:
    """``a=1,2`` of a queue as ``a=1`` and ``a=2``."""
    key, _, values = override.partition("=")
    if any(bracket in values for bracket in "[{'\""):
        return [override]
    return [f"{key}={value}" for value in values.split(",")]


def check_overrides(overrides: list[str]) -> str | None:
    """Why params.yaml cannot take ``-S`` these values."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(shutil.copy(ROOT / "params.yaml", folder))
        try:
            apply_overrides(file, overrides)
            load_params(file)
        except InvalidArgumentError as error:
            return str(error.__cause__)
        except MusicGenreError as error:
            return str(error)
    return None


def problems(texts: list[str], n_omitted: int = 0) -> list[str]:
    """What is wrong with some shell lines, where each command may omit so many arguments."""
    wrong: list[str] = []
    for text in texts:
        for command in commands(text):
            tried = [check(command + ["NAME"] * number) for number in range(n_omitted + 1)]
            wrong += [f"{text}: {tried[0]}"] if None not in tried else []
    return wrong


def fenced_lines(text: str) -> list[str]:
    """The command lines of the shell blocks of a page; where a block shows a prompt, what follows one is output."""
    lines: list[str] = []
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL):
        shown = block.replace("\\\n", " ").splitlines()
        prompts = [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]
        lines += prompts or [line for line in shown if line.strip()]
    return lines


def quoted_commands(text: str) -> list[str]:
    """Commands of ours, and of DVC, make and MLflow, in backticks; what ends in ``...`` is not all of one."""
    programs = "|".join(set(CHECKS) - {"python", "pytest"})
    spans = re.findall(rf"(?<!`)(`+)((?:{programs}) [^`]+)\1(?!`)", text)
    return [" ".join(span.split()) for _, span in spans if "..." not in span and "{" not in span]


def overrides_in(text: str) -> list[str]:
    """Keys that a page sets with ``-S``, wherever."""
    return re.findall(r"-S ['\"]?([\w.]+=[^\s'\"`]+)", text)


def make(*arguments: str) -> str:
    """What ``make`` prints, also where ``make test`` runs this."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def introduced_names(text: str) -> list[str]:
    """The models and data sets whose sections a guide adds to params.yaml."""
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return [name for block in blocks for name in re.findall(r"^  (\w+):$", block, re.MULTILINE)]


@pytest.mark.parametrize("target", TARGETS)
def test_make_target_can_be_run(target: str) -> None:
    # The environment is there: these tests run in it.
    shown = make("--dry-run", "--old-file=.venv/.installed", target)
    lines = [line for line in shown.replace("\\\n", " ").splitlines() if not line.startswith("make: ")]
    assert problems(lines) == []


def test_make_help_names_every_target() -> None:
    phony = next(line.split(":")[1].split() for line in MAKEFILE.splitlines() if line.startswith(".PHONY"))
    assert [line.split()[0] for line in make("help").splitlines()] == TARGETS
    assert set(TARGETS) == set(phony)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_documented_command_can_be_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in introduced_names(text):
        text = text.replace(f"models.{name}.", "models.crnn.").replace(f"data.source={name}", "data.source=folder")
    assert problems(fenced_lines(text)) + problems(quoted_commands(text), n_omitted=2) == []
    assert [problem for override in overrides_in(text) if (problem := check_overrides([override]))] == []


def test_command_of_a_message_can_be_run() -> None:
    texts = {path.relative_to(ROOT): quoted_commands(path.read_text(encoding="utf-8")) for path in SOURCES}
    wrong = {str(path): listed for path, lines in texts.items() if (listed := problems(lines, n_omitted=2))}
    assert sum(map(len, texts.values())) > 5
    assert wrong == {}


@pytest.mark.parametrize("page", [*DOCS, ROOT / "Makefile"], ids=lambda page: page.name)
def test_documented_setting_exists(page: Path) -> None:
    named = set(re.findall(r"MUSIC_GENRE_([A-Z_]+[A-Z])", page.read_text(encoding="utf-8")))
    assert named - {name.upper() for name in Settings.model_fields} - {"REAL_DATA"} == set()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("make nothing", "no target nothing"),
        ("make bench PARTS=serving", "no variable PARTS"),
        ("python benchmarks/nothing.py", "no benchmarks/nothing.py"),
        ("python -m music_genre.nothing", "no module"),
        ("dvc repro nothing", "no stage nothing"),
        ("dvc exp run -S models.crnn.nothing=1", "nothing"),
        ("dvc exp run -S models.crnn.recipe=nothing", "nothing"),
        ("dvc nothing", "not understand"),
        ("music-genre nothing", "no command nothing"),
        ("cd x && music-genre predict a.mp3 --nothing", "--nothing"),
        ("music-genre explain", "lacks file"),
        ("music-genre promote 3", "takes no 3"),
        ("for x in one; do make $x; done", "no target one"),
        ("bentoml nothing", "no command nothing"),
        ("pytest tests/nothing.py", "no tests/nothing.py"),
        ("nothing --at all", "no program"),
    ],
)
def test_wrong_command_is_found(line: str, problem: str) -> None:
    (reason,) = problems([line])
    assert problem in reason
