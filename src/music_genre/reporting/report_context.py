"""All that the report of a run shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from music_genre.registry.gate import GateResult
from music_genre.reporting.media import Picture


@dataclass(frozen=True)
class Interpretation:
    """The results of stage ``interpret`` for a model.

    Args:
        filters: ``filters.csv``; empty where it is no network.
        faithfulness: ``faithfulness.csv``; likewise.
        clusters: ``clusters.json``.
        tags: ``tags.csv`` of an encoder that tags; None of other models.
        embedding: ``embedding.csv``; None where there is none.
    """

    filters: pd.DataFrame
    faithfulness: pd.DataFrame
    clusters: Mapping[str, float | None]
    tags: pd.DataFrame | None = None
    embedding: pd.DataFrame | None = None


@dataclass(frozen=True)
class RunOrigin:
    """What a run was made with. The same code, params and data have the same origin wherever they are.

    Args:
        version: of the project's code.
        commit, date: the last that changed the pipeline's code or params; empty outside a git repository.
        dirty: whether there were changes that no commit has.
        data_digest: DVC's digest of the spectrograms.
        model_digests: by model, of its bundle: MLflow runs have it as a tag.
        params: by dotted key, those that the run depends on.
    """

    version: str
    commit: str
    date: str
    dirty: bool
    data_digest: str
    model_digests: Mapping[str, str]
    params: Mapping[str, Any]


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
        clips: ``predictions_by_model.csv``, with columns path (of the audio, or null) and title.
        predictions: by model, ``predictions.csv`` of test.
        histories: by model, ``history.csv``.
        agreement: ``agreement_by_genre.csv``; None where the ensemble has one member.
        confusions: ``top_confusions.csv``.
        interpretations: by model; one without is left out.
        card: of the selected model, in Markdown.
        origin: what the run was made with.
        pictures: by path relative to ``reports``, the plots there are.
        samples: by track id, the sounds there are, as data URIs.
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
    predictions: Mapping[str, pd.DataFrame]
    histories: Mapping[str, pd.DataFrame]
    agreement: pd.DataFrame | None
    confusions: pd.DataFrame
    card: str
    origin: RunOrigin
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    samples: Mapping[int, str] = field(default_factory=dict)
    interpretations: Mapping[str, Interpretation] = field(default_factory=dict)
