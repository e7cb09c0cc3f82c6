"""Stage ``interpret`` writes what the report reads, and nothing about a model that is no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from music_genre.features.store import SpectrogramStore
from music_genre.interpretation.activations import load_network
from music_genre.interpretation.interpret_network import NetworkInterpretation, interpret_network
from music_genre.models.predictors import load_predictor
from music_genre.pipeline import interpret


@pytest.fixture(scope="module")
def result(trained_checkout: Path) -> NetworkInterpretation:
    data, file = SpectrogramStore.open(trained_checkout / "data/spectrograms"), "models/parallel/model.keras"
    predict = load_predictor(trained_checkout / file, "parallel").predict
    return interpret_network("parallel", load_network(trained_checkout / file), predict, data, seed=7)


@pytest.mark.slow
def test_filters_faithfulness_clusters_and_plots_are_written(result: NetworkInterpretation, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    interpret.write_interpretation(tmp_path, result)
    filters = pd.read_csv(tmp_path / "tables/filters.csv")
    assert filters.columns.tolist() == [
        *("layer", "filter", "real_mean", "real_std", "real_max", "eta_squared", "genre", "optimized")
    ]
    assert filters["layer"].value_counts().to_dict() == {"conv1": 16, "conv5": 24}
    faithfulness = pd.read_csv(tmp_path / "tables/faithfulness.csv")
    assert faithfulness.columns.tolist() == ["method", "clips", "drop_top", "drop_random", "win_rate"]
    assert faithfulness["method"].tolist() == ["integrated gradients", "occlusion"]
    clusters = json.loads((tmp_path / "tables/clusters.json").read_text(encoding="utf-8"))
    assert clusters.keys() == {"clusters", "adjusted_rand", "silhouette", "silhouette_of_genres"}
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {
        *("architecture", "filters_first", "filters_last", "feature_maps", "saliency", "embedding")
    }


def test_undefined_metrics_are_null(tmp_path: Path) -> None:
    clusters = {"clusters": 2, "adjusted_rand": 0.123456, "silhouette": None, "silhouette_of_genres": None}
    empty = pd.DataFrame({"method": []})
    result = NetworkInterpretation(empty, empty, clusters, empty, {})
    (tmp_path / "tables").mkdir()
    interpret.write_interpretation(tmp_path, result)
    expected = {"clusters": 2, "adjusted_rand": 0.1235, "silhouette": None, "silhouette_of_genres": None}
    assert json.loads((tmp_path / "tables/clusters.json").read_text(encoding="utf-8")) == expected


def test_folders_of_a_model_that_is_no_network_stay_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, describe_project: Callable[[Path], None]
) -> None:
    describe_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["interpret", "baseline"])
    interpret.main()
    folders = sorted((tmp_path / "reports/interpretation/baseline").rglob("*"))
    assert [folder.name for folder in folders] == ["plots", "tables"]
