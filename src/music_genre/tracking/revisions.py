"""What git and DVC keep of a commit, of a DVC experiment and of the checkout as it is, read without a checkout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from music_genre.errors import MusicGenreError
from music_genre.models.registry import ENSEMBLE
from music_genre.tracking.provenance import UNKNOWN, git, locked_data_digest

WORKSPACE = "workspace"  # the checkout as it is, as DVC calls it
EVALUATION, SUMMARIES = "reports/evaluation", "reports/metrics"
SHORT = 7  # digits of a commit that people read


@dataclass(frozen=True)
class Revision:
    """A commit, or the checkout as it is.

    Args:
        root: of the project.
        label: what people know it by.
        commit: its digest; empty for the checkout.
    """

    root: Path
    label: str
    commit: str = ""

    def read(self, path: str) -> str:
        """A file that git keeps, of the project; empty where there is none."""
        if self.commit:
            return git(self.root, "show", f"{self.commit}:./{path}")
        file = self.root / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def cached_file(self, path: str) -> Path | None:
        """A file that DVC keeps: in the checkout, or of a commit in the cache; None where it is not there."""
        if not self.commit:
            return self.root / path if (self.root / path).is_file() else None
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        digest = next(
            (out.get("md5") for stage in self._stages() for out in stage["outs"] if out["path"] == path), None
        )
        if digest is None:
            return None
        try:
            with Repo(str(self.root)) as repo:
                file = Path(repo.cache.local.oid_to_path(digest))
        except DvcException:  # DVC does not manage this folder
            return None
        return file if file.is_file() else None

    def read_kept(self, path: str) -> str:
        """A file that DVC or git keeps; empty where neither has it here."""
        file = self.cached_file(path)
        return file.read_text(encoding="utf-8") if file else self.read(path)

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """The values of ``params.yaml``; today's checks need not accept them."""
        return self._yaml("params.yaml")

    @cached_property
    def lock(self) -> Mapping[str, Any]:
        """The content of ``dvc.lock``."""
        return self._yaml("dvc.lock")

    def _yaml(self, path: str) -> dict[str, Any]:
        try:
            values = YAML(typ="safe").load(self.read(path))
        except YAMLError as error:
            raise MusicGenreError(f"{path} of {self.label} is not YAML: {' '.join(str(error).split())}") from error
        return values if isinstance(values, dict) else {}

    @property
    def data_digest(self) -> str:
        """DVC's digest of the spectrograms; empty where it is unknown."""
        digest = locked_data_digest(self.lock)
        return "" if digest == UNKNOWN else digest

    def choose_model(self, name: str | None) -> str:
        """A model by its name, or the one that the gate selected.

        Raises:
            MusicGenreError: there is none.
        """
        models = self.params.get("models")
        names = [*models, ENSEMBLE] if isinstance(models, dict) else []
        if name is None:
            try:
                name = str(json.loads(self.read("reports/gate.json"))["model"])
            except (ValueError, KeyError, TypeError) as error:
                raise MusicGenreError(
                    f"{self.label} has no reports/gate.json that names a model: name one, as NAME:MODEL;"
                    f" there are {', '.join(names) or 'none'}"
                ) from error
        if name not in names:
            raise MusicGenreError(f"{self.label} has no model {name!r}; there are {', '.join(names) or 'none'}")
        return name

    def is_outdated(self, model: str) -> bool:
        """Whether a model's reports are of another training than its ``models/<name>``, or it of other params."""
        predictions, folder = f"{EVALUATION}/{model}/predictions.csv", f"models/{model}"
        made = {out["path"]: (out.get("md5"), stage) for stage in self._stages() for out in stage["outs"]}
        if predictions not in made or folder not in made:
            return False
        digest, training = made[folder]
        used = {dep["path"]: dep.get("md5") for dep in made[predictions][1].get("deps", [])}
        locked = training.get("params", {}).get("params.yaml", {})
        trained_now = all(value == _lookup(self.params, key) for key, value in locked.items())
        return used.get(folder) != digest or not trained_now

    def _stages(self) -> Iterator[Mapping[str, Any]]:
        for stage in self.lock.get("stages", {}).values():
            yield {**stage, "outs": stage.get("outs", [])}


def _lookup(values: Any, key: str) -> Any:
    """The value under a dotted key; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def find_commit(root: Path, name: str) -> str:
    """The commit that git knows by a name, in 40 digits; empty where there is none."""
    return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()


def experiment_commits(root: Path) -> dict[str, list[str]]:
    """The commits of DVC's experiments by name, which is usually one: those of ``dvc exp show``."""
    commits: dict[str, list[str]] = {}
    for line in git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
        commit, _, ref = line.partition(" ")
        # refs/exps/<2 digits of the commit it began at>/<the other 38>/<name>; DVC keeps its own things there, too.
        parts = ref.split("/")
        if len(parts) == 5 and (len(parts[2]), len(parts[3])) == (2, 38):
            commits.setdefault(parts[4], []).append(commit)
    return commits
