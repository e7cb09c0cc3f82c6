"""Artifacts of runs and examples of logged models lose a recording; versions that know it are told from others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from music_genre.forgetting.recording import Recording
from music_genre.forgetting.runs import RunArtifacts, version_notes
from music_genre.tracking import runs

CLIP = np.random.default_rng(0).normal(-40, 10, (5, 3)).astype(np.float16)
PREDICTIONS = "track_id,split,actual,predicted,confidence\n7,test,Rock,Pop,0.5\n77,test,Pop,Pop,0.25\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return runs.connect(store)


def add_run(client: MlflowClient, digest: str, table: str = "") -> str:
    """A run whose data have a digest, with artifacts as stage ``register`` logs them."""
    experiment = client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    run_id: str = client.create_run(experiment, tags={"data_digest": digest}).info.run_id
    for name in ("evaluation/plots/top_errors.png", "interpretation/plots/filters_first.png"):
        client.log_text(run_id, "picture", name)
    client.log_text(run_id, table or "track_id,split\n1,test\n", "evaluation/predictions.csv")
    ids = [line.partition(",")[0] for line in table.splitlines()[1:]]
    client.log_text(run_id, "\n".join(["track_id,t-SNE x", *(f"{i},1.5" for i in ids)]), "interpretation/embedding.csv")
    return run_id


def artifact(client: MlflowClient, run_id: str, name: str) -> Path:
    return Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / name


def forget(client: MlflowClient, recording: Recording) -> None:
    for holder in RunArtifacts(client, recording, [CLIP]).holders():
        holder.remove()


def test_rows_go_and_plots_of_clips_of_runs_that_know_the_recording(client: MlflowClient) -> None:
    named, trained, other = (add_run(client, *run) for run in (("a", PREDICTIONS), ("b",), ("c",)))
    client.delete_run(named)  # its artifacts stay
    forget(client, Recording("7", 7, splits={"b": "training"}))
    assert artifact(client, named, "evaluation/predictions.csv").read_text().splitlines()[1:] == [
        "77,test,Pop,Pop,0.25"
    ]
    embedding = artifact(client, named, "interpretation/embedding.csv")
    assert embedding.read_text().splitlines()[1:] == ["77,1.5"]
    kept = {run: artifact(client, run, "evaluation/plots/top_errors.png").exists() for run in (named, trained, other)}
    assert kept == {named: False, trained: False, other: True}
    assert all(artifact(client, run, "interpretation/plots/filters_first.png").exists() for run in kept)
    assert list(RunArtifacts(client, Recording("7", 7), [CLIP]).holders()) == []


@pytest.mark.parametrize(
    ("example", "goes"),
    [
        (CLIP[None].tolist(), True),
        ({"inputs": CLIP[None].tolist()}, True),
        ({"spectrograms": CLIP[None].tolist(), "musicnn": [[[0.0]]]}, True),
        ((CLIP[None] + 1).tolist(), False),
        (CLIP[None, 1:].tolist(), False),
        ({"other": "text"}, False),
        ([["ragged"], [1, 2]], False),
    ],
)
def test_example_goes_where_it_is_the_recording(client: MlflowClient, example: object, goes: bool) -> None:
    experiment = client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    model = client.create_logged_model(experiment, "crnn", source_run_id=add_run(client, "a"))
    file = Path(model.artifact_location.removeprefix("file://")) / "input_example.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(example), encoding="utf-8")
    forget(client, Recording("7", 7))
    assert file.exists() != goes


def test_versions_are_told_by_what_they_know(client: MlflowClient) -> None:
    client.create_registered_model("music-genre")
    for digest in ("trained", "tested", "clean", "lost"):
        client.create_model_version("music-genre", "file:///nowhere", run_id=add_run(client, digest))
    client.create_model_version("music-genre", "file:///nowhere")  # by hand
    recording = Recording("7", 7, splits={"trained": "training", "tested": "test"})
    versions = version_notes(client, "music-genre", recording, {"trained", "tested", "clean"})
    assert versions == {"training": ["1"], "test": ["2"], "unknown": ["5", "4"]}


def test_artifacts_on_a_server_are_named(tmp_path: Path) -> None:
    client = runs.connect(tmp_path)
    experiment = client.get_experiment_by_name(runs.EXPERIMENT)
    assert RunArtifacts(client, Recording("7", 7), []).remote_uris() == []
    client.rename_experiment(experiment.experiment_id, "former")
    moved = client.create_experiment(runs.EXPERIMENT, artifact_location="s3://bucket/artifacts")
    client.create_run(moved)
    artifacts = RunArtifacts(client, Recording("7", 7), [])
    assert artifacts.remote_uris() == ["s3://bucket/artifacts"]
    assert list(artifacts.holders()) == []
