"""``music-genre compare``: two trained models side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music_genre.cli._context import connect
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from music_genre.tracking.comparison import (
        Comparison,
        EvaluatedRun,
        GenreDifference,
        Metric,
        MetricDifference,
        PairedTest,
        Recall,
    )

    Load = Callable[[], EvaluatedRun]

WIDTH = 80  # characters a line
KEY_WIDTH = 20  # characters of a param's key before it goes on in the next line
LISTED = 10  # names of a kind that a message lists
METRIC_NAMES = {"macro_f1": "macro-F1", "log_loss": "log loss", "ece": "ECE"}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Compare two trained models.

    Shows the params that differ, metrics with 95 % intervals, a paired test, and the genres whose recall moved.

    A and B are each a registered version's number, champion or challenger; a commit, tag or branch of git; workspace,
    the checkout as it is; or a DVC experiment. NAME:MODEL names a model; else it is the one that the gate selected.
    """
    project = ProjectPaths.find()
    loads = [find_run(project, name) for name in (a, b)]
    from music_genre.tracking.comparison import compare_runs

    first, second = (load() for load in loads)
    comparison = compare_runs(first, second)
    if as_json:
        sides = {side: {"name": run.label, "model": run.model} for side, run in (("a", first), ("b", second))}
        typer.echo(json.dumps(sides | asdict(comparison), indent=2))
        return
    print_comparison(first, second, comparison)


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
    from music_genre.tracking.revisions import WORKSPACE, Revision, experiment_commits, find_commit

    root = project.root
    commit, experiments = find_commit(root, name), experiment_commits(root).get(name, [])
    of_git = [f"the commit {commit[:7]}"] * bool(commit) + ["an experiment"] * bool(experiments)
    if name == WORKSPACE:
        return _with_others(_of_revision(Revision(root, WORKSPACE), model), "the checkout as it is", of_git)
    if name.isdecimal() or name in ("champion", "challenger"):
        version = _find_version(project, name, model)
        if version is not None:
            return _with_others(version, "a registered version", of_git)
    if commit:
        label = name if commit.startswith(name) else f"{name} ({commit[:7]})"
        return _with_others(_of_revision(Revision(root, f"commit {label}", commit), model), "a commit", of_git[1:])
    if len(experiments) > 1:
        raise MusicGenreError(
            f"{len(experiments)} experiments are called {name!r}: take a commit, {_list(experiments)}"
        )
    return _find_experiment(project, name, experiments, model)


def _with_others(load: Load, what: str, others: Sequence[str]) -> Load:
    """The same, with a note where the name stands for something else, too."""
    if not others:
        return load
    note = f"the name is taken for {what}; it is also {' and '.join(others)}"

    def load_noted() -> EvaluatedRun:
        run = load()
        return replace(run, notes=[note, *run.notes])

    return load_noted


def _of_revision(revision: Any, model: str | None) -> Load:
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
    from music_genre.registry.listing import list_versions
    from music_genre.tracking.revisions import experiment_commits
    from music_genre.tracking.runs import list_experiments

    client, registered = connect(project)
    versions = list_versions(client, registered)
    numbers = [version.version for version in versions]
    aliases = sorted(alias for version in versions for alias in version.aliases)
    experiments = sorted({*experiment_commits(project.root), *list_experiments(client)["experiment"]})
    return (
        f"nothing is called {name!r}; there are the versions: {_list([*aliases, *numbers])}; the experiments:"
        f" {_list(experiments)}; workspace, and the commits, tags and branches of git"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join([*names[:LISTED], *(["..."] if len(names) > LISTED else [])]) or "none"


def print_comparison(a: EvaluatedRun, b: EvaluatedRun, comparison: Comparison) -> None:
    """Print what was found, what choices are made on first, and test set apart below."""
    from music_genre.cli._tables import print_table, print_text

    for side, run in (("A", a), ("B", b)):
        print_text(f"{side}  {run.label}, model {run.model}", WIDTH)
    typer.echo("")
    columns = ("", "A", "B", "B - A")
    print_table(columns, list(_rows(comparison)), WIDTH)
    if comparison.paired:
        print_text(f"\n{describe_test(comparison.paired)}", WIDTH)
    if comparison.notes:
        print_text("\n" + "\n".join(comparison.notes), WIDTH)
    if comparison.metrics["test"]:
        print_text("\nTest, for information only: choices are made on validation.", WIDTH)
        print_table(columns, [_metric_row(row) for row in comparison.metrics["test"]], WIDTH)


def _rows(comparison: Comparison) -> Iterator[Sequence[str]]:
    yield _heading("params" if comparison.params else "params: all equal")
    for param in comparison.params:
        yield _fold_key(param.key), _format_param(param.a), _format_param(param.b), ""
    yield _heading("")
    yield _heading("validation")
    yield from map(_metric_row, comparison.metrics["validation"])
    if comparison.paired:
        test = comparison.paired
        yield _heading("")
        yield _heading(f"the same {test.n_clips} clips")
        yield "right alone", str(test.a_only), str(test.b_only), f"p {test.p_value:.3f}"
        yield "macro-F1, 95 %", "", "", f"{test.macro_f1_low:+.3f} to {test.macro_f1_high:+.3f}"
    if comparison.genres is not None:
        yield _heading("")
        yield _heading("recall" if comparison.genres else "recall: all equal")
        yield from map(_genre_row, comparison.genres)


def _heading(text: str) -> Sequence[str]:
    return text, "", "", ""


def _metric_row(row: MetricDifference) -> Sequence[str]:
    name = METRIC_NAMES.get(row.name, row.name)
    return name, _format_metric(row.a), _format_metric(row.b), _format_difference(row.difference)


def _genre_row(row: GenreDifference) -> Sequence[str]:
    return row.genre, _format_recall(row.a), _format_recall(row.b), _format_difference(row.difference)


def _format_metric(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    interval = "" if metric.low is None or metric.high is None else f" ({metric.low:.3f}-{metric.high:.3f})"
    return f"{metric.value:.3f}{interval}"


def _format_recall(recall: Recall | None) -> str:
    return "-" if recall is None else f"{recall.value:.3f} ({recall.correct} of {recall.clips})"


def _format_difference(difference: float | None) -> str:
    return "-" if difference is None else f"{round(difference, 3) + 0.0:+.3f}"


def _format_param(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _fold_key(key: str) -> str:
    """A dotted key on lines of up to ``KEY_WIDTH`` characters, where its parts allow it."""
    lines = [""]
    for part in key.replace(".", ".\0").split("\0"):
        if lines[-1] and len(lines[-1] + part) > KEY_WIDTH:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def describe_test(test: PairedTest) -> str:
    """What the paired test says, in words."""
    if test.macro_f1_low > 0 or test.macro_f1_high < 0:
        verdict = f"macro-F1 of B is {'higher' if test.macro_f1_low > 0 else 'lower'}, beyond chance"
    else:
        verdict = "macro-F1 does not differ beyond chance"
    return (
        f"On validation {verdict}. The test is paired, on clips that both predicted: p is of McNemar's exact test,"
        " macro-F1 has the 95 % bootstrap interval of B - A."
    )
