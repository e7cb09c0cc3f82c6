"""Names of trained models, as people give them: versions, commits, DVC experiments, the checkout as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from music_genre.cli._context import connect, open_registry
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths
from music_genre.registry.history import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from music_genre.tracking.comparison import EvaluatedRun
    from music_genre.tracking.revisions import Revision

    Load = Callable[[], EvaluatedRun]

LISTED = 10  # names of a kind that a message lists


def find_run(project: ProjectPaths, name: str) -> Load:
    """How the model with a name is read: a version, a revision or an experiment, with ``:MODEL`` or without.

    Raises:
        MusicGenreError: there is none; the message says what there is.
    """
    found = _find(project, name, None)
    if found is None and ":" in name:
        base, _, model = name.rpartition(":")
        found = _find(project, base, model)
    if found is None:
        raise MusicGenreError(_describe_names(project, name))
    return found


def _find(project: ProjectPaths, name: str, model: str | None) -> Load | None:
    """How what a whole name stands for is read: the checkout, a version, a commit or an experiment, in this order."""
    from music_genre.tracking.revisions import SHORT, WORKSPACE, Revision, experiment_commits, find_commit

    root = project.root
    commit, experiments = find_commit(root, name), experiment_commits(root).get(name, [])
    others = ["an experiment"] if experiments else []
    revision = Revision(root, f"commit {name if commit.startswith(name) else f'{name} ({commit[:SHORT]})'}", commit)
    as_commit = [f"the {revision.label}"] if commit else []
    if name == WORKSPACE:
        return _with_others(_of_revision(Revision(root, WORKSPACE), model), as_commit + others)
    if name.isdecimal() or name in (CHAMPION, CHALLENGER):
        version = _find_version(project, name, model)
        if version is not None:
            return _with_others(version, as_commit + others)
    if commit:
        return _with_others(_of_revision(revision, model), others)
    if len(experiments) > 1:
        raise MusicGenreError(f"several experiments are called {name!r}: name a commit, {_list(experiments)}")
    return _find_experiment(project, name, experiments, model)


def _with_others(load: Load, others: Sequence[str]) -> Load:
    """The same, with a note where the name stands for something else, too."""
    if not others:
        return load

    def load_noted() -> EvaluatedRun:
        run = load()
        return replace(run, notes=[f"taken for {run.label}; the name is also {' and '.join(others)}", *run.notes])

    return load_noted


def _of_revision(revision: Revision, model: str | None) -> Load:
    from music_genre.tracking.evaluated_runs import read_revision

    return partial(read_revision, revision, revision.choose_model(model))


def _find_version(project: ProjectPaths, name: str, model: str | None) -> Load | None:
    """How a registered version is read; None where there is no such version.

    Raises:
        MusicGenreError: it is of another model, or the store has lost its run.
    """
    from mlflow.exceptions import MlflowException

    from music_genre.registry.versions import resolve
    from music_genre.tracking.evaluated_runs import read_run

    client, registered = connect(project)
    try:
        version = resolve(client, registered, name)
    except MusicGenreError:
        return None
    label = f"version {version.version}" + ("" if name.isdecimal() else f" ({name})")
    try:
        run = client.get_run(version.run_id or "")
    except MlflowException as error:
        raise MusicGenreError(
            f"{label} has lost its MLflow run: `music-genre register` makes that of models/"
        ) from error
    if model is not None and model != run.data.tags.get("model"):
        raise MusicGenreError(f"{label} is of model {run.data.tags.get('model')}, not {model}")
    return partial(read_run, client, project.root, run, label)


def _find_experiment(project: ProjectPaths, name: str, commits: Sequence[str], model: str | None) -> Load | None:
    """How an experiment is read: from its commit, or where it was only trained from its MLflow run.

    Args:
        project: the checkout.
        name: of the experiment.
        commits: its commit, if DVC still has it.
        model: its model; None: the only one that it trained, else the one that the gate selected.
    """
    from music_genre.tracking.evaluated_runs import read_run
    from music_genre.tracking.provenance import EXPERIMENT_TAG
    from music_genre.tracking.revisions import Revision
    from music_genre.tracking.runs import experiment_runs

    client, _ = connect(project)
    runs = [run for run in experiment_runs(client) if run.data.tags.get(EXPERIMENT_TAG) == name]
    trained = {run.data.tags.get("model", ""): run for run in sorted(runs, key=lambda run: run.info.start_time)}
    if not commits and not trained:
        return None
    label = f"experiment {name}"
    if model is None and len(trained) == 1:
        model = next(iter(trained))
    if commits:
        revision = Revision(project.root, label, commits[0])
        model = revision.choose_model(model)
        if model not in trained or not revision.is_outdated(model):
            return _of_revision(revision, model)
    if model not in trained:
        raise MusicGenreError(f"{label} trained {', '.join(sorted(trained))}: name one, as {name}:{min(trained)}")
    return partial(read_run, client, project.root, trained[model], label)


def _describe_names(project: ProjectPaths, name: str) -> str:
    """That there is nothing of a name, and what there is."""
    from music_genre.tracking.revisions import experiment_commits
    from music_genre.tracking.runs import list_experiments

    client, _ = connect(project)
    registry = open_registry(project)
    numbers = [version.version for version in registry.versions]
    aliases = sorted(registry.aliases)
    experiments = sorted({*experiment_commits(project.root), *list_experiments(client)["experiment"]})
    return (
        f"nothing is called {name!r}; there are the versions: {_list([*aliases, *numbers])}; the experiments:"
        f" {_list(experiments)}; workspace, and the commits, tags and branches of git"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join([*names[:LISTED], *(["..."] if len(names) > LISTED else [])]) or "none"
