"""Average the members, which are calibrated, calibrate the average on validation, log the run: ``models/ensemble/``."""

from __future__ import annotations

import numpy as np

from music_genre.evaluation.results import ModelPredictions
from music_genre.features.store import SpectrogramStore
from music_genre.models.calibration import calibrate, read_temperature
from music_genre.models.ensemble import EnsembleMember, write_ensemble
from music_genre.models.registry import ENSEMBLE
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.tracking.provenance import collect_provenance
from music_genre.tracking.runs import best_effort_run, connect


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    names = params.ensemble.members
    probabilities = [ModelPredictions.read(project.predictions(name)).probabilities["validation"] for name in names]
    # Averages of calibrated models are underconfident.
    temperature = calibrate(np.mean(probabilities, axis=0), data.split("validation").label)
    members = [EnsembleMember(name, 1 / len(names), read_temperature(project.models / name)) for name in names]
    write_ensemble(project.models, members, temperature, data.genres)
    for member in members:
        print(f"{member.name}: weight {member.weight:.3f}, temperature {member.temperature:.3f}")
    print(f"average: temperature {temperature:.3f}")
    connect(project.root)
    provenance = collect_provenance(project.root, params.data.source_name, project.lock)
    with best_effort_run(ENSEMBLE, params.active(ENSEMBLE), provenance) as logger:
        ref = logger.log_model(project.models, ENSEMBLE, data, provenance.data_digest)
        if ref:
            ref.write(project.mlflow_ref(ENSEMBLE))


if __name__ == "__main__":
    main()
