"""A store with one logged model that has no files, and a collection of which only the index exists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from music_genre.features.store import SpectrogramStore
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project's store; its experiment exists."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        runs.connect(root)
    return root


@pytest.fixture
def client(store: Path) -> MlflowClient:
    return runs.connect(store)


@pytest.fixture
def run(client: MlflowClient) -> RunRef:
    """A finished run with a logged model."""
    experiment_id = client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    run_id = client.create_run(experiment_id, run_name="crnn").info.run_id
    model_id = client.create_logged_model(experiment_id, "crnn", source_run_id=run_id).model_id
    client.finalize_logged_model(model_id, "READY")
    client.set_terminated(run_id)
    return RunRef(run_id, model_id)


@pytest.fixture
def data(tmp_path: Path) -> SpectrogramStore:
    """Three clips, one in each split."""
    index = pd.DataFrame({"track_id": [1, 2, 3], "split": ["training", "validation", "test"], "genre": "Rock"})
    return SpectrogramStore(tmp_path, index, ("Rock",), None, 1.0, 1)
