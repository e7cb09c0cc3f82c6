"""Train one model and log its run: ``models/<name>/``."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from music_genre import models as networks
from music_genre.features.store import INDEX, SpectrogramStore
from music_genre.models.serialization import save_baseline, save_network
from music_genre.params import NetworkParams, Params, load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.tracking import provenance
from music_genre.tracking import runs as tracking
from music_genre.training import augmentation
from music_genre.training import trainer as training

OnEpoch = Callable[[dict[str, float]], None]


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    # A server that does not answer is told now, not after training.
    tracking.connect(project.root)
    origin = provenance.origin(project.root, params.data.source, project.lock)
    with tracking.recorded_run(name, params.of_model(name), origin) as record:

        def log_epoch(row: dict[str, float]) -> None:
            record(lambda: tracking.log_epoch(row))

        start = time.monotonic()
        history = (train_baseline if name == "baseline" else train_network)(project, name, params, data, log_epoch)
        seconds = time.monotonic() - start
        history.to_csv(project.history(name), index=False)
        record(lambda: tracking.log_duration(seconds))
        record(lambda: tracking.log_trained(project.models, name, data, origin.data).write(project.pointer(name)))


def train_baseline(
    project: ProjectPaths, name: str, params: Params, data: SpectrogramStore, log_epoch: OnEpoch
) -> pd.DataFrame:
    """Fit the support-vector machine; its history is one row."""
    from music_genre.models import baseline

    settings = params.models.baseline
    learnt, held_out = data.split("training").part(settings.training_share), data.split("validation")
    statistics = baseline.statistics_of(learnt.batches(64), settings.features)
    machine = baseline.fit(statistics, learnt.label, settings)
    save_baseline(machine, project.model_file(name))
    row = training.single_epoch_history(
        machine.predict_proba(statistics),
        learnt.label,
        machine.predict_proba(baseline.statistics_of(held_out.batches(64), settings.features)),
        held_out.label,
    )
    log_epoch(row)
    return pd.DataFrame([row])


def train_network(
    project: ProjectPaths, name: str, params: Params, data: SpectrogramStore, log_epoch: OnEpoch
) -> pd.DataFrame:
    """Build and fit a network; each epoch is logged as it ends."""
    settings, classes = getattr(params.models, name), len(data.genres)
    learnt, held_out = data.split("training").part(settings.training_share), data.split("validation")
    unfinished = project.cache / "train" / name
    kept = unfinished / identity(project, name, settings, params.seed)
    model, history = training.train(name, learnt, held_out, classes, settings, params.seed, log_epoch, kept)
    save_network(model, project.model_file(name))
    shutil.rmtree(unfinished)
    return history


def identity(project: ProjectPaths, name: str, settings: NetworkParams, seed: int) -> str:
    """A name that stands for all that determines a training: params, seed, clips, code."""
    code = [Path(training.__file__), Path(augmentation.__file__), *sorted(Path(networks.__file__).parent.glob("*.py"))]
    total = hashlib.sha256(f"{name} {seed} {settings.model_dump_json()}".encode())
    for file in (project.spectrograms / INDEX, *code):
        total.update(file.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    main()
