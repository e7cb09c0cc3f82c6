"""Evaluations of made-up models, and a store with one logged model, for tests of the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

from music_genre.evaluation.metrics import macro_f1_ci
from music_genre.evaluation.results import ModelResult
from music_genre.registry.params import GateParams
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef

GENRES = ("Folk", "R&B", "Rock")
N_CLIPS = 120


@pytest.fixture(scope="session")
def gate_params() -> GateParams:
    return GateParams(
        min_macro_f1=0.3,
        min_class_recall=0.0,
        max_ece=0.2,
        max_macro_f1_below_baseline=0.0,
        max_macro_f1_drop=0.0,
        max_feature_skew_db=0.5,
        max_export_difference_ppm=10,
        max_size_mb=50,
        max_latency_ms=300,
    )


@pytest.fixture(scope="session")
def make_result() -> Callable[..., ModelResult]:
    """Makes the evaluation of a model that predicts the validation clips at ``wrong`` incorrectly."""

    def make(
        name: str,
        n_parameters: int = 1,
        wrong: Sequence[int] = (),
        macro_f1: float | None = None,
        log_loss: float = 1.0,
        n_clips: int = N_CLIPS,
    ) -> ModelResult:
        genres, clips = np.array(GENRES), np.arange(n_clips)
        actual = genres[clips % 3]
        predicted = np.where(np.isin(clips, wrong), genres[(clips + 1) % 3], actual)
        table = pd.DataFrame(
            {"track_id": clips, "split": "validation", "actual": actual, "predicted": predicted, "confidence": 0.9}
        )
        recall = recall_score(actual, predicted, labels=GENRES, average=None)
        per_class = pd.DataFrame({"split": "validation", "genre": GENRES, "recall": recall, "support": n_clips // 3})
        value = f1_score(actual, predicted, average="macro") if macro_f1 is None else macro_f1
        interval = macro_f1_ci(np.searchsorted(genres, actual), np.searchsorted(genres, predicted))
        low, high = interval if macro_f1 is None else (macro_f1, macro_f1)
        validation = {"macro_f1": float(value), "macro_f1_low": low, "macro_f1_high": high}
        metrics = {
            "validation": validation | {"ece": 0.1, "log_loss": log_loss},
            "test": {"macro_f1": float(value) / 2},
        }
        # Shuffled, because clips are matched by track_id and not by their order.
        return ModelResult(name, n_parameters, metrics, per_class, table.sample(frac=1, random_state=n_parameters))

    return make


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRef]:
    """The root of a store, and a finished run in it with a logged model that has no files."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        client = runs.connect(root)
        experiment_id = client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
        run_id = client.create_run(experiment_id, run_name="crnn").info.run_id
        model_id = client.create_logged_model(experiment_id, "crnn", source_run_id=run_id).model_id
        client.finalize_logged_model(model_id, "READY")
        client.set_terminated(run_id)
    return root, RunRef(run_id, model_id)
