"""Put the data, the results and the interpretation of every model on one page: ``reports/index.html``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from music_genre.evaluation.plots import save_figure
from music_genre.evaluation.results import (
    AGREEMENT_BY_GENRE,
    COMPARISON,
    MCNEMAR,
    PREDICTIONS_BY_MODEL,
    TOP_CONFUSIONS,
    read_history,
    read_result,
)
from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.files import folder_sha256, read_csv
from music_genre.interpretation import plots
from music_genre.interpretation.interpret_network import CLUSTERS, EMBEDDING, FAITHFULNESS, FILTERS
from music_genre.models.packing import temporary_bundle
from music_genre.models.predictors import PREDICT_BATCH_SIZE
from music_genre.models.registry import ENSEMBLE
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.pipeline._inputs import local_recordings, read_encoder_tags
from music_genre.registry.gate import read_gate
from music_genre.reporting.media import audio_sample, inline_picture
from music_genre.reporting.model_card import build_context, join_clips, render_card
from music_genre.reporting.report_context import Interpretation, RunOrigin, RunReportContext
from music_genre.reporting.report_data import MAX_SAMPLES, clips_to_hear
from music_genre.reporting.run_report import SHOWN_PICTURES, listed_errors, render_run_report
from music_genre.tracking.provenance import data_digest, git
from music_genre.tracking.run_params import active_params


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
    clips = predictions.merge(tracks[["track_id", "path", "title"]], on="track_id", how="left")
    results = {name: read_result(evaluation, name) for name in params.model_names}
    of_test = {name: result.predictions[result.predictions["split"] == "test"] for name, result in results.items()}
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
        per_class={name: result.per_class for name, result in results.items()},
        clips=clips,
        predictions=of_test,
        histories={name: read_history(evaluation / name) for name in params.trained},
        agreement=read_csv(agreement) if len(params.ensemble.members) > 1 else None,
        confusions=read_csv(ensemble / TOP_CONFUSIONS),
        interpretations=read_interpretations(project, params.trained),
        card=render_selected_card(project, params, data, tracks, gate.model),
        origin=find_origin(project, params, data),
        pictures={
            name: inline_picture(path)
            for path in sorted(project.reports.rglob("*.png"))
            if SHOWN_PICTURES.fullmatch(name := path.relative_to(project.reports).as_posix())
        },
        samples=read_samples(project, clips_to_hear(listed_errors(clips, params.ensemble.members), of_test)),
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
            read_csv(folder / EMBEDDING),
        )
        for name, folder in folders.items()
        if (folder / CLUSTERS).is_file()
    }


def read_samples(project: ProjectPaths, track_ids: Iterable[int]) -> dict[int, str]:
    """By track id, the sounds of the first ``MAX_SAMPLES`` clips that can be heard, as data URIs."""
    recordings = local_recordings(project)
    sounds = ((i, audio_sample(recordings[i])) for i in track_ids if i in recordings)
    return dict(islice(((track_id, sound) for track_id, sound in sounds if sound), MAX_SAMPLES))


def find_origin(project: ProjectPaths, params: Params, data: SpectrogramStore) -> RunOrigin:
    """What the run was made with: the last commit of what the stages depend on, and digests."""
    stages = read_yaml(project.root / "dvc.yaml")["stages"].values()
    deps = {dep.replace("${key}", "*") for stage in stages for dep in stage.get("do", stage)["deps"]}
    paths = ["params.yaml", *sorted(dep for dep in deps if dep.startswith("src/"))]
    commit, _, date = git(project.root, "log", "-1", "--format=%H %cs", "--", *paths).strip().partition(" ")
    digests = {}
    for name in params.model_names:
        with temporary_bundle(project.models, name, data) as bundle:
            digests[name] = folder_sha256(bundle)
    values, active = read_yaml(project.params), dict[str, Any]()
    for name in params.model_names:
        active |= active_params(values, name)
    return RunOrigin(
        version=version("music-genre"),
        commit=commit,
        date=date,
        dirty=bool(git(project.root, "status", "--porcelain", "--", *paths)),
        data_digest=data_digest(project.lock),
        model_digests=digests,
        params=active,
    )


def medoid_clips(clips: ClipDataset, genres: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The clip of each genre whose mean spectrum is closest to the genre's: (frames, n_mels) dB by genre."""
    spectra = np.concatenate([mel.mean(axis=1) for mel in clips.batches(PREDICT_BATCH_SIZE)])
    medoids = {}
    for genre in plots.order_genres(genres):
        members = np.flatnonzero(clips.label == genres.index(genre))
        distance = np.abs(spectra[members] - spectra[members].mean(axis=0)).sum(axis=1)
        medoids[genre] = clips.read(members[[distance.argmin()]])[0]
    return medoids


def read_yaml(path: Path) -> Any:
    """The content of a YAML file that was checked before."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
