"""``music-genre compare``: two trained models side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music_genre.cli._run_names import find_run
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

WIDTH = 80  # characters a line
KEY_WIDTH = 20  # characters of a param's key before it goes on in the next line
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
