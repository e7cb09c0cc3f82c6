"""Complete every model's run, choose the best, judge it and put it into the registry: ``registration.json``.

Does nothing twice: what the tracking store and the registry have already is left as it is, what they lack is put back.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from music_genre.errors import MusicGenreError
from music_genre.evaluation import metrics as evaluation
from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.models.bundle import BundleManifest, ModelBundle
from music_genre.models.registry import ENSEMBLE
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.registry import gate
from music_genre.registry import versions as registry
from music_genre.registry.gate import Candidate, Criterion, GateResult
from music_genre.reporting import model_card as card
from music_genre.tracking import artifacts as completion
from music_genre.tracking import provenance
from music_genre.tracking import runs as tracking
from music_genre.tracking.runs import RunRef


@dataclass(frozen=True)
class Registration:
    """``registration.json``."""

    name: str
    version: str
    model: str
    model_id: str
    verdict: str
    criteria: list[Criterion]
    notes: list[str]


@stage
def main(project: ProjectPaths) -> None:
    if os.environ.get("DVC_EXP_NAME"):
        decide(project, load_params(project.params), SpectrogramStore.open(project.spectrograms))
        print("An experiment: nothing is registered. `dvc exp apply` and `music-genre register` register what it made.")
        return
    print(describe(register(project)))


def register(project: ProjectPaths) -> Registration:
    """Register the best model of ``models/``.

    Raises:
        MusicGenreError: a file that the stages make is missing; or the gate refused the model: the version is there,
            without an alias, and the message names what failed.
    """
    try:
        registration = _register(project)
    except FileNotFoundError as missing:
        raise MusicGenreError(
            f"{missing.filename} is missing: `dvc repro` makes it, `dvc pull` fetches it"
        ) from missing
    tracking.atomic_write_text(project.registration, json.dumps(asdict(registration), indent=2) + "\n")
    if registration.verdict == gate.REFUSED:
        raise MusicGenreError(f"the gate refused version {registration.version}\n{describe(registration)}")
    return registration


def _register(project: ProjectPaths) -> Registration:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    client, name = tracking.connect(project.root), params.registry.name
    with tracking.lock(project.root):
        pointers = {model: complete_run(client, project, model, params, data) for model in params.model_names}
        judged = decide(project, params, data)
        pointer = pointers[judged.candidate.name]
        with packed.temporary_bundle(project.models, judged.candidate.name, data) as folder:
            digest = packed.digest(folder)
            judged = judge_here(client, project, params, data, judged, folder)
            tags = client.get_run(pointer.run_id).data.tags
            reports, chosen = project.evaluation, judged.candidate
            facts = card.gather(name, reports, project.tracks, data, chosen, folder, tags, pointer.run_id)
            text = card.markdown(facts)
        completion.log_card(client, pointer, text, card.page(text, f"{name}: {judged.candidate.name}"))
        version = registry.register(client, name, digest, pointer, judged, card.description(text))
    return Registration(
        name,
        str(version.version),
        judged.candidate.name,
        pointer.model_id,
        judged.verdict,
        judged.criteria,
        judged.notes,
    )


def complete_run(
    client: MlflowClient, project: ProjectPaths, name: str, params: Params, data: SpectrogramStore
) -> RunRef:
    """The run of a trained model, with its evaluation; made again from ``models/`` where the store lacks it."""
    with packed.temporary_bundle(project.models, name, data) as folder:
        pointer = tracking.find(client, packed.digest(folder))
    if pointer is None:
        origin = provenance.origin(project.root, params.data.source, project.lock)
        with tracking.run(name, params.active(name), origin):
            tracking.mark_restored()
            if project.history(name).is_file():
                tracking.log_history(pd.read_csv(project.history(name)))
            pointer = tracking.log_trained(project.models, name, data, origin.data)
    digest = provenance.data_digest(project.lock)
    completion.log_evaluation(client, pointer, project.evaluation / name, data, digest)
    completion.log_explanation(client, pointer, project.interpretation(name))
    completion.log_overview(client, pointer, [project.genre_examples_plot, project.risk_coverage_plot])
    completion.log_checks(client, pointer, project.data_checks)
    pointer.write(project.mlflow_ref(name))
    return pointer


def decide(project: ProjectPaths, params: Params, data: SpectrogramStore) -> GateResult:
    """Choose a model and judge it by its files; ``gate.json`` says what came of it, the same wherever it runs: without
    the store's ids, what this machine measures and how the registry's champion does.
    """
    summary, reports = project.data_checks, project.evaluation
    judged = gate.judge_files(
        (*params.networks, ENSEMBLE), reports, summary, project.models, data, params.registry.gate, params.seed
    )
    values = {"model": judged.candidate.name, "criteria": [asdict(c) for c in judged.criteria], "notes": judged.notes}
    project.gate.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return judged


def judge_here(
    client: MlflowClient,
    project: ProjectPaths,
    params: Params,
    data: SpectrogramStore,
    judged: GateResult,
    folder: Path,
) -> GateResult:
    """Add what needs the packed model at work, this machine, its audio, and the registry's champion."""
    name, asked = params.registry.name, params.registry.gate
    known = registry.find_version(client, name, packed.digest(folder))
    criteria, notes = list(judged.criteria), list(judged.notes)

    difference = registry.measured(known, gate.FEATURES)
    if difference is None:
        difference, missing = compare_features(project, data, packed.read_manifest(folder))
        notes += [missing] if missing else []
    criteria += [] if difference is None else [gate.features_criterion(difference, asked)]

    latency = registry.measured(known, gate.LATENCY)
    if latency is None:
        latency = gate.latency_ms(ModelBundle(folder), data.split("validation").read(np.arange(1)))
    criteria.append(gate.latency_criterion(latency, asked))

    compared, note = compare_champion(client, name, known, data, judged.candidate, folder, params)
    return GateResult(judged.candidate, [*criteria, *compared], [*notes, note])


