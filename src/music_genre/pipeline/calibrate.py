"""Calibrate each member on validation, average, calibrate the average, log the run: ``models/ensemble/``."""

from __future__ import annotations

import numpy as np

from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.models.bundle import ENSEMBLE, ModelBundle, Share, temporary_bundle, write_ensemble
from music_genre.models.ensemble import calibrate
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.tracking import provenance
from music_genre.tracking import runs as tracking


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    members, validation = params.ensemble.members, data.split("validation")
    answers = [predict(project, name, data, validation) for name in members]
    temperatures, temperature = calibrate(answers, validation.label)
    shares = [Share(name, 1 / len(members), own) for name, own in zip(members, temperatures, strict=True)]
    write_ensemble(project.models, shares, temperature, data.genres)
    for share in shares:
        print(f"{share.name}: weight {share.weight:.3f}, temperature {share.temperature:.3f}")
    print(f"average: temperature {temperature:.3f}")
    tracking.connect(project.root)
    origin = provenance.origin(project.root, params.data.source, project.lock)
    with tracking.recorded_run(ENSEMBLE, params.of_model(ENSEMBLE), origin) as record:
        record(
            lambda: tracking.log_trained(project.models, ENSEMBLE, data, origin.data).write(project.pointer(ENSEMBLE))
        )


def predict(project: ProjectPaths, name: str, data: SpectrogramStore, clips: MelDataset) -> np.ndarray:
    """(n, classes) probabilities of one member."""
    with temporary_bundle(project.models, name, data) as folder:
        return ModelBundle(folder).predict_split(clips)


if __name__ == "__main__":
    main()
