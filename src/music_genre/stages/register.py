"""Complete every model's run, choose the best, judge it and put it into the registry: ``registration.json``.

Does nothing twice: what the tracking store and the registry have already is left as it is, what they lack is put back.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

import pandas as pd
from mlflow import MlflowClient

from music_genre import packed, registry, tracking
from music_genre.errors import MusicGenreError
from music_genre.params import Params, load_params
from music_genre.project import Project
from music_genre.registry import Candidate, Criterion
from music_genre.shards import Spectrograms
from music_genre.stages import stage
from music_genre.tracking import RunPointer


@dataclass(frozen=True)
class Registration:
    """``registration.json``."""

    name: str
    version: str
    model: str
    model_id: str
    verdict: str
    criteria: list[Criterion]


@stage
def main(project: Project) -> None:
    if os.environ.get("DVC_EXP_NAME"):
        decide(project, load_params(project.params))
        print("An experiment: nothing is registered. `dvc exp apply` and `music-genre register` register what it made.")
        return
    print(describe(register(project)))


def register(project: Project) -> Registration:
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
    project.registration.write_text(json.dumps(asdict(registration), indent=2) + "\n", encoding="utf-8")
    if registration.verdict == registry.REFUSED:
        raise MusicGenreError(f"the gate refused version {registration.version}\n{describe(registration)}")
    return registration


def _register(project: Project) -> Registration:
    params, data = load_params(project.params), Spectrograms.open(project.spectrograms)
    client = tracking.connect(project.root)
    pointers = {name: complete_run(client, project, name, params, data) for name in packed.NAMES}
    chosen, criteria = decide(project, params)
    with packed.packed_model(project.models, chosen.name, data) as folder:
        digest = packed.digest(folder)
    version = registry.register(client, params.registry.name, digest, pointers[chosen.name], chosen, criteria)
    return Registration(
        params.registry.name,
        str(version.version),
        chosen.name,
        pointers[chosen.name].model_id,
        version.tags["verdict"],
        criteria,
    )


def complete_run(client: MlflowClient, project: Project, name: str, params: Params, data: Spectrograms) -> RunPointer:
    """The run of a trained model, with its evaluation; made again from ``models/`` where the store lacks it."""
    with packed.packed_model(project.models, name, data) as folder:
        pointer = tracking.find(client, packed.digest(folder))
    if pointer is None:
        with tracking.run(name, params.of_model(name), tracking.data_digest(project.lock)):
            if project.history(name).is_file():
                tracking.log_history(pd.read_csv(project.history(name)))
            pointer = tracking.log_trained(project.models, name, data)
    tracking.log_evaluation(client, pointer, project.evaluation(name))
    tracking.log_checks(client, pointer, project.data_quality / "summary.json")
    pointer.write(project.pointer(name))
    return pointer


def candidate(project: Project, name: str) -> Candidate:
    """A model's figures on validation, with test for the record."""
    folder, comparison = project.evaluation(name), pd.read_csv(project.comparison)
    predictions = pd.read_csv(folder / "predictions.csv")
    return Candidate(
        name,
        int(comparison.loc[comparison["model"] == name, "parameters"].iloc[0]),
        json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        predictions[predictions["split"] == "validation"],
    )


def decide(project: Project, params: Params) -> tuple[Candidate, list[Criterion]]:
    """Choose a model and judge it; ``gate.json`` says what came of it without the store's ids, the same wherever it
    runs.
    """
    chosen = registry.choose([candidate(project, name) for name in registry.CANDIDATES], params.seed)
    quality = json.loads((project.data_quality / "summary.json").read_text(encoding="utf-8"))["success"]
    criteria = registry.judge(chosen, quality, params.registry.gate)
    values = {"model": chosen.name, "criteria": [asdict(criterion) for criterion in criteria]}
    project.gate.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return chosen, criteria


def describe(registration: Registration) -> str:
    """A screen for people."""
    lines = [f"{registration.name} version {registration.version}: {registration.model}, {registration.verdict}"]
    for criterion in registration.criteria:
        mark = "passed" if criterion.passed else "FAILED"
        value = f"{criterion.value:.3f}" if isinstance(criterion.value, float) else criterion.value
        lines.append(f"  {mark}  {criterion.name} {value}, asked for {criterion.threshold}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
