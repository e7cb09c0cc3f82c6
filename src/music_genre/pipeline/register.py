"""Complete every model's run and register the model that the gate selected: ``reports/registration.json``.

What the tracking store and the registry have is left alone; what they lack is added again from ``models/`` and
``reports/``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from music_genre.errors import MusicGenreError
from music_genre.evaluation.results import ModelResult, read_result
from music_genre.features.store import SpectrogramStore
from music_genre.files import atomic_write_text, folder_sha256, read_csv
from music_genre.models.packing import temporary_bundle
from music_genre.params import Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.pipeline._inputs import local_recordings, read_encoder_tags
from music_genre.registry import PASSED
from music_genre.registry.checks import RegistryChecks, complete_gate
from music_genre.registry.criteria import Criterion
from music_genre.registry.gate import GateResult, read_gate
from music_genre.registry.versions import register, registry_lock
from music_genre.reporting.model_card import (
    build_context,
    join_clips,
    render_card,
    render_card_page,
    version_description,
)
from music_genre.tracking import artifacts, runs
from music_genre.tracking.artifacts import RunFiles
from music_genre.tracking.models import RunRef
from music_genre.tracking.provenance import GIT_COMMIT_TAG, GIT_DIRTY_TAG, collect_provenance


@dataclass(frozen=True)
class Registration:
    """``reports/registration.json``.

    Args:
        name: of the registered model.
        version: its number; None where nothing was registered.
        model: name of the model.
        model_id: of MLflow's logged model; None where nothing was registered.
        verdict: ``passed`` or ``refused``.
        criteria: the gate's, and those of the checks on this machine and against the champion.
        notes: what the criteria leave out.
    """

    name: str
    version: str | None
    model: str
    model_id: str | None
    verdict: str
    criteria: Sequence[Criterion]
    notes: Sequence[str]

    def __str__(self) -> str:
        criteria, notes = (f"  {criterion}" for criterion in self.criteria), (f"  note: {note}" for note in self.notes)
        registered = "not registered" if self.version is None else f"version {self.version}"
        return "\n".join([*criteria, *notes, f"{self.name} {registered}: {self.model}, {self.verdict} by the gate"])

    def write(self, path: Path) -> None:
        """Store as JSON."""
        values = asdict(self) | {"criteria": [criterion.to_dict() for criterion in self.criteria]}
        atomic_write_text(path, json.dumps(values, indent=2) + "\n")


def read_registration(path: Path) -> Registration:
    """What ``Registration.write`` stored.

    Raises:
        FileNotFoundError: there is no such file.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    return Registration(**values | {"criteria": [Criterion(**criterion) for criterion in values["criteria"]]})


@stage
def main(project: ProjectPaths) -> None:
    if os.environ.get("DVC_EXP_NAME"):
        skip_registration(project)
    else:
        print(register_selected(project))
    gate = read_gate(project.gate)
    # `registration.json` names versions and measures this machine. As an out it would change dvc.lock in every clone.
    atomic_write_text(project.registered, json.dumps({"model": gate.model, "verdict": gate.verdict}) + "\n")


def skip_registration(project: ProjectPaths) -> None:
    """Write the ``registration.json`` of an experiment, which has the gate's verdict and no version."""
    gate, name = read_gate(project.gate), load_params(project.params).registry.name
    Registration(name, None, gate.model, None, gate.verdict, gate.criteria, gate.notes).write(project.registration)
    print(
        f"{gate}\nAn experiment is not registered: `dvc exp apply` takes it over, then `music-genre register`"
        " registers its model."
    )


def register_selected(project: ProjectPaths) -> Registration:
    """Register the model that ``reports/gate.json`` names, with its verdict, and write ``reports/registration.json``.

    A model that the gate refused is registered without an alias.

    Raises:
        MusicGenreError: a file that the stages make is missing or older than another.
    """
    try:
        registration = _register_selected(project)
    except FileNotFoundError as missing:
        raise MusicGenreError(
            f"{missing.filename} is missing: `dvc repro` makes it, `dvc pull` fetches it"
        ) from missing
    registration.write(project.registration)
    return registration


