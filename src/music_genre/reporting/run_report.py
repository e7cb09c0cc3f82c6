"""The report of a run: one page with the data, the results of every model, and what its networks respond to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from music_genre.models.registry import ENSEMBLE
from music_genre.registry.criteria import CRITERION_DESCRIPTIONS, Criterion, CriterionName
from music_genre.registry.gate import GateResult
from music_genre.reporting.model_card import SYNTHETIC, tags_in_words, to_html
from music_genre.reporting.published import PUBLISHED_ACCURACY, PUBLISHED_CLUSTERS
from music_genre.reporting.rendering import render_html, rows

MAX_CLIPS = 8  # of a table of clips
MAX_CORRECTIONS, MAX_LABEL_ISSUES = 50, 10  # rows shown
MAX_CONFUSIONS = 10


@dataclass(frozen=True)
class Interpretation:
    """The results of stage ``interpret`` for a model.

    Args:
        filters: ``filters.csv``; empty where it is no network.
        faithfulness: ``faithfulness.csv``; likewise.
        clusters: ``clusters.json``.
        tags: ``tags.csv`` of an encoder that tags; None of other models.
    """

    filters: pd.DataFrame
    faithfulness: pd.DataFrame
    clusters: Mapping[str, float | None]
    tags: pd.DataFrame | None = None


@dataclass(frozen=True)
class RunReportContext:
    """All that the report shows; the same context gives the same page.

    Args:
        name: of the registered model.
        source: ``data.source``.
        recipes: by network, ``models.<name>.recipe``.
        members: the models that the ensemble averages.
        splits: ``reports/splits.csv``.
        split_notes: ``reports/split_notes.csv``.
        issues: ``data/faults.csv``.
        corrected: columns track_id, path, listed_genre, genre: tracks whose labels were corrected.
        label_issues: ``reports/label_issues.csv``.
        checks: ``summary.json`` of the data checks.
        gate: the gate's result.
        comparison: ``comparison.csv``.
        mcnemar: ``mcnemar.csv``.
        per_class: by model, in the order of tables, ``per_class.csv``.
        clips: ``predictions_by_model.csv``, with columns path (below ``audio``, or null) and title.
        agreement: ``agreement_by_genre.csv``; None where the ensemble has one member.
        confusions: ``top_confusions.csv``.
        interpretations: by model; one without is left out.
        plots: paths of the plots there are, relative to the page.
        audio: the folder of the audio files, relative to the page.
        card: of the selected model, in Markdown.
    """

    name: str
    source: str
    recipes: Mapping[str, str]
    members: Sequence[str]
    splits: pd.DataFrame
    split_notes: pd.DataFrame
    issues: pd.DataFrame
    corrected: pd.DataFrame
    label_issues: pd.DataFrame
    checks: Mapping[str, Any]
    gate: GateResult
    comparison: pd.DataFrame
    mcnemar: pd.DataFrame
    per_class: Mapping[str, pd.DataFrame]
    clips: pd.DataFrame
    agreement: pd.DataFrame | None
    confusions: pd.DataFrame
    card: str
    audio: str
    plots: Collection[str] = ()
    interpretations: Mapping[str, Interpretation] = field(default_factory=dict)


def render_run_report(context: RunReportContext) -> str:
    """The report as a page. It opens from disk, beside the plots that it shows."""
    interpreted = list(context.interpretations.items())
    test = {row["model"]: row for row in rows(context.comparison) if row["split"] == "test"}
    return render_html(
        "run_report.html.j2",
        report=context,
        ensemble=ENSEMBLE,
        synthetic=SYNTHETIC in context.source.split("+"),
        criteria=[_criterion(criterion) for criterion in context.gate.criteria],
        selected=test[context.gate.model],
        n_tracks=int(context.splits[[c for c in context.splits if c.endswith("_tracks")]].to_numpy().sum()),
        splits=rows(context.splits),
        split_notes=rows(context.split_notes),
        corrected=rows(context.corrected.head(MAX_CORRECTIONS)),
        label_issues=rows(context.label_issues.head(MAX_LABEL_ISSUES)),
        issues=context.issues.groupby(["severity", "reason"]).size().to_dict(),
        suites=_suites(context.checks),
        failed_expectations=_failed_expectations(context.checks),
        comparison=rows(context.comparison),
        published=_published(context),
        mcnemar=rows(context.mcnemar[context.mcnemar["split"] == "test"]),
        genres=rows(_of_test(context.per_class[ENSEMBLE])),
        agreement=_agreement(context),
        confusions=rows(context.confusions[context.confusions["model"] == ENSEMBLE].head(MAX_CONFUSIONS)),
        error_examples=_error_examples(context),
        filters=_filter_counts(context.interpretations),
        faithfulness=[{"model": name, **row} for name, of_model in interpreted for row in rows(of_model.faithfulness)],
        clusters=[
            *({"model": name, **of_model.clusters} for name, of_model in interpreted),
            {"model": "the study's CRNN, FMA-small", "silhouette_of_genres": None, **PUBLISHED_CLUSTERS},
        ],
        encoder_tags=[
            {"model": name, "genre": genre, "tags": tags}
            for name, of_model in interpreted
            for genre, tags in tags_in_words(of_model.tags).items()
        ],
        card=to_html(context.card, heading_offset=2),
    )


def _criterion(criterion: Criterion) -> dict[str, Any]:
    """A criterion of the gate in words."""
    text = CRITERION_DESCRIPTIONS[CriterionName(criterion.name)]
    return {"text": text, "passed": criterion.passed, "value": criterion.measured, "threshold": criterion.bound}


def _of_test(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "test"].drop(columns="split")


def _suites(checks: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "n_passed": sum(outcome["success"] for outcome in suite["expectations"]),
            "n_expectations": len(suite["expectations"]),
        }
        for name, suite in checks["suites"].items()
    ]


def _failed_expectations(checks: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"suite": name, **outcome}
        for name, suite in checks["suites"].items()
        for outcome in suite["expectations"]
        if not outcome["success"]
    ]


def _published(context: RunReportContext) -> list[dict[str, Any]]:
    """The networks that the study published, each with its published accuracy and its results here."""
    by_model = {name: {row["split"]: row for row in rows(table)} for name, table in context.comparison.groupby("model")}
    return [
        {"model": name, "recipe": context.recipes[name], "accuracy": accuracy, "here": by_model[name]}
        for name, accuracy in PUBLISHED_ACCURACY.items()
        if name in context.recipes
    ]


def _agreement(context: RunReportContext) -> list[dict[str, Any]]:
    """Test clips that the members and the ensemble predict correctly, by genre and in total; empty for one member."""
    if context.agreement is None:
        return []
    counts = _of_test(context.agreement)
    total = counts.drop(columns="genre").sum()
    best_member = total["both"] + max(total[column] for column in total.index if column.endswith("_only"))
    total["ensemble_gain"] = total[ENSEMBLE] - best_member
    return [*rows(counts), {"genre": "all", **{column: int(count) for column, count in total.items()}}]


def _error_examples(context: RunReportContext) -> list[dict[str, Any]]:
    """Tables of test clips: the ensemble's most confident errors, and what only one member predicts correctly."""
    test = _of_test(context.clips).sort_values([f"{ENSEMBLE}_confidence", "track_id"], ascending=[False, True])
    correct = pd.DataFrame({name: test[name] == test["actual"] for name in (*context.members, ENSEMBLE)})
    tables = {"Most confident errors of the ensemble": test[~correct[ENSEMBLE]]}
    if len(context.members) > 1:
        n_correct = correct[list(context.members)].sum(axis=1)
        for name in context.members:
            tables[f"Only {name} is correct"] = test[correct[name] & (n_correct == 1)]
    return [
        {"title": title, "n_clips": len(clips), "clips": rows(clips.head(MAX_CLIPS))} for title, clips in tables.items()
    ]


def _filter_counts(interpretations: Mapping[str, Interpretation]) -> list[dict[str, Any]]:
    """For each convolution: the filters shown, and how many are activated more than by any real clip."""
    counts = []
    for name, interpretation in interpretations.items():
        for layer, filters in interpretation.filters.groupby("layer", sort=False):
            above = int((filters["optimized"] > filters["real_max"]).sum())
            counts.append({"model": name, "layer": layer, "n_filters": len(filters), "n_above": above})
    return counts
