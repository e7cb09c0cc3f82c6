"""One page about a run: data, checks, figures, pictures, verdict. It opens from disk and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from music_genre.disagreement import COMPARED
from music_genre.gate import Judged
from music_genre.markup import Markup, document, picture, player, table
from music_genre.packed import ENSEMBLE, NAMES, NETWORKS

PUBLISHED = {"crnn": (0.514, 0.441), "parallel": (0.529, 0.444)}
"""Accuracy on FMA-small's official split that the study's notebooks print: best epoch on validation, test."""

PUBLISHED_CLUSTERS = (0.22, 0.30)
"""Adjusted Rand index and silhouette of the study's eight clusters."""

LISTED, CONFUSED = 8, 10
"""Clips of a kind, and confusions, that are listed."""


@dataclass(frozen=True)
class Findings:
    """What the stages found.

    Args:
        source: ``data.source``.
        recipes: of each network.
        splits: ``reports/splits.csv``.
        faults: ``data/faults.csv``.
        checks: ``summary.json`` of the data checks.
        comparison: ``comparison.csv``.
        paired: ``paired.csv``.
        per_class: ``per_class.csv`` by model.
        judged: what the gate says by files alone.
        clips: ``clips.csv``, with columns path (relative to ``data/raw``, or null) and title.
        by_genre: ``by_genre.csv``.
        confusions: ``confusions.csv``.
        clusters: ``clusters.json`` by network.
        faithfulness: ``faithfulness.csv`` by network.
    """

    source: str
    recipes: Mapping[str, str]
    splits: pd.DataFrame
    faults: pd.DataFrame
    checks: Mapping[str, Any]
    comparison: pd.DataFrame
    paired: pd.DataFrame
    per_class: Mapping[str, pd.DataFrame]
    judged: Judged
    clips: pd.DataFrame
    by_genre: pd.DataFrame
    confusions: pd.DataFrame
    clusters: Mapping[str, Mapping[str, float | None]]
    faithfulness: Mapping[str, pd.DataFrame]


def page(findings: Findings) -> str:
    """The whole page: the same findings are the same bytes."""
    sections: dict[str, Callable[[Findings], str]] = {
        "Verdict": _verdict,
        "Data": _data,
        "Checks": _checks,
        "Results": _results,
        "Learning": _learning,
        "Genres": _genres,
        "Differences": _differences,
        "Listening": _listening,
        "Filters": _filters,
        "Reasons": _reasons,
        "Maps": _maps,
        "Networks": _networks,
    }
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in sections)
    body = "\n".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>\n{write(findings)}</section>' for name, write in sections.items()
    )
    return document("music-genre: what was learnt, and how well", links, body)


def _verdict(findings: Findings) -> str:
    judged = findings.judged
    rows = [[c.name, _plain(c.value), _plain(c.threshold), "passed" if c.passed else "failed"] for c in judged.criteria]
    test = _row(findings, judged.candidate.name, "test")
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
        "<p>Registering adds what needs the model at work: features, latency, the champion. The card of a registered"
        " version is <code>model_card.html</code> in its MLflow run.</p>"
    )


def _data(findings: Findings) -> str:
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


def _checks(findings: Findings) -> str:
    failed = [
        [suite, outcome["column"], outcome["severity"], outcome["unexpected_count"]]
        for suite, result in findings.checks["suites"].items()
        for outcome in result["expectations"]
        if not outcome["success"]
    ]
    said = "Every critical check holds." if findings.checks["success"] else "Critical checks fail."
    listed = table("Expectations that do not hold", ["suite", "column", "severity", "rows"], failed) if failed else ""
    return f'<p>{said} <a href="data_quality/site/index.html">All checks, with what they found</a>.</p>{listed}'


def _results(findings: Findings) -> str:
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
            "evaluation/ensemble/calibration",
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
            _interval(_row(findings, name, "validation"), "accuracy"),
            f"{100 * test:.1f}",
            _interval(_row(findings, name, "test"), "accuracy"),
        ]
        for name, (validation, test) in PUBLISHED.items()
    ]
    heading = ["network", "recipe here", "published validation", "here", "published test", "here"]
    return (
        table("Against the published figures, accuracy in %", heading, rows)
        + "<p>The published figures are the study's on FMA-small's official split: the best epoch by validation, then"
        " test. They compare with a run on the same clips; of another collection they say nothing.</p>"
    )


def _learning(findings: Findings) -> str:
    return "".join(
        picture(
            f"evaluation/{name}/learning",
            f"Loss and accuracy by epoch of {name}",
            f"{name}: each epoch on training and validation clips.",
        )
        for name in NETWORKS
    )


def _genres(findings: Findings) -> str:
    classes = findings.per_class[ENSEMBLE]
    rows = [
        [row.genre, f"{row.precision:.2f}", f"{row.recall:.2f}", f"{row.f1:.2f}", row.support]
        for row in classes[classes["split"] == "test"].itertuples(index=False)
    ]
    matrices = "".join(
        picture(
            f"evaluation/{name}/confusion",
            f"Confusion matrix of {name} on test",
            f"{name}, test: rows are actual genres.",
        )
        for name in NAMES
    )
    heading = ["genre", "precision", "recall", "F1", "clips"]
    return table("The ensemble by genre, test", heading, rows) + f'<div class="pair">{matrices}</div>'