def _register_selected(project: ProjectPaths) -> Registration:
    params, data, gate = (
        load_params(project.params),
        SpectrogramStore.open(project.spectrograms),
        read_gate(project.gate),
    )
    results = {name: read_result(project.evaluation, name) for name in params.model_names}
    if not gate.is_of(list(results.values())):
        raise MusicGenreError(f"{project.gate} is older than {project.evaluation}: `dvc repro gate` makes it again")
    client = runs.connect(project.root)
    with registry_lock(project.root):
        refs = {name: complete_run(client, project, name, params, data) for name in params.model_names}
        checks = RegistryChecks(client, params.registry, params.seed, data, local_recordings(project))
        completed = check_candidates(project, gate, checks, data)
        ref, result = refs[completed.model], results[completed.model]
        with temporary_bundle(project.models, completed.model, data) as bundle:
            digest = folder_sha256(bundle)
            card = render_run_card(client, project, params, data, result, bundle, ref)
        artifacts.log_card(client, ref, card, render_card_page(card, f"{params.registry.name}: {completed.model}"))
        description = version_description(card)
        name, source = params.registry.name, params.data.source_name
        version = register(client, name, digest, ref, result, completed, data.genres, description, source)
    return Registration(
        params.registry.name,
        str(version.version),
        completed.model,
        ref.model_id,
        completed.verdict,
        completed.criteria,
        completed.notes,
    )


def check_candidates(
    project: ProjectPaths, gate: GateResult, checks: RegistryChecks, data: SpectrogramStore
) -> GateResult:
    """The gate's result for the first candidate that passes here, too; where none does, for the selected one."""
    selected = next(candidate for candidate in gate.candidates if candidate.name == gate.model)
    refused: list[GateResult] = []
    for candidate in gate.passing or [selected]:
        with temporary_bundle(project.models, candidate.name, data) as bundle:
            criteria, notes = checks.run(bundle)
        tried = [f"{one.model} was tried first and fails {', '.join(one.failed)} here" for one in refused]
        completed = complete_gate(gate, candidate, criteria, [*tried, *notes])
        if completed.verdict == PASSED:
            return completed
        refused.append(completed)
    return refused[0]


def complete_run(
    client: MlflowClient, project: ProjectPaths, name: str, params: Params, data: SpectrogramStore
) -> RunRef:
    """The run of a trained model, with the files of its reports; created from ``models/`` where the store lacks it."""
    provenance = collect_provenance(project.root, params.data.source_name, project.lock)
    with temporary_bundle(project.models, name, data) as bundle:
        ref = runs.find_run(client, folder_sha256(bundle))
    if ref is None:
        history = read_csv(project.history(name)) if project.history(name).is_file() else None
        ref = runs.restore_run(project.models, name, params.active(name), provenance, data, history)
    files = RunFiles(
        evaluation=project.evaluation / name,
        interpretation=project.interpretation(name),
        summary_plots=[project.genre_examples_plot, project.risk_coverage_plot],
        data_checks=project.data_checks,
    )
    artifacts.log_artifacts(client, ref, files, data, provenance.data_digest)
    ref.write(project.mlflow_ref(name))
    return ref


def render_run_card(
    client: MlflowClient,
    project: ProjectPaths,
    params: Params,
    data: SpectrogramStore,
    result: ModelResult,
    bundle: Path,
    ref: RunRef,
) -> str:
    """The model's card, with what its run knows, in Markdown."""
    clips, tags = join_clips(data.index, pd.read_parquet(project.tracks)), client.get_run(ref.run_id).data.tags
    if GIT_DIRTY_TAG not in tags:
        # The project is outside git: MLflow has noted the commit of the installed package, which makes no model again.
        tags.pop(GIT_COMMIT_TAG, None)
    encoder_tags = read_encoder_tags(project, params.members_of(result.name))
    context = build_context(params.registry.name, result, bundle, clips, tags, ref.run_id, encoder_tags)
    return render_card(context)


if __name__ == "__main__":
    main()
