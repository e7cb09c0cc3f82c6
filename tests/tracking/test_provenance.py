"""Where a run comes from: commit, uncommitted changes, params and data."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from music_genre.tracking.provenance import (
    GIT_COMMIT_TAG,
    GIT_DIRTY_TAG,
    RunProvenance,
    collect_provenance,
    data_digest,
    params_digest,
)


def git(folder: Path, *arguments: str, stdin: str | None = None) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    completed = subprocess.run(["git", *identity, *arguments], cwd=folder, input=stdin, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/model.py").write_text("layers = 3\n")
    (tmp_path / "params.yaml").write_text("seed: 7\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def collect(folder: Path) -> RunProvenance:
    return collect_provenance(folder, "sample", folder / "dvc.lock")


def test_clean_checkout_has_its_commit_in_mlflows_tag(repository: Path) -> None:
    provenance = collect(repository)
    assert provenance == RunProvenance("sample", "unknown", git(repository, "rev-parse", "HEAD"))
    assert provenance.tags == {
        "data_source": "sample",
        "data_digest": "unknown",
        "mlflow.source.git.commit": provenance.commit,
        "git_dirty": "false",
    }


def test_outputs_of_stages_do_not_make_a_checkout_dirty(repository: Path) -> None:
    (repository / "dvc.lock").write_text("schema: '2.0'\n")
    (repository / "models").mkdir()
    (repository / "models/history.csv").touch()
    assert not collect(repository).dirty


def test_patch_restores_the_changes(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 8\n")
    (repository / "src/model.py").write_text("layers = 4  # größer\n")
    provenance = collect(repository)
    assert provenance.tags[GIT_DIRTY_TAG] == "true"
    git(repository, "checkout", "-q", "--", ".")
    git(repository, "apply", "-", stdin=provenance.patch)
    assert (repository / "params.yaml").read_text() == "seed: 8\n"
    assert (repository / "src/model.py").read_text() == "layers = 4  # größer\n"


def test_untracked_source_file_makes_a_checkout_dirty(repository: Path) -> None:
    (repository / "src/new.py").touch()
    assert collect(repository).tags[GIT_DIRTY_TAG] == "true"


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect(tmp_path).tags == {"data_source": "sample", "data_digest": "unknown"}


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert GIT_COMMIT_TAG not in collect(repository).tags


def test_dvc_experiment_is_a_tag(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "faster")
    assert collect(repository).tags["dvc_experiment"] == "faster"


def test_data_digest_is_read_from_dvc_lock(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert data_digest(lock) == "unknown"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"fetch": {"cmd": "x"}}}))
    assert data_digest(lock) == "unknown"
    outs = [{"path": "data/spectrograms", "md5": "0123.dir"}]
    lock.write_text(yaml.safe_dump({"stages": {"spectrograms": {"outs": outs}}}))
    assert data_digest(lock) == "0123.dir"


def test_same_params_have_the_same_digest_in_any_order() -> None:
    assert params_digest({"a": 1, "b": (2, 3)}) == params_digest({"b": (2, 3), "a": 1})
    assert params_digest({"a": 1}) != params_digest({"a": 2})
