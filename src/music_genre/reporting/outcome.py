"""Sections on what went in and how good it became: verdict, data, checks, results, learning, genres, card."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from music_genre.models.registry import ENSEMBLE
from music_genre.reporting.findings import Findings
from music_genre.reporting.markup import of_each, picture, table
from music_genre.reporting.model_card import rendered

PUBLISHED = {"crnn": (0.514, 0.441), "parallel": (0.529, 0.444)}
"""Accuracy on FMA-small's official split that the study's notebooks print: best epoch on validation, test."""


def verdict(findings: Findings) -> str:
    judged = findings.judged
    rows = [[c.name, _plain(c.value), _plain(c.threshold), "passed" if c.passed else "failed"] for c in judged.criteria]
    test = findings.row(judged.candidate.name, "test")
    sample = ""
    if findings.source == "sample":
        synthetic = "The sounds of this run were synthesised to try everything out. Its accuracy means nothing."
        sample = f'<p class="note">{synthetic}</p>'
    kind = "good" if judged.verdict == "passed" else "bad"
    notes = "".join(f"<p>{escape(note)}</p>" for note in judged.notes)
    return (
        f"{sample}<p>Put forward: <strong>{judged.candidate.name}</strong>, {_interval(test, 'accuracy')} accuracy on"
        f' test. The gate\'s verdict by files alone: <strong class="{kind}">{judged.verdict}</strong>.</p>'
        f"{table('What the gate asks', ['criterion', 'found', 'asked', ''], rows)}{notes}"
        "<p>Registering adds what needs the model at work: features, latency, the champion.</p>"
    )


def data(findings: Findings) -> str:
    splits = findings.splits
    total = splits[[column for column in splits if column.endswith("_tracks")]].to_numpy().sum()
    told = "No fault was found in the collection."
    if len(findings.faults):
        counted = findings.faults.groupby(["severity", "reason"]).size()
        told = "Faults: " + ", ".join(f"{count} {reason} ({severity})" for (severity, reason), count in counted.items())
    return (
        f"<p>Source <code>{escape(findings.source)}</code>: {total:,} tracks of {len(splits)} genres."
        f" {escape(told)}{'' if told.endswith('.') else '.'}</p>"
        + table("Tracks and artists by split", [c.replace("_", " ") for c in splits], splits.to_numpy().tolist())
        + picture(
            "genres",
            "A mel spectrogram of one clip of each genre, side by side",
            "One clip of each genre: the training clip whose mean spectrum is nearest to its genre's.",
        )
    )


def checks(findings: Findings) -> str:
    failed = [
        [suite, outcome["column"], outcome["severity"], outcome["unexpected_count"]]
        for suite, result in findings.checks["suites"].items()
        for outcome in result["expectations"]
        if not outcome["success"]
    ]
    said = "Every critical check holds." if findings.checks["success"] else "Critical checks fail."
    held = [
        [suite, sum(outcome["success"] for outcome in result["expectations"]), len(result["expectations"])]
        for suite, result in findings.checks["suites"].items()
    ]
    listed = table("Expectations that do not hold", ["suite", "column", "severity", "rows"], failed) if failed else ""
    return (
        f'<p>{said} <a href="data_quality/site/index.html">All checks, with what they found</a>.</p>'
        f"{table('Expectations by suite', ['suite', 'hold', 'of'], held)}{listed}"
    )


def results(findings: Findings) -> str:
    rows = [
        [
            row.model,
            row.split,
            _interval(row._asdict(), "accuracy"),
            _interval(row._asdict(), "macro_f1"),
            f"{row.log_loss:.3f}",
            f"{row.ece:.3f}",
            f"{row.parameters:,}",
        ]
        for row in findings.comparison.itertuples(index=False)
    ]
    heading = ["model", "split", "accuracy (95 % interval)", "macro-F1 (95 % interval)", "log loss", "ECE", "weights"]
    pairs = findings.paired[findings.paired["split"] == "test"]
    compared = [
        [
            f"{row.first} against {row.second}",
            f"{100 * row.difference:+.1f}",
            row.first_only,
            row.second_only,
            f"{row.p_value:.3f}",
        ]
        for row in pairs.itertuples(index=False)
    ]
    return (
        table("Every model", heading, rows)
        + _published(findings)
        + table("The same test clips", ["models", "points", "first alone", "second alone", "McNemar p"], compared)
        + '<div class="pair">'
        + picture(
            "evaluation/coverage",
            "Share of wrong answers against share of clips answered, by model",
            "What it is worth to answer only where a model is sure.",
        )
        + picture(
            "evaluation/ensemble/plots/calibration",
            "Accuracy against confidence before and after calibration",
            "The ensemble's confidence before and after its temperatures.",
        )
        + "</div>"
    )


def _published(findings: Findings) -> str:
    rows = [
        [
            name,
            findings.recipes[name],
            f"{100 * validation:.1f}",
            _interval(findings.row(name, "validation"), "accuracy"),
            f"{100 * test:.1f}",
            _interval(findings.row(name, "test"), "accuracy"),
        ]
        for name, (validation, test) in PUBLISHED.items()
    ]
    heading = ["network", "recipe here", "published validation", "here", "published test", "here"]
    return (
        table("Against the published figures, accuracy in %", heading, rows)
        + "<p>The published figures are the study's on FMA-small's official split: the best epoch by validation, then"
        " test. They compare with a run on the same clips; of another collection they say nothing.</p>"
    )


def learning(findings: Findings) -> str:
    return of_each(
        tuple(findings.recipes),
        "evaluation/{}/plots/learning",
        "Loss and accuracy by epoch of {}",
        "{}: each epoch on training and validation clips.",
    )


def genres(findings: Findings) -> str:
    classes = findings.per_class[ENSEMBLE]
    rows = [
        [row.genre, f"{row.precision:.2f}", f"{row.recall:.2f}", f"{row.f1:.2f}", row.support]
        for row in classes[classes["split"] == "test"].itertuples(index=False)
    ]
    matrices = of_each(
        tuple(findings.per_class),
        "evaluation/{}/plots/confusion_matrix",
        "Confusion matrix of {} on test",
        "{}, test: rows are actual genres.",
    )
    heading = ["genre", "precision", "recall", "F1", "clips"]
    return table("The ensemble by genre, test", heading, rows) + f'<div class="pair">{matrices}</div>'


def card(findings: Findings) -> str:
    return (
        "<p>Once it is registered, the card also says how to make it again: <code>model_card.html</code> in its run."
        "</p>"
        f'<div class="card">{rendered(findings.card, below=2)}</div>'
    )


def _interval(figures: Mapping[str, Any], name: str) -> str:
    return f"{100 * figures[name]:.1f} % ({100 * figures[f'{name}_low']:.1f} to {100 * figures[f'{name}_high']:.1f})"


def _plain(value: float | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.3f}"
