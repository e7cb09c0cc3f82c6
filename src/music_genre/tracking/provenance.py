"""Where a run comes from: the commit, the uncommitted changes, the params and the data."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from music_genre.files import sha256
from music_genre.tracking import DATA_SOURCE_TAG

TRACKED_PATHS = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements")  # a model follows from these
UNKNOWN = "unknown"
PATCH_FILE = "changes.patch"  # artifact of a run: the uncommitted changes
GIT_COMMIT_TAG = "mlflow.source.git.commit"  # MLflow's own, which its pages show
GIT_DIRTY_TAG = "git_dirty"
EXPERIMENT_TAG = "dvc_experiment"
DATA_DIGEST_TAG = "data_digest"


@dataclass(frozen=True)
class RunProvenance:
    """Where a run comes from.

    Args:
        source: ``data.source`` of ``params.yaml``.
        data_digest: DVC's digest of the spectrograms; ``unknown`` outside ``dvc repro``.
        commit: of the project; empty outside a git repository.
        dirty: whether ``TRACKED_PATHS`` have uncommitted changes.
        patch: these changes, without files that git does not track.
        experiment: DVC's name of the experiment; empty outside one.
    """

    source: str
    data_digest: str
    commit: str = ""
    dirty: bool = False
    patch: str = ""
    experiment: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run; what is unknown has none. The commit has MLflow's own tag, which would otherwise name the
        commit of the installed package.
        """
        tags = {DATA_SOURCE_TAG: self.source, DATA_DIGEST_TAG: self.data_digest}
        if self.commit:
            tags |= {GIT_COMMIT_TAG: self.commit, GIT_DIRTY_TAG: str(self.dirty).lower()}
        if self.experiment:
            tags[EXPERIMENT_TAG] = self.experiment
        return tags


def collect_provenance(root: Path, source: str, lock: Path) -> RunProvenance:
    """The provenance of a run that starts now.

    Args:
        root: of the project.
        source: ``data.source`` of ``params.yaml``.
        lock: ``dvc.lock``.
    """
    return RunProvenance(
        source,
        data_digest(lock),
        commit=git(root, "rev-parse", "HEAD").strip(),
        dirty=bool(git(root, "status", "--porcelain", "--", *TRACKED_PATHS)),
        patch=git(root, "diff", "--binary", "HEAD", "--", *TRACKED_PATHS),
        experiment=os.environ.get("DVC_EXP_NAME", ""),
    )


def data_digest(lock: Path) -> str:
    """DVC's digest of ``data/spectrograms`` in ``dvc.lock``; ``unknown`` where it has none."""
    return locked_data_digest(yaml.safe_load(lock.read_text(encoding="utf-8")) if lock.is_file() else {})


def locked_data_digest(lock: Mapping[str, Any]) -> str:
    """The same of the content of ``dvc.lock``."""
    outs = {out["path"]: out["md5"] for out in lock.get("stages", {}).get("spectrograms", {}).get("outs", [])}
    return str(outs.get("data/spectrograms", UNKNOWN))


def params_digest(params: dict[str, Any]) -> str:
    """Twelve hexadecimal digits; equal for equal values."""
    return sha256(json.dumps(params, sort_keys=True, default=str))[:12]


def git(root: Path, *arguments: str) -> str:
    """The output of a git command; empty outside a repository or without git."""
    try:
        completed = subprocess.run(  # noqa: S603  # git, and no shell
            ["git", *arguments],  # noqa: S607  # the one on PATH, as DVC does
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError:
        return ""
    return completed.stdout if completed.returncode == 0 else ""
