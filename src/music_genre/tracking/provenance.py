"""Where a model comes from: the commit, the changes to it, the params and the data that make it again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MADE_OF = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements")
"""What a model follows from, beside its data; what stages write is no change."""

UNKNOWN = "unknown"
CHANGES = "changes.patch"
"""What the changes to the commit are kept as, beside a run."""


@dataclass(frozen=True)
class Origin:
    """A run's beginnings.

    Args:
        source: ``data.source``.
        data: DVC's digest of the spectrograms; ``unknown`` outside ``dvc repro``.
        commit: git's; empty outside a repository.
        dirty: whether code or params differ from the commit.
        changes: that difference as a patch, without files that git does not know.
        experiment: DVC's name of the experiment; empty outside one.
    """

    source: str
    data: str
    commit: str = ""
    dirty: bool = False
    changes: str = ""
    experiment: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """To sort and filter runs by; what is not known has no tag."""
        tags = {"data_source": self.source, "data_digest": self.data}
        if self.commit:
            tags |= {"git_commit": self.commit, "git_dirty": str(self.dirty).lower()}
        if self.experiment:
            tags["dvc_experiment"] = self.experiment
        return tags


def origin(root: Path, source: str, lock: Path) -> Origin:
    """What a run that starts now in the checkout at ``root`` comes from.

    Args:
        root: of the checkout.
        source: ``data.source``.
        lock: ``dvc.lock``.
    """
    return Origin(
        source,
        data_digest(lock),
        commit=_git(root, "rev-parse", "HEAD").strip(),
        dirty=bool(_git(root, "status", "--porcelain", "--", *MADE_OF)),
        changes=_git(root, "diff", "--binary", "HEAD", "--", *MADE_OF),
        experiment=os.environ.get("DVC_EXP_NAME", ""),
    )


def data_digest(lock: Path) -> str:
    """DVC's digest of the spectrograms a model was trained on, as ``dvc.lock`` has it."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8")).get("stages", {}) if lock.is_file() else {}
    outs = {out["path"]: out["md5"] for out in stages.get("spectrograms", {}).get("outs", [])}
    return str(outs.get("data/spectrograms", UNKNOWN))


def params_digest(params: dict[str, Any]) -> str:
    """Twelve digits that are the same for the same values."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _git(root: Path, *arguments: str) -> str:
    """What git says, or nothing outside a repository."""
    try:
        done = subprocess.run(  # noqa: S603  # git, with arguments of our own
            ["git", *arguments],  # noqa: S607  # the one on PATH, as DVC does
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