def _differences(findings: Findings) -> str:
    counts = findings.by_genre[findings.by_genre["split"] == "test"].drop(columns="split")
    total = counts.drop(columns="genre").sum()
    total["gain"] = total[ENSEMBLE] - total["both"] - max(total[f"{name}_only"] for name in COMPARED)
    confused = findings.confusions[findings.confusions["model"] == ENSEMBLE].head(CONFUSED)
    rows = [[row.actual, row.predicted, row.clips, f"{row.share:.0%}"] for row in confused.itertuples(index=False)]
    return (
        picture(
            "evaluation/ensemble/agreement",
            "Of each genre's test clips, how many both networks, one of them or neither names rightly",
            "Where the bars of one network alone are long, averaging the two can gain.",
        )
        + table(
            "Test clips named rightly",
            [c.replace("_", " ") for c in counts],
            [*counts.to_numpy().tolist(), ["all", *total]],
        )
        + "<p><em>gain</em>: clips that the ensemble names rightly above the better network; <em>saved</em> and"
        " <em>lost</em>: clips that one network alone names rightly, and the ensemble with it or not.</p>"
        + table("The ensemble's commonest confusions, test", ["actual", "named", "clips", "share"], rows)
    )


def _listening(findings: Findings) -> str:
    test = findings.clips[findings.clips["split"] == "test"]
    surest = test.sort_values([f"{ENSEMBLE}_confidence", "track_id"], ascending=[False, True])
    wrong = surest[surest["actual"] != surest[ENSEMBLE]]
    alone = [(f"Only {name} is right", surest[surest["right"] == f"{name} only"]) for name in COMPARED]
    return (
        picture(
            "evaluation/ensemble/mistakes",
            "Mel spectrograms of the test clips that the ensemble is surest of and wrong about",
            "The ensemble's surest mistakes as the networks see them.",
        )
        + _clips("The ensemble's surest mistakes", wrong)
        + "".join(_clips(title, clips) for title, clips in alone)
    )


def _clips(title: str, clips: pd.DataFrame) -> str:
    if clips.empty:
        return f"<p>{escape(title)}: no test clip.</p>"
    heading = ["track", "title", "actual", *COMPARED, ENSEMBLE, "confidence", "sound"]
    rows = [
        [
            row["track_id"],
            row["title"],
            row["actual"],
            *(row[name] for name in (*COMPARED, ENSEMBLE)),
            f"{row[f'{ENSEMBLE}_confidence']:.0%}",
            Markup(player(row["path"])),
        ]
        for row in clips.head(LISTED).to_dict("records")
    ]
    return table(f"{title} ({min(LISTED, len(clips))} of {len(clips)})", heading, rows)


def _filters(findings: Findings) -> str:
    said = (
        "<p>Each picture is a spectrogram made to wake one filter, from noise around the mean of the training clips or,"
        " where noise leads nowhere, from the real clip that wakes it most. Shown are the filters that tell genres"
        " apart best and differ in it, under the genre that wakes them most; <code>filters.csv</code> beside the"
        " picture says how much more than any of the real clips each picture wakes its filter.</p>"
    )
    for name in NETWORKS:
        for place in ("first", "last"):
            said += picture(
                f"explain/{name}/filters_{place}",
                f"Spectrograms that wake filters of the {place} convolution of {name} most",
                f"{name}, {place} convolution.",
            )
        said += picture(
            f"explain/{name}/feature_maps",
            f"A clip and what filters of the first and last convolution of {name} make of it",
            f"{name}: the same filters on a real clip; bright is where they answer.",
        )
    return said


def _reasons(findings: Findings) -> str:
    rows = [
        [name, row.method, row.clips, f"{row.top:.3f}", f"{row.random:.3f}", f"{row.top_more:.0%}"]
        for name in NETWORKS
        for row in findings.faithfulness[name].itertuples(index=False)
    ]
    heading = ["network", "method", "clips", "fall, top 10 %", "fall, random 10 %", "top falls more"]
    pictures = "".join(
        picture(
            f"explain/{name}/saliency",
            f"Spectrogram, integrated gradients and occlusion of four test clips, by {name}",
            f"{name}: red speaks for the genre that was named, blue against it.",
        )
        for name in NETWORKS
    )
    return table("How far the probability falls when blocks of a clip are deleted", heading, rows) + pictures


def _maps(findings: Findings) -> str:
    told = ("clusters", "adjusted_rand", "silhouette", "silhouette_of_genres")
    rows = [
        [name, *("" if found[key] is None else f"{found[key]:.2g}" for key in told)]
        for name, found in findings.clusters.items()
    ]
    rand, silhouette = PUBLISHED_CLUSTERS
    rows.append(["the study's CRNN, FMA-small", "8", f"{rand:.2f}", f"{silhouette:.2f}", ""])
    heading = ["network", "clusters", "adjusted Rand index", "silhouette", "silhouette of genres"]
    pictures = "".join(
        picture(
            f"explain/{name}/embedding",
            f"Test clips before the last layer of {name}, in two dimensions, coloured by genre",
            f"{name}: what its last layer decides by.",
        )
        for name in NETWORKS
    )
    return table("K-means against the genres", heading, rows) + pictures


def _networks(findings: Findings) -> str:
    return (
        '<div class="pair">'
        + "".join(
            picture(
                f"explain/{name}/architecture",
                f"Layers of {name} from the clip to the answer, with shapes and weights",
                name,
            )
            for name in NETWORKS
        )
        + "</div>"
    )


def _row(findings: Findings, model: str, split: str) -> dict[str, Any]:
    table = findings.comparison
    return dict(table[(table["model"] == model) & (table["split"] == split)].iloc[0])


def _interval(figures: Mapping[str, Any], name: str) -> str:
    return f"{100 * figures[name]:.1f} % ({100 * figures[f'{name}_low']:.1f} to {100 * figures[f'{name}_high']:.1f})"


def _plain(value: float | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.3f}"
