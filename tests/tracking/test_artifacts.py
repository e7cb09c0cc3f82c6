"""What is added to a run after the evaluation: logged once, and again where it has changed."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from music_genre.features.store import SpectrogramStore
from music_genre.tracking.artifacts import (
    PER_CLASS_TABLE,
    log_card,
    log_data_checks,
    log_evaluation,
    log_interpretation,
    log_summary_plots,
    metric_names,
)
from music_genre.tracking.models import RunRef

DIGEST = "0123.dir"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """``reports/evaluation/<name>`` of a model."""
    folder = tmp_path / "evaluation"
    (folder / "plots").mkdir(parents=True)
    (folder / "plots/calibration.png").write_bytes(b"PNG")
    metrics = {"validation": {"accuracy": 0.75, "macro_f1": 0.5}, "test": {"accuracy": 0.5, "macro_f1": 0.25}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [(split, genre, 0.5, 0.25, 1 / 3, 4) for split in metrics for genre in ("R&B", "R+B", "Rock")]
    columns = ["split", "genre", "precision", "recall", "f1", "support"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "per_class.csv", index=False)
    return folder


def points(client: MlflowClient, run: RunRef, metric: str) -> list[float]:
    return [point.value for point in client.get_metric_history(run.run_id, metric)]


def paths(client: MlflowClient, run: RunRef, folder: str) -> list[str]:
    return [artifact.path for artifact in client.list_artifacts(run.run_id, folder)]


def test_evaluation_is_logged_once_and_again_where_it_has_changed(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    for _ in range(2):
        log_evaluation(client, run, reports, data, DIGEST)
    assert points(client, run, "test_macro_f1") == [0.25]
    metrics = json.loads((reports / "metrics.json").read_text())
    metrics["test"]["macro_f1"] = 0.125
    (reports / "metrics.json").write_text(json.dumps(metrics))
    for _ in range(2):
        log_evaluation(client, run, reports, data, DIGEST)
    assert points(client, run, "test_macro_f1") == [0.25, 0.125]
    assert points(client, run, "test_accuracy") == [0.5]


def test_metric_that_training_logged_gets_no_second_point(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    client.log_metric(run.run_id, "validation_accuracy", 0.75 + 1e-9)
    log_evaluation(client, run, reports, data, DIGEST)
    assert len(points(client, run, "validation_accuracy")) == 1


def test_genres_that_differ_in_one_symbol_have_metrics_of_their_own(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    log_evaluation(client, run, reports, data, DIGEST)
    recall = {m for m in client.get_run(run.run_id).data.metrics if m.startswith("test_recall_")}
    assert len(recall) == 3
    assert "test_recall_Rock" in recall


def test_per_class_table_is_replaced_where_it_has_changed(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    log_evaluation(client, run, reports, data, DIGEST)
    table = pd.read_csv(reports / "per_class.csv").assign(f1=0.75)
    table.to_csv(reports / "per_class.csv", index=False)
    log_evaluation(client, run, reports, data, DIGEST)
    logged = mlflow.load_table(PER_CLASS_TABLE, run_ids=[run.run_id])
    pd.testing.assert_frame_equal(logged, table)


def test_metrics_have_the_data_set_of_their_split(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    log_evaluation(client, run, reports, data, DIGEST)
    names = {metric.key: metric.dataset_name for metric in client.get_logged_model(run.model_id).metrics}
    assert names["validation_macro_f1"] == "spectrograms-validation"
    assert names["test_f1_Rock"] == "spectrograms-test"
    datasets = {entry.dataset.name: entry.dataset.digest for entry in client.get_run(run.run_id).inputs.dataset_inputs}
    assert datasets == {"spectrograms-validation": DIGEST, "spectrograms-test": DIGEST}


def test_plots_and_tables_are_artifacts(
    client: MlflowClient, run: RunRef, reports: Path, data: SpectrogramStore
) -> None:
    log_evaluation(client, run, reports, data, DIGEST)
    assert set(paths(client, run, "evaluation")) == {
        f"evaluation/{name}" for name in ("metrics.json", "per_class.csv", "per_class.json", "plots")
    }
    assert paths(client, run, "evaluation/plots") == ["evaluation/plots/calibration.png"]


def test_interpretation_is_logged_where_there_is_one_and_again_where_it_has_changed(
    client: MlflowClient, run: RunRef, tmp_path: Path
) -> None:
    folder = tmp_path / "interpretation"
    log_interpretation(client, run, folder)
    assert paths(client, run, "interpretation") == []
    folder.mkdir()
    (folder / "saliency.png").write_bytes(b"PNG")
    log_interpretation(client, run, folder)
    assert paths(client, run, "interpretation") == ["interpretation/saliency.png"]
    (folder / "filters.csv").write_text("layer,filter")
    log_interpretation(client, run, folder)
    assert paths(client, run, "interpretation") == ["interpretation/filters.csv", "interpretation/saliency.png"]


def test_summary_plots_that_exist_are_logged_and_again_where_they_have_changed(
    client: MlflowClient, run: RunRef, tmp_path: Path
) -> None:
    plot = tmp_path / "genre_examples.png"
    for content in (b"before", b"after"):
        plot.write_bytes(content)
        log_summary_plots(client, run, [plot, tmp_path / "missing.png"])
        logged = client.download_artifacts(run.run_id, "summary_plots/genre_examples.png")
        assert Path(logged).read_bytes() == content


@pytest.mark.parametrize(
    ("severities", "outcome"),
    [([], "all passed"), (["warning"], "1 warning"), (["warning", "critical", "warning"], "1 critical, 2 warning")],
)
def test_data_checks_are_a_tag(
    client: MlflowClient, run: RunRef, tmp_path: Path, severities: list[str], outcome: str
) -> None:
    failed = [{"severity": severity, "success": False} for severity in severities]
    suites = {"clips": {"expectations": [{"severity": "critical", "success": True}, *failed]}}
    (tmp_path / "summary.json").write_text(json.dumps({"success": not failed, "suites": suites}))
    log_data_checks(client, run, tmp_path / "summary.json")
    assert client.get_run(run.run_id).data.tags["data_checks"] == outcome
    assert paths(client, run, "data_quality") == ["data_quality/summary.json"]


def test_card_is_logged_as_markdown_and_html(client: MlflowClient, run: RunRef) -> None:
    for _ in range(2):
        log_card(client, run, "# card", "<h1>card</h1>")
    assert Path(client.download_artifacts(run.run_id, "model_card.md")).read_text() == "# card"
    assert Path(client.download_artifacts(run.run_id, "model_card.html")).read_text() == "<h1>card</h1>"


@pytest.mark.parametrize(
    ("genre", "name"),
    [
        ("Hip-Hop", "Hip-Hop"),
        ("Old-Time / Historic", "Old-Time _ Historic"),
        ("Easy Listening", "Easy Listening"),
        ("R&B", "R_B"),
        ("Drum'n'Bass", "Drum_n_Bass"),
        ("Forró", "Forró"),
        ("50%", "50_"),
    ],
)
def test_genre_keeps_its_name_in_metrics_as_far_as_mlflow_allows(genre: str, name: str) -> None:
    assert metric_names([genre, "Rock"])[genre] == name
    _validate_metric_name(f"test_f1_{name}")


@pytest.mark.parametrize("genre", ["Rock/", "Rock//Pop", "Rock/./Pop", "Rock\n", "*"])
def test_no_genre_makes_a_name_that_mlflow_refuses(genre: str) -> None:
    _validate_metric_name(f"test_f1_{metric_names([genre])[genre]}")


@pytest.mark.parametrize("genres", [("R&B", "R+B"), ("R&B", "R_B"), ("rock", "Rock"), ("*", "%", "!")])
def test_genres_never_share_a_name_in_metrics(genres: tuple[str, ...]) -> None:
    names = metric_names(genres)
    assert len({name.casefold() for name in names.values()}) == len(genres)
    assert names == metric_names(genres[::-1])
