"""The report of a run: one page with the data, the results of every model, and what its networks respond to."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from music_genre.models.registry import ENSEMBLE
from music_genre.registry.criteria import CRITERION_DESCRIPTIONS, Criterion, CriterionName
from music_genre.registry.gate import Candidate
from music_genre.reporting.charts import MAP_SIZE, confusion_counts, genre_marks, learning_curves
from music_genre.reporting.model_card import SYNTHETIC, tags_in_words, to_html
from music_genre.reporting.published import PUBLISHED_ACCURACY, PUBLISHED_CLUSTERS
from music_genre.reporting.rendering import read_script, render_html, rows
from music_genre.reporting.report_context import Interpretation, RunReportContext
from music_genre.reporting.report_data import PROJECTIONS, ReportData

MAX_CLIPS = 8  # of a table of clips
MAX_CORRECTIONS, MAX_LABEL_ISSUES = 50, 10  # rows shown
MAX_CONFUSIONS = 10
# Where `make ui` shows the runs of a store of its own.
RUNS_URL = "http://localhost:5000/#/experiments/1/runs?workflowType=machine_learning"
SHOWN_PICTURES = re.compile(  # of ``reports``; the page draws the others itself
    r"genre_examples\.png|evaluation/plots/risk_coverage\.png"
    r"|evaluation/ensemble/plots/(temperatures|agreement|top_errors)\.png"
    r"|interpretation/[^/]+/plots/(filters_first|filters_last|feature_maps|saliency|architecture)\.png"
)


def render_run_report(context: RunReportContext) -> str:
    """The report as a page: one file, with its pictures and sounds."""
    interpreted = list(context.interpretations.items())
    genres = context.per_class[ENSEMBLE]["genre"].drop_duplicates().tolist()
    data = _report_data(context, genres)
    error_examples, script = _error_examples(context, data), read_script("report.js")
    test = {row["model"]: row for row in rows(context.comparison) if row["split"] == "test"}
    return render_html(
        "run_report.html.j2",
        report=context,
        data=data,
        data_json=data.to_json(),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        runs_url=RUNS_URL,
        media_mb=_media_size(context) / 1e6,
        marks=genre_marks(genres),
        curves={name: curves for name, table in context.histories.items() if (curves := learning_curves(table))},
        confusion_matrices={name: confusion_counts(table, genres) for name, table in context.predictions.items()},
        genre_names=genres,
        map_size=MAP_SIZE,
        projections=PROJECTIONS,
        highlights=_highlights(context),
        ensemble=ENSEMBLE,
        synthetic=SYNTHETIC in context.source.split("+"),
        criteria=[_criterion(criterion) for criterion in context.gate.criteria],
        candidates=[_candidate(candidate) for candidate in context.gate.candidates],
        notes=[_in_words(note) for note in context.gate.notes],
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
        error_examples=error_examples,
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


def listed_errors(clips: pd.DataFrame, members: Sequence[str]) -> list[int]:
    """The track ids that tables of errors list."""
    return [int(i) for table in _error_tables(clips, members).values() for i in table.head(MAX_CLIPS)["track_id"]]


def _report_data(context: RunReportContext, genres: Sequence[str]) -> ReportData:
    """What the page's script answers with."""
    named = context.clips.assign(title=context.clips["title"].fillna(context.clips["path"])).dropna(subset="title")
    titles = dict(zip(named["track_id"].astype(int), named["title"].astype(str), strict=True))
    data = ReportData(genres, titles, context.samples)
    for name, predictions in context.predictions.items():
        data.add_cells(name, predictions)
    for name, interpretation in context.interpretations.items():
        if interpretation.embedding is not None and name in context.predictions:
            data.add_map(name, interpretation.embedding, context.predictions[name])
    for name, history in context.histories.items():
        data.add_history(name, history)
    return data


def _media_size(context: RunReportContext) -> int:
    """Bytes of the page that are pictures and sounds."""
    return sum(len(picture.uri) for picture in context.pictures.values()) + sum(map(len, context.samples.values()))


def _highlights(context: RunReportContext) -> dict[str, Any]:
    """The params that people look for first."""
    keys = ("seed", "data.source", "split.method", *(f"models.{name}.recipe" for name in context.recipes))
    return {key: context.origin.params[key] for key in keys if key in context.origin.params}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    """A candidate with the criteria that it fails in words."""
    failed = [_in_words(name) for name in candidate.failed]
    return {"name": candidate.name, "reason": candidate.reason, "failed": failed, "candidate": candidate}


def _in_words(text: str) -> str:
    """A text with criteria by their descriptions, not by their names."""
    for name, description in CRITERION_DESCRIPTIONS.items():
        text = re.sub(rf"\b{name}\b", description, text)
    return text


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


def _error_examples(context: RunReportContext, data: ReportData) -> list[dict[str, Any]]:
    """``_error_tables``, cut, with the positions of their clips in the page's data."""
    return [
        {
            "title": title,
            "n_clips": len(clips),
            "clips": [row | {"clip": data.clip(row["track_id"], row["actual"])} for row in rows(clips.head(MAX_CLIPS))],
        }
        for title, clips in _error_tables(context.clips, context.members).items()
    ]


def _error_tables(clips: pd.DataFrame, members: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Tables of test clips: the ensemble's most confident errors, and what only one member predicts correctly."""
    test = _of_test(clips).sort_values([f"{ENSEMBLE}_confidence", "track_id"], ascending=[False, True])
    correct = pd.DataFrame({name: test[name] == test["actual"] for name in (*members, ENSEMBLE)})
    tables = {"Most confident errors of the ensemble": test[~correct[ENSEMBLE]]}
    if len(members) > 1:
        n_correct = correct[list(members)].sum(axis=1)
        for name in members:
            tables[f"Only {name} is correct"] = test[correct[name] & (n_correct == 1)]
    return tables


def _filter_counts(interpretations: Mapping[str, Interpretation]) -> list[dict[str, Any]]:
    """For each convolution: the filters shown, and how many are activated more than by any real clip."""
    counts = []
    for name, interpretation in interpretations.items():
        for layer, filters in interpretation.filters.groupby("layer", sort=False):
            above = int((filters["optimized"] > filters["real_max"]).sum())
            counts.append({"model": name, "layer": layer, "n_filters": len(filters), "n_above": above})
    return counts