def compare_features(
    project: ProjectPaths, data: SpectrogramStore, packing: BundleManifest
) -> tuple[float | None, str | None]:
    """How far the packed model's features of some validation clips lie from the stored ones, in dB; or why that cannot
    be said.
    """
    if packing.transform is None:
        return None, "features: the model was trained on ready spectrograms and hears no audio"
    clips = data.split("validation")
    chosen = np.unique(np.linspace(0, len(clips) - 1, gate.LISTENED).astype(int))
    paths = pd.read_parquet(project.tracks).set_index("track_id")["path"].loc[clips.track_id[chosen]]
    audio = [project.raw / path for path in paths]
    if not all(path.is_file() for path in audio):
        return None, f"features: not compared, {project.raw.name} holds no audio here; `dvc pull data/raw` brings it"
    return gate.feature_difference(packing.transform, audio, clips.read(chosen)), None


def compare_champion(
    client: MlflowClient,
    name: str,
    known: ModelVersion | None,
    data: SpectrogramStore,
    chosen: Candidate,
    folder: Path,
    params: Params,
) -> tuple[list[Criterion], str]:
    """The champion's answers to the same clips against the candidate's; no criterion, and why, where that says
    nothing.
    """
    number = registry.champion(client, name)
    if number is None:
        return [], "champion: there is none to compare with"
    if known is not None and str(known.version) == number:
        return [], "champion: this very model"
    try:
        rival = registry.packed_folder(client.get_model_version(name, number))
        reason = gate.incomparable(packed.read_manifest(rival), packed.read_manifest(folder))
    except (MusicGenreError, FileNotFoundError) as lost:
        reason = f"its files cannot be read ({' '.join(str(lost).split())[:200]})"
    if reason is not None:
        return [], f"champion: not compared with version {number}: {reason}"
    clips = data.split("validation")
    answers = ModelBundle(rival).predict_split(clips)
    theirs = evaluation.predictions(clips.track_id, clips.label, answers, data.genres)
    low, high = gate.paired_difference(chosen.predictions, theirs, params.seed)
    note = f"champion: macro-F1 lies {low:+.3f} to {high:+.3f} above that of version {number} on the same clips"
    return [gate.champion_criterion((low, high), params.registry.gate)], note


def describe(registration: Registration) -> str:
    """A screen for people."""
    lines = [f"{registration.name} version {registration.version}: {registration.model}, {registration.verdict}"]
    for criterion in registration.criteria:
        mark = "passed" if criterion.passed else "FAILED"
        value = f"{criterion.value:.3f}" if isinstance(criterion.value, float) else criterion.value
        lines.append(f"  {mark}  {criterion.name} {value}, asked for {criterion.threshold}")
    lines += [f"  {note}" for note in registration.notes]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
