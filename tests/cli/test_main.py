"""What all commands have in common: help, wrong usage, exit codes, and how they end when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Command = Callable[..., Any]

COMMANDS = (
    "predict",
    "explain",
    "visualize-filters",
    "versions",
    "register",
    "promote",
    "rollback",
    "retrain",
    "experiments",
    "compare",
    "drift",
    "artist-effect",
    "learn-curve",
    "review",
    "forget",
)
HEAVY_LIBRARIES = ("tensorflow", "keras", "mlflow", "librosa", "pandas", "numpy", "sklearn", "matplotlib")


def loaded_by(folder: Path, *commands: tuple[str, ...]) -> list[str]:
    """The heavy libraries that a process has loaded after running some commands."""
    script = (
        "import sys\nfrom music_genre.cli.main import app\n"
        f"for arguments in {commands!r}:\n"
        "    try: app(arguments)\n    except SystemExit: pass\n"
        f"print('LOADED', *(name for name in {HEAVY_LIBRARIES!r} if name in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("LOADED")]
    return line.split()[1:]


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    assert loaded_by(tmp_path, ("--help",), *((name, "--help") for name in COMMANDS)) == []


def test_wrong_arguments_are_refused_before_heavy_libraries_load(in_clone: Path) -> None:
    refused = (
        ("predict", "nothere.mp3"),
        ("predict", "nothere.mp3", "nor-this.mp3", "--output", "out.csv"),
        ("predict", "params.yaml", "--output", "nowhere/out.csv"),
        ("predict", "--input-arrays", "nothere.npz", "--output", "out.csv"),
        ("explain", "nothere.mp3"),
        ("visualize-filters", "crnn", "conv1", "--output", "nowhere/a.png"),
    )
    assert loaded_by(in_clone, *refused) == []


def test_help_lists_every_command(command: Command) -> None:
    shown = command("--help")
    assert (shown.code, shown.err) == (0, "")
    listed = shown.out.partition("Commands:")[2].splitlines()
    assert tuple(line.split()[0] for line in listed if line.strip()) == COMMANDS
    assert "..." not in "".join(listed)


def test_without_a_command_help_is_shown_as_an_error(command: Command) -> None:
    refused = command()
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == command("--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(command: Command, name: str) -> None:
    shown = command(name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("Usage: ")


def test_console_script_runs_the_command(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "music-genre"
    run = subprocess.run([script, "versions"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("music-genre: no dvc.yaml and params.yaml in ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("explain",),
        ("explain", "a.wav", "b.wav"),
        ("explain", "a.wav", "--output", "a.pdf"),
        ("visualize-filters", "crnn"),
        ("visualize-filters", "crnn", "conv1", "--output", "a.pdf"),
        ("visualize-filters", "crnn", "conv1", "--count", "0"),
        ("sing",),
        ("runs",),
        ("predict", "a.wav", "--loud"),
        ("predict", "a.wav", "--input-arrays", "a.npz", "--output", "a.csv"),
        ("predict", "--input-arrays", "a.npz"),
        ("predict", "--input-arrays", "a.npz", "--output", "b.csv", "--json"),
        ("predict", "--input-arrays", "a.npz", "--output", "b.csv", "--timeline"),
        ("predict", "--output", "a.csv"),
        ("predict", "a.wav", "--output", "a.csv", "--timeline"),
        ("promote", "--force"),
        ("promote", "--reason", "because"),
        ("promote", "--version"),
        ("rollback", "3"),
        ("versions", "3"),
        ("compare", "1"),
        ("artist-effect", "--seeds", "1"),
        ("learn-curve", "--sizes", "0"),
        ("review", "--port", "65536"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(command: Command, in_clone: Path, arguments: tuple[str, ...]) -> None:
    refused = command(*arguments)
    assert refused.code == 2
    assert refused.out == ""
    assert "\nError: " in f"\n{refused.err}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "a.wav"),
        ("explain", "a.wav"),
        ("visualize-filters", "crnn", "conv1"),
        ("versions",),
        ("register",),
        ("promote",),
        ("rollback",),
        ("experiments",),
        ("compare", "1", "2"),
        ("drift",),
        ("artist-effect",),
        ("learn-curve",),
        ("review",),
    ],
    ids=" ".join,
)
def test_outside_a_project_the_reason_names_the_missing_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no dvc.yaml and params.yaml in {tmp_path}" in command(*arguments).reason


def test_invalid_params_are_one_line_of_reason(command: Command, writable_checkout: Path) -> None:
    params = yaml.safe_load((writable_checkout / "params.yaml").read_text())
    params["registry"]["gate"]["min_macro_f1"] = 3
    (writable_checkout / "params.yaml").write_text(yaml.safe_dump(params))
    assert "registry.gate.min_macro_f1: found 3" in command("versions").reason


def test_commands_work_in_any_folder_of_the_project(
    command: Command, in_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(in_checkout / "models/crnn")
    (version,) = yaml.safe_load(command("versions", "--json").out)
    assert version["version"] == "1"
    assert not (in_checkout / "models/crnn/mlflow.db").exists()


def test_interrupted_command_exits_with_130(in_clone: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "requests-0.jsonl"
    os.mkfifo(pipe)
    arguments = [sys.executable, "-m", "music_genre.cli", "drift", "--log", str(tmp_path)]
    process = subprocess.Popen(
        arguments,
        cwd=in_clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts into the background, such as these tests, with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    writer = open_when_read(pipe, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def open_when_read(pipe: Path, process: subprocess.Popen[str]) -> int:
    """The writing end of a named pipe, once the process waits at the other end."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the process did not open the pipe within a minute")


@pytest.mark.slow
def test_closed_pipe_ends_the_command_without_a_traceback(in_clone: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "music_genre.cli", "versions", "--json"]
    run = subprocess.run(arguments, cwd=in_clone, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, "")
