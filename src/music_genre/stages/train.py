"""Train one model and log its run: ``models/<name>/``."""

from __future__ import annotations

import os
import sys

import pandas as pd

from music_genre import tracking
from music_genre.params import Params, load_params
from music_genre.project import Project
from music_genre.shards import Spectrograms
from music_genre.stages import stage
from music_genre.storage import save_baseline, save_network
from music_genre.training import one_epoch, train

MALLOC = ("hugetlb=1", "mmap_threshold=8589934592", "trim_threshold=8589934592")


@stage
def main(project: Project) -> None:
    name = sys.argv[1]
    params, data = load_params(project.params), Spectrograms.open(project.spectrograms)
    tracking.connect(project.root)
    with tracking.run(name, params.of_model(name), tracking.data_digest(project.lock)):
        history = (train_baseline if name == "baseline" else train_network)(project, name, params, data)
        history.to_csv(project.history(name), index=False)
        tracking.log_trained(project.models, name, data).write(project.pointer(name))


def train_baseline(project: Project, name: str, params: Params, data: Spectrograms) -> pd.DataFrame:
    """Fit the support-vector machine; its history is one row."""
    from music_genre.networks import baseline

    training = data.split("training").part(params.models.baseline.training_share)
    validation = data.split("validation")
    machine = baseline.fit(baseline.statistics_of(training.batches(64)), training.label, params.models.baseline)
    save_baseline(machine, project.model_file(name))
    row = one_epoch(
        machine.predict_proba(baseline.statistics_of(training.batches(64))),
        training.label,
        machine.predict_proba(baseline.statistics_of(validation.batches(64))),
        validation.label,
    )
    tracking.log_epoch(row)
    return pd.DataFrame([row])


def train_network(project: Project, name: str, params: Params, data: Spectrograms) -> pd.DataFrame:
    """Build and fit a network; each epoch is logged as it ends."""
    settings, classes = getattr(params.models, name), len(data.genres)
    training, validation = data.split("training").part(settings.training_share), data.split("validation")
    model, history = train(name, training, validation, classes, settings, params.seed, tracking.log_epoch)
    save_network(model, project.model_file(name))
    return history


def keep_freed_memory() -> None:
    """Start this process again with an allocator that keeps what it frees.

    glibc hands every large tensor back to the kernel and faults it in anew at the next step: more than half of a step
    of the parallel network. The settings are read when a process starts; other allocators ignore them.
    """
    if "GLIBC_TUNABLES" not in os.environ and sys.platform == "linux":
        os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{name}" for name in MALLOC)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the very command this process was started with


if __name__ == "__main__":
    keep_freed_memory()
    main()
