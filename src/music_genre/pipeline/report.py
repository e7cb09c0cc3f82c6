"""Put the data, the results and the interpretation of every model on one page: ``reports/index.html``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from music_genre.evaluation.plots import save_figure
from music_genre.evaluation.results import (
    AGREEMENT_BY_GENRE,
    COMPARISON,
    MCNEMAR,
    PREDICTIONS_BY_MODEL,
    TOP_CONFUSIONS,
    read_result,
)
from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.files import read_csv
from music_genre.interpretation import plots
from music_genre.interpretation.interpret_network import CLUSTERS, FAITHFULNESS, FILTERS
from music_genre.models.packing import temporary_bundle
from music_genre.models.predictors import PREDICT_BATCH_SIZE
from music_genre.models.registry import ENSEMBLE
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.pipeline._inputs import read_encoder_tags
from music_genre.registry.gate import read_gate
from music_genre.reporting.model_card import build_context, join_clips, render_card
from music_genre.reporting.run_report import Interpretation, RunReportContext, render_run_report


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    tracks, gate = pd.read_parquet(project.tracks), read_gate(project.gate)
    examples = plots.plot_genre_examples(
        medoid_clips(data.split("training"), data.genres), plots.SpectrogramAxes(data.transform)
    )
    save_figure(examples, project.genre_examples_plot)
    evaluation, ensemble = project.evaluation, project.evaluation / ENSEMBLE
    predictions = read_csv(ensemble / PREDICTIONS_BY_MODEL, text=(*params.ensemble.members, ENSEMBLE))
    agreement = ensemble / AGREEMENT_BY_GENRE
    context = RunReportContext(
        name=params.registry.name,
        source=params.data.source_name,
        recipes={name: params.models[name].recipe for name in params.networks},
        members=params.ensemble.members,
        splits=read_csv(project.split_table),
        split_notes=read_csv(project.split_notes),
        issues=read_csv(project.faults),
        corrected=tracks[tracks["genre"] != tracks["listed_genre"]],
        label_issues=read_csv(project.label_issues),
        checks=read_json(project.data_checks),
        gate=gate,
        comparison=read_csv(evaluation / COMPARISON),
        mcnemar=read_csv(evaluation / MCNEMAR),
        per_class={name: read_result(evaluation, name).per_class for name in params.model_names},
        clips=predictions.merge(tracks[["track_id", "path", "title"]], on="track_id", how="left"),
        agreement=read_csv(agreement) if len(params.ensemble.members) > 1 else None,
        confusions=read_csv(ensemble / TOP_CONFUSIONS),
        interpretations=read_interpretations(project, params.trained),
        plots={path.relative_to(project.reports).as_posix() for path in project.reports.rglob("*.png")},
        audio=os.path.relpath(project.audio, project.reports),
        card=render_selected_card(project, params, data, tracks, gate.model),
    )
    project.run_report.write_text(render_run_report(context), encoding="utf-8")
    print(f"{project.run_report} shows the run")


def render_selected_card(
    project: ProjectPaths, params: Params, data: SpectrogramStore, tracks: pd.DataFrame, name: str
) -> str:
    """The card of the selected model, without what its MLflow run knows."""
    result, clips = read_result(project.evaluation, name), join_clips(data.index, tracks)
    with temporary_bundle(project.models, name, data) as bundle:
        tags = {"data_source": params.data.source_name}
        encoder_tags = read_encoder_tags(project, params.members_of(result.name))
        context = build_context(params.registry.name, result, bundle, clips, tags, "", encoder_tags)
        return render_card(context)


def read_interpretations(project: ProjectPaths, names: tuple[str, ...]) -> dict[str, Interpretation]:
    """By model, what stage ``interpret`` wrote; models that it left out are not there."""
    folders = {name: project.interpretation(name) for name in names}
    return {
        name: Interpretation(
            read_csv(folder / FILTERS),
            read_csv(folder / FAITHFULNESS),
            read_json(folder / CLUSTERS),
            read_encoder_tags(project, (name,)),
        )
        for name, folder in folders.items()
        if (folder / CLUSTERS).is_file()
    }


def medoid_clips(clips: ClipDataset, genres: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The clip of each genre whose mean spectrum is closest to the genre's: (frames, n_mels) dB by genre."""
    spectra = np.concatenate([mel.mean(axis=1) for mel in clips.batches(PREDICT_BATCH_SIZE)])
    medoids = {}
    for genre in plots.order_genres(genres):
        members = np.flatnonzero(clips.label == genres.index(genre))
        distance = np.abs(spectra[members] - spectra[members].mean(axis=0)).sum(axis=1)
        medoids[genre] = clips.read(members[[distance.argmin()]])[0]
    return medoids


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
