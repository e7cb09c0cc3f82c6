"""Train one model and log its run: ``models/<name>/``."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

from music_genre import models, training
from music_genre.features.store import INDEX, SpectrogramStore
from music_genre.models.params import NetworkParams
from music_genre.models.registry import Network, get_model
from music_genre.models.serialization import save_classifier, save_network
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.tracking.provenance import collect_provenance
from music_genre.tracking.runs import best_effort_run, connect
from music_genre.training.trainer import TrainingData, train_classifier, train_network


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    model, section = get_model(name), params.models[name]
    clips = TrainingData(
        data.split("training").subsample(section.train_fraction), data.split("validation"), len(data.genres)
    )
    # A server that does not answer is reported now, not after training.
    connect(project.root)
    provenance = collect_provenance(project.root, params.data.source, project.lock)
    with best_effort_run(name, params.active(name), provenance) as logger:
        start = time.monotonic()
        folder = project.models / name
        if isinstance(model, Network):
            unfinished = project.cache / "train" / name
            checkpoint_dir = unfinished / training_fingerprint(project, name, section, params.seed)
            network, history = train_network(name, model, section, clips, params.seed, logger.log_epoch, checkpoint_dir)
            save_network(network, folder / "model.keras")
            shutil.rmtree(unfinished)
        else:
            classifier, history = train_classifier(model, section, clips)
            save_classifier(classifier, folder / "model.skops")
            logger.log_epoch(history.iloc[0].to_dict())
        duration_s = time.monotonic() - start
        history.to_csv(project.history(name), index=False)
        logger.log_duration(duration_s)
        ref = logger.log_model(project.models, name, data, provenance.data_digest)
        if ref:
            ref.write(project.mlflow_ref(name))


def training_fingerprint(project: ProjectPaths, name: str, section: NetworkParams, seed: int) -> str:
    """A name that stands for everything that determines a training: params, seed, clips, code."""
    code = [path for package in (models, training) for path in Path(str(package.__file__)).parent.rglob("*.py")]
    total = hashlib.sha256(f"{name} {seed} {section.model_dump_json()}".encode())
    for file in (project.spectrograms / INDEX, *sorted(code)):
        total.update(file.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    main()
