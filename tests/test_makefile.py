"""``make repro``: registers once, fills a lost tracking store, and says at its end where the gate refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = "python -c from music_genre.pipeline import scan; scan.check()"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile and an environment whose programs note that they ran."""
    locks = [f"requirements/{name}.lock" for name in ("bootstrap", "cpu", "encoders")]
    for name in ("Makefile", "pyproject.toml", *locks):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/.installed").touch()
    (tmp_path / "reports").mkdir()
    write_program(tmp_path, "python", "")
    write_program(tmp_path, "dvc", "")
    write_program(tmp_path, "music-genre", "")
    return tmp_path


def write_program(project: Path, name: str, script: str) -> None:
    program = project / ".venv/bin" / name
    program.write_text(f'#!/bin/sh\necho "{name} $*" >>calls.txt\n{script}\n', encoding="utf-8")
    program.chmod(0o755)


def make(project: Path, target: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", target], cwd=project, env=environment, capture_output=True, text=True)


def make_repro(project: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The outcome of ``make repro``, and the commands that it ran."""
    done = make(project, "repro")
    return done, (project / "calls.txt").read_text(encoding="utf-8").splitlines()


def test_environment_behind_a_link_is_not_emptied(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = tmp_path_factory.mktemp("shared") / "environment"
    (project / ".venv").rename(shared)
    (project / ".venv").symlink_to(shared)
    os.utime(shared / ".installed", (0, 0))
    done = make(project, "setup")
    assert "Error" in done.stderr
    assert ".venv is a link" in done.stderr
    assert (shared / "bin/dvc").is_file()


def test_overlapping_source_stops_before_dvc(project: Path) -> None:
    write_program(project, "python", "echo 'scan: /music overlaps' >&2; exit 1")
    done, calls = make_repro(project)
    assert done.returncode != 0
    assert "overlaps" in done.stderr
    assert calls == [CHECK]


def test_what_dvc_has_registered_is_not_registered_again(project: Path) -> None:
    write_program(project, "dvc", """sleep 0.1; echo '{"verdict": "passed"}' >reports/registration.json""")
    done, calls = make_repro(project)
    assert done.returncode == 0, done.stderr
    assert calls == [CHECK, "dvc repro", "music-genre versions"]


def test_register_fills_the_store_where_dvc_has_nothing_to_do(project: Path) -> None:
    (project / "reports/registration.json").write_text('{"verdict": "passed"}', encoding="utf-8")
    done, calls = make_repro(project)
    assert done.returncode == 0, done.stderr
    assert calls == [CHECK, "dvc repro", "music-genre register", "music-genre versions"]


SAID = "The gate refused the model, and the champion stays: reports/gate.json says why."


def test_refusal_by_the_gate_is_said_at_the_end_and_no_error(project: Path) -> None:
    write_program(project, "dvc", """sleep 0.1; echo '{"verdict": "refused"}' >reports/registration.json""")
    done, calls = make_repro(project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == SAID
    assert calls == [CHECK, "dvc repro", "music-genre versions"]


def test_earlier_refusal_is_said_too(project: Path) -> None:
    (project / "reports/registration.json").write_text('{"verdict": "refused"}', encoding="utf-8")
    write_program(project, "music-genre", 'if [ "$1" = register ]; then exit 3; fi')
    done, calls = make_repro(project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == SAID
    assert calls == [CHECK, "dvc repro", "music-genre register", "music-genre versions"]


def test_registration_that_fails_is_an_error(project: Path) -> None:
    write_program(project, "music-genre", "exit 1")
    done, calls = make_repro(project)
    assert "Error 1" in done.stderr
    assert calls == [CHECK, "dvc repro", "music-genre register"]


@pytest.mark.parametrize(("code", "ends_well"), [(0, True), (3, True), (1, False)])
def test_retraining_that_the_gate_refuses_ends_well(project: Path, code: int, ends_well: bool) -> None:
    write_program(project, "music-genre", f"exit {code}")
    assert (make(project, "retrain").returncode == 0) == ends_well


def test_failed_stage_stops_before_the_registry(project: Path) -> None:
    (project / "reports/registration.json").write_text('{"verdict": "refused"}', encoding="utf-8")
    write_program(project, "dvc", "exit 255")
    done, calls = make_repro(project)
    assert "Error 255" in done.stderr
    assert calls == [CHECK, "dvc repro"]
