"""Where a model comes from: what a run says about its commit, changes, params and data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from music_genre.tracking.provenance import Origin, data_digest, origin, params_digest


def git(folder: Path, *arguments: str, given: str | None = None) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/model.py").write_text("layers = 3\n")
    (tmp_path / "params.yaml").write_text("seed: 7\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def seen(folder: Path) -> Origin:
    return origin(folder, "sample", folder / "dvc.lock")


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    found = seen(repository)
    assert found == Origin("sample", "unknown", git(repository, "rev-parse", "HEAD"))
    assert found.tags == {
        "data_source": "sample",
        "data_digest": "unknown",
        "git_commit": found.commit,
        "git_dirty": "false",
    }


def test_what_stages_write_makes_no_checkout_dirty(repository: Path) -> None:
    (repository / "dvc.lock").write_text("schema: '2.0'\n")
    (repository / "models").mkdir()
    (repository / "models/history.csv").touch()
    assert not seen(repository).dirty


def test_changes_are_a_patch_that_makes_them_again(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 8\n")
    (repository / "src/model.py").write_text("layers = 4  # größer\n")
    found = seen(repository)
    assert found.tags["git_dirty"] == "true"
    git(repository, "checkout", "-q", "--", ".")
    git(repository, "apply", "-", given=found.changes)
    assert (repository / "params.yaml").read_text() == "seed: 8\n"
    assert (repository / "src/model.py").read_text() == "layers = 4  # größer\n"


def test_a_file_that_git_does_not_know_makes_a_checkout_dirty(repository: Path) -> None:
    (repository / "src/new.py").touch()
    assert seen(repository).tags["git_dirty"] == "true"


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert seen(tmp_path).tags == {"data_source": "sample", "data_digest": "unknown"}


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "git_commit" not in seen(repository).tags


def test_an_experiment_is_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "faster")
    assert seen(repository).tags["dvc_experiment"] == "faster"


def test_the_data_digest_is_dvcs(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert data_digest(lock) == "unknown"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"fetch": {"cmd": "x"}}}))
    assert data_digest(lock) == "unknown"
    outs = [{"path": "data/spectrograms", "md5": "0123.dir"}]
    lock.write_text(yaml.safe_dump({"stages": {"spectrograms": {"outs": outs}}}))
    assert data_digest(lock) == "0123.dir"


def test_the_same_params_have_the_same_digest_in_any_order() -> None:
    assert params_digest({"a": 1, "b": (2, 3)}) == params_digest({"b": (2, 3), "a": 1})
    assert params_digest({"a": 1}) != params_digest({"a": 2})
