"""Sections on how the networks answer: where they differ, what they hear, what their answers rest on."""

from __future__ import annotations

from html import escape

import pandas as pd

from music_genre.evaluation.model_comparison import COMPARED_MODELS
from music_genre.models.registry import ENSEMBLE
from music_genre.reporting.findings import Findings
from music_genre.reporting.markup import Markup, of_each, picture, player, table

PUBLISHED_CLUSTERS = (0.22, 0.30)
"""Adjusted Rand index and silhouette of the study's eight clusters."""

LISTED, CONFUSED = 8, 10
"""Clips of a kind, and confusions, that are listed."""


def differences(findings: Findings) -> str:
    counts = findings.by_genre[findings.by_genre["split"] == "test"].drop(columns="split")
    total = counts.drop(columns="genre").sum()
    total["ensemble_gain"] = total[ENSEMBLE] - total["both"] - max(total[f"{name}_only"] for name in COMPARED_MODELS)
    confused = findings.confusions[findings.confusions["model"] == ENSEMBLE].head(CONFUSED)
    rows = [[row.actual, row.predicted, row.clips, f"{row.share:.0%}"] for row in confused.itertuples(index=False)]
    title = "The ensemble's commonest confusions, test"
    return (
        picture(
            "evaluation/ensemble/plots/agreement",
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
        + (table(title, ["actual", "named", "clips", "share"], rows) if rows else f"<p>{title}: none.</p>")
    )


def listening(findings: Findings) -> str:
    test = findings.clips[findings.clips["split"] == "test"]
    surest = test.sort_values([f"{ENSEMBLE}_confidence", "track_id"], ascending=[False, True])
    wrong = surest[surest["actual"] != surest[ENSEMBLE]]
    alone = [(f"Only {name} is right", surest[surest["right"] == f"{name} only"]) for name in COMPARED_MODELS]
    seen = picture(
        "evaluation/ensemble/plots/mistakes",
        "Mel spectrograms of the test clips that the ensemble is surest of and wrong about",
        "The ensemble's surest mistakes as the networks see them.",
    )
    return (
        ("" if wrong.empty else seen)
        + _clips("The ensemble's surest mistakes", wrong)
        + "".join(_clips(title, clips) for title, clips in alone)
    )


def _clips(title: str, clips: pd.DataFrame) -> str:
    if clips.empty:
        return f"<p>{escape(title)}: no test clip.</p>"
    heading = ["track", "title", "actual", *COMPARED_MODELS, ENSEMBLE, "confidence", "sound"]
    rows = [
        [
            row["track_id"],
            row["title"],
            row["actual"],
            *(row[name] for name in (*COMPARED_MODELS, ENSEMBLE)),
            f"{row[f'{ENSEMBLE}_confidence']:.0%}",
            Markup(player(row["path"])),
        ]
        for row in clips.head(LISTED).to_dict("records")
    ]
    return table(f"{title} ({min(LISTED, len(clips))} of {len(clips)})", heading, rows)


def filters(findings: Findings) -> str:
    shown = pd.concat([table.assign(network=name) for name, table in findings.filters.items()])
    shown["louder"] = shown["maximised"] > shown["real_maximum"]
    counted = shown.groupby(["network", "layer"], sort=False)["louder"].agg(["size", "sum"]).reset_index()
    heading = ["network", "convolution", "filters shown", "woken more than by any real clip"]
    said = (
        "<p>Each picture is a spectrogram made to wake one filter, from noise around the mean of the training clips or,"
        " where noise leads nowhere, from the real clip that wakes it most. Shown are the filters that tell genres"
        " apart best and differ in it, under the genre that wakes them most; <code>filters.csv</code> of a"
        " network says how much more than any of the real clips each picture wakes its filter.</p>"
    ) + table("Filters and their own pictures", heading, counted.to_numpy().tolist())
    for place in ("first", "last"):
        said += of_each(
            tuple(findings.recipes),
            f"interpretation/{{}}/plots/filters_{place}",
            f"Spectrograms that wake filters of the {place} convolution of {{}} most",
            f"{{}}, {place} convolution.",
        )
    return said + of_each(
        tuple(findings.recipes),
        "interpretation/{}/plots/feature_maps",
        "A clip and what filters of the first and last convolution of {} make of it",
        "{}: the same filters on a real clip; bright is where they answer.",
    )


def reasons(findings: Findings) -> str:
    rows = [
        [name, row.method, row.clips, f"{row.top:.3f}", f"{row.random:.3f}", f"{row.top_more:.0%}"]
        for name in tuple(findings.recipes)
        for row in findings.faithfulness[name].itertuples(index=False)
    ]
    heading = ["network", "method", "clips", "fall, top 10 %", "fall, random 10 %", "top falls more"]
    return table("How far the probability falls when blocks of a clip are deleted", heading, rows) + of_each(
        tuple(findings.recipes),
        "interpretation/{}/plots/saliency",
        "Spectrogram, integrated gradients and occlusion of four test clips, by {}",
        "{}: red speaks for the genre that was named, blue against it.",
    )


def maps(findings: Findings) -> str:
    told = ("clusters", "adjusted_rand", "silhouette", "silhouette_of_genres")
    rows = [
        [name, *("" if found[key] is None else f"{found[key]:.2g}" for key in told)]
        for name, found in findings.clusters.items()
    ]
    rand, silhouette = PUBLISHED_CLUSTERS
    rows.append(["the study's CRNN, FMA-small", "8", f"{rand:.2f}", f"{silhouette:.2f}", ""])
    heading = ["network", "clusters", "adjusted Rand index", "silhouette", "silhouette of genres"]
    return table("K-means against the genres", heading, rows) + of_each(
        tuple(findings.recipes),
        "interpretation/{}/plots/embedding",
        "Test clips before the last layer of {}, in two dimensions, coloured by genre",
        "{}: what its last layer decides by.",
    )


def networks(findings: Findings) -> str:
    diagrams = of_each(
        tuple(findings.recipes),
        "interpretation/{}/plots/architecture",
        "Layers of {} from the clip to the answer, with shapes and weights",
        "{}",
    )
    return f'<div class="pair">{diagrams}</div>'
