"""Average the members' probabilities, fit one temperature on validation, log the run: ``models/ensemble/``."""

from __future__ import annotations

import numpy as np

from music_genre import tracking
from music_genre.networks.ensemble import average, fit_temperature
from music_genre.packed import ENSEMBLE, PackedModel, packed_model, write_ensemble
from music_genre.params import load_params
from music_genre.project import Project
from music_genre.shards import Spectrograms, SplitArrays
from music_genre.stages import stage


@stage
def main(project: Project) -> None:
    params, data = load_params(project.params), Spectrograms.open(project.spectrograms)
    members, validation = params.ensemble.members, data.split("validation")
    weights = np.full(len(members), 1 / len(members))
    answers = np.stack([predict(project, name, data, validation) for name in members])
    temperature = fit_temperature(average(answers, weights), validation.label)
    write_ensemble(project.models, members, weights.tolist(), temperature, data.genres)
    print(f"{' + '.join(members)}, temperature {temperature:.3f}")
    tracking.connect(project.root)
    with tracking.run(ENSEMBLE, params.of_model(ENSEMBLE), tracking.data_digest(project.lock)):
        tracking.log_trained(project.models, ENSEMBLE, data).write(project.pointer(ENSEMBLE))


def predict(project: Project, name: str, data: Spectrograms, clips: SplitArrays) -> np.ndarray:
    """(n, classes) probabilities of one member."""
    with packed_model(project.models, name, data) as folder:
        return PackedModel(folder).predict_split(clips)


if __name__ == "__main__":
    main()
