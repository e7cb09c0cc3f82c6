"""Put everything that was found on one page: ``reports/index.html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from music_genre.evaluation import plots as figures
from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.interpretation import plots as pictures
from music_genre.interpretation.plots import Scale
from music_genre.models.bundle import PREDICT_BATCH_SIZE, temporary_bundle
from music_genre.models.registry import ENSEMBLE
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.registry import gate
from music_genre.registry.gate import Candidate
from music_genre.reporting import model_card as card
from music_genre.reporting.findings import Findings
from music_genre.reporting.page import page


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    ensemble = project.evaluation / ENSEMBLE
    tracks = pd.read_parquet(project.tracks, columns=["track_id", "path", "title"])
    judged = gate.judge_files(
        (*params.networks, ENSEMBLE),
        project.evaluation,
        project.data_checks,
        project.models,
        data,
        params.registry.gate,
        params.seed,
    )
    findings = Findings(
        source=params.data.source,
        recipes={name: params.models[name].recipe for name in params.networks},
        splits=pd.read_csv(project.split_table),
        faults=pd.read_csv(project.faults),
        checks=_json(project.data_checks),
        comparison=pd.read_csv(project.evaluation / "comparison.csv"),
        paired=pd.read_csv(project.evaluation / "mcnemar.csv"),
        per_class={name: pd.read_csv(project.evaluation / name / "per_class.csv") for name in params.model_names},
        judged=judged,
        clips=pd.read_csv(ensemble / "predictions_by_model.csv").merge(tracks, on="track_id", how="left"),
        by_genre=pd.read_csv(ensemble / "agreement_by_genre.csv"),
        confusions=pd.read_csv(ensemble / "top_confusions.csv"),
        clusters={name: _json(project.interpretation(name) / "clusters.json") for name in params.networks},
        faithfulness={name: pd.read_csv(project.interpretation(name) / "faithfulness.csv") for name in params.networks},
        filters={name: pd.read_csv(project.interpretation(name) / "filters.csv") for name in params.networks},
        card=card_of(project, params, data, judged.candidate),
    )
    sheet = pictures.genres(typical(data.split("training"), data.genres), Scale(data.transform))
    figures.save_figure(sheet, project.genre_examples_plot)
    project.run_report.write_text(page(findings), encoding="utf-8")
    print(f"{project.run_report} shows what was found")


def card_of(project: ProjectPaths, params: Params, data: SpectrogramStore, chosen: Candidate) -> str:
    """The card of the model that is put forward, as far as it is known before it has a run."""
    name, reports, tags = params.registry.name, project.evaluation, {"data_source": params.data.source}
    with temporary_bundle(project.models, chosen.name, data) as folder:
        return card.markdown(card.gather(name, reports, project.tracks, data, chosen, folder, tags))


def typical(clips: MelDataset, genres: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The clip of each genre whose mean spectrum is nearest to the genre's: (frames, n_mels) dB by genre."""
    spectra = np.concatenate([mel.mean(axis=1) for mel in clips.batches(PREDICT_BATCH_SIZE)])
    found = {}
    for genre in pictures.ordered(genres):
        own = np.flatnonzero(clips.label == genres.index(genre))
        distance = np.abs(spectra[own] - spectra[own].mean(axis=0)).sum(axis=1)
        found[genre] = clips.read(own[[distance.argmin()]])[0]
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
