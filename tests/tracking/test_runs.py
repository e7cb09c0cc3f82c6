"""The tracking store: what a run holds, how it is found again, and that it is never filled twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.validation import _validate_metric_name

from music_genre.features.store import SpectrogramStore
from music_genre.models import bundle as packed
from music_genre.params import load_params
from music_genre.tracking import runs as tracking
from music_genre.tracking.artifacts import log_evaluation, log_explanation, log_overview, metric_name
from music_genre.tracking.provenance import Origin, data_digest
from music_genre.tracking.runs import EXPERIMENT, RunRef, find, store_uri

ROOT = Path(__file__).parents[2]
DATA_DIGEST = "5d41402abc4b2a76b9719d911017c592.dir"
TRAINED = ("baseline", "crnn", "parallel")
FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "macro_f1",
    "log_loss",
    "ece",
    "macro_f1_low",
    "macro_f1_high",
    "brier",
)
IN_METRICS = {"Folk": "Folk", "R&B": "R_B", "Rock": "Rock"}


@pytest.fixture
def client(checkout: Path) -> MlflowClient:
    return tracking.connect(checkout)


@pytest.fixture
def runs(client: MlflowClient) -> dict[str, Run]:
    """Every run of the checkout's store, by name."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == len({run.info.run_name for run in found})
    return {run.info.run_name: run for run in found}


def pointer(folder: Path, name: str) -> RunRef:
    return RunRef(**json.loads((folder / f"reports/runs/{name}.json").read_text()))


def digest_of(folder: Path, name: str) -> str:
    with packed.temporary_bundle(
        folder / "models", name, SpectrogramStore.open(folder / "data/spectrograms")
    ) as packed_folder:
        return packed.digest(packed_folder)


def test_each_model_has_one_finished_run_of_its_name(runs: dict[str, Run]) -> None:
    assert set(runs) == {*TRAINED, "ensemble"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {name: run.data.tags["model"] for name, run in runs.items()} == {name: name for name in runs}


def test_the_store_is_the_projects_own(checkout: Path, client: MlflowClient, runs: dict[str, Run]) -> None:
    assert (checkout / "mlflow.db").is_file()
    assert not (checkout / "mlruns").exists()
    assert client.get_experiment_by_name(EXPERIMENT).artifact_location == (checkout / "mlartifacts").as_uri()


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_a_run_says_what_its_model_was_made_with(name: str, checkout: Path, runs: dict[str, Run]) -> None:
    wanted = tracking.flatten(load_params(checkout / "params.yaml").of_model(name))
    assert runs[name].data.params == {key: str(value) for key, value in wanted.items()}
    assert runs[name].data.params["seed"] == "7"
    assert runs[name].data.tags["data_digest"] == DATA_DIGEST


def test_parameters_of_networks_are_logged_as_they_were_set(runs: dict[str, Run]) -> None:
    logged = runs["crnn"].data.params
    assert (logged["epochs"], logged["batch_size"], logged["learning_rate"]) == ("2", "4", "0.01")
    assert runs["parallel"].data.params["reset_after"] == "True"


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("metric", ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"])
def test_every_epoch_is_a_step(name: str, metric: str, checkout: Path, client: MlflowClient) -> None:
    history = pd.read_csv(checkout / f"models/{name}/history.csv").dropna(axis="columns")
    assert len(history) == (1 if name == "baseline" else 2)
    logged = client.get_metric_history(pointer(checkout, name).run_id, metric)
    if metric not in history:
        assert (name, metric, logged) == ("baseline", "learning_rate", [])
        return
    assert [point.step for point in logged] == history["epoch"].tolist()
    assert [point.value for point in logged] == pytest.approx(history[metric].tolist())


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_metrics_have_the_names_that_people_rely_on(name: str, runs: dict[str, Run]) -> None:
    expected = {f"{split}_{figure}" for split in ("validation", "test") for figure in FIGURES}
    expected.add("validation_confident_from")
    expected |= {
        f"{split}_{figure}_{genre}"
        for split in ("validation", "test")
        for figure in ("f1", "recall", "precision")
        for genre in IN_METRICS.values()
    }
    if name != "ensemble":
        expected |= {"loss", "accuracy", "val_loss", "val_accuracy", "training_seconds"}
    if name not in ("ensemble", "baseline"):
        expected |= {"learning_rate"}
    assert {metric for metric in runs[name].data.metrics if not metric.startswith("system/")} == expected
    assert {"validation_accuracy", "test_accuracy", "test_macro_f1", "test_f1_Rock", "test_recall_R_B"} <= expected


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_metrics_are_what_the_reports_say(name: str, checkout: Path, runs: dict[str, Run]) -> None:
    reports, logged = checkout / "reports/evaluation" / name, runs[name].data.metrics
    for split, figures in json.loads((reports / "metrics.json").read_text()).items():
        assert {key: logged[f"{split}_{key}"] for key in figures} == pytest.approx(figures)
    for row in pd.read_csv(reports / "per_class.csv").to_dict("records"):
        for figure in ("f1", "recall", "precision"):
            assert logged[f"{row['split']}_{figure}_{IN_METRICS[row['genre']]}"] == pytest.approx(row[figure])


def test_figures_stand_at_the_model_too(checkout: Path, client: MlflowClient) -> None:
    model = client.get_logged_model(pointer(checkout, "crnn").model_id)
    figures = json.loads((checkout / "reports/evaluation/crnn/metrics.json").read_text())
    logged = {metric.key: metric.value for metric in model.metrics}
    assert logged["validation_accuracy"] == pytest.approx(figures["validation"]["accuracy"])
    assert logged["test_macro_f1"] == pytest.approx(figures["test"]["macro_f1"])


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_data_sets_are_listed_under_the_digest_that_dvc_knows(name: str, checkout: Path, runs: dict[str, Run]) -> None:
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet")
    listed = [entry.dataset for entry in runs[name].inputs.dataset_inputs]
    found = {dataset.name.removeprefix("spectrograms-"): dataset for dataset in listed}
    assert set(found) == {"training", "validation", "test"}
    for split, dataset in found.items():
        assert (dataset.name, dataset.digest) == (f"spectrograms-{split}", DATA_DIGEST)
        assert json.loads(dataset.profile)["num_rows"] == (index["split"] == split).sum()


def test_figures_at_the_model_name_the_data_set_they_are_of(checkout: Path, client: MlflowClient) -> None:
    model = client.get_logged_model(pointer(checkout, "parallel").model_id)
    named = {metric.key: metric.dataset_name for metric in model.metrics}
    assert named["validation_ece"] == "spectrograms-validation"
    assert named["test_f1_Rock"] == "spectrograms-test"


def test_a_run_is_described_and_tagged_for_those_who_browse(runs: dict[str, Run]) -> None:
    tags = runs["crnn"].data.tags
    assert (tags["model"], tags["recipe"], tags["data_source"]) == ("crnn", "published", "folder")
    assert tags["params_digest"] != runs["parallel"].data.tags["params_digest"]
    assert tags["mlflow.note.content"].startswith("**crnn**, recipe published, made from `folder`")
    assert "recipe" not in runs["ensemble"].data.tags
    assert runs["crnn"].data.metrics["training_seconds"] > 0


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_the_per_class_table_is_an_artifact(name: str, checkout: Path, client: MlflowClient) -> None:
    table = mlflow.load_table("per_class.json", run_ids=[pointer(checkout, name).run_id])
    expected = pd.read_csv(checkout / f"reports/evaluation/{name}/per_class.csv")
    # JSON has one kind of number: a column of whole ones comes back as such.
    pd.testing.assert_frame_equal(table[expected.columns.tolist()], expected, check_dtype=False)


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_tables_and_pictures_are_artifacts(name: str, checkout: Path, client: MlflowClient) -> None:
    run_id = pointer(checkout, name).run_id
    kept = {item.path for item in client.list_artifacts(run_id, "evaluation")}
    reports = checkout / "reports/evaluation" / name
    assert kept == {f"evaluation/{path.name}" for path in reports.iterdir()}
    pictures = {Path(item.path).stem for item in client.list_artifacts(run_id, "evaluation/pictures")}
    assert pictures >= {"confusion", "reliability", "mistakes"}
    assert ("learning" in pictures) == (name in ("crnn", "parallel"))
    picture = Path(client.download_artifacts(run_id, "evaluation/pictures/confusion.png")).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (reports / "pictures/confusion.png").read_bytes()
    assert [item.path for item in client.list_artifacts(run_id, "overview")] == ["overview/coverage.png"]


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_a_logged_model_has_a_signature_and_a_real_example(name: str, checkout: Path, client: MlflowClient) -> None:
    info = mlflow.models.get_model_info(f"models:/{pointer(checkout, name).model_id}")
    (given,), (taken) = info.signature.inputs.inputs, info.signature.outputs.inputs[0]
    assert (given.type, given.shape) == (np.dtype(np.float32), (-1, 64, 32))
    assert (taken.type, taken.shape) == (np.dtype(np.float32), (-1, 3))
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{pointer(checkout, name).model_id}"))
    example = mlflow.models.Model.load(folder).load_input_example(str(folder))
    clip = SpectrogramStore.open(checkout / "data/spectrograms").split("validation").read(np.arange(1))
    np.testing.assert_allclose(np.asarray(example), clip)


def test_a_logged_model_names_the_versions_it_needs_and_pickles_nothing(checkout: Path, client: MlflowClient) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{pointer(checkout, 'ensemble').model_id}"))
    wanted = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert {"keras", "librosa", "numpy", "soundfile"} <= wanted
    assert wanted & {"tensorflow", "tensorflow-cpu"}
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle"}]


@pytest.mark.parametrize("name", [*TRAINED, "ensemble"])
def test_a_run_is_found_by_the_digest_of_its_model(name: str, checkout: Path, client: MlflowClient) -> None:
    assert find(client, digest_of(checkout, name)) == pointer(checkout, name)


def test_a_model_that_was_never_logged_has_no_run(client: MlflowClient) -> None:
    assert find(client, "0" * 64) is None


def test_a_run_that_broke_off_is_failed_and_never_found(writable_checkout: Path) -> None:
    client = tracking.connect(writable_checkout)
    data = SpectrogramStore.open(writable_checkout / "data/spectrograms")
    (writable_checkout / "models/ensemble/ensemble.json").write_text(
        (writable_checkout / "models/ensemble/ensemble.json").read_text().replace("0.5", "0.25", 1)
    )

    class PowerCutError(Exception):
        pass

    with pytest.raises(PowerCutError), tracking.run("ensemble", {"seed": 1}, Origin("sample", "unknown")):
        tracking.log_trained(writable_checkout / "models", "ensemble", data, "unknown")
        raise PowerCutError
    assert mlflow.last_active_run().info.status == "FAILED"
    assert find(client, digest_of(writable_checkout, "ensemble")) is None


def test_an_evaluation_is_logged_once_and_again_when_it_changes(writable_checkout: Path) -> None:
    client, known = tracking.connect(writable_checkout), pointer(writable_checkout, "crnn")
    reports, data = (
        writable_checkout / "reports/evaluation/crnn",
        SpectrogramStore.open(writable_checkout / "data/spectrograms"),
    )

    def logged(metric: str) -> list[float]:
        return [point.value for point in client.get_metric_history(known.run_id, metric)]

    before = logged("test_macro_f1")
    assert len(before) == 1
    for _ in range(2):
        log_evaluation(client, known, reports, data, DATA_DIGEST)
    assert logged("test_macro_f1") == before
    metrics = json.loads((reports / "metrics.json").read_text())
    metrics["test"]["macro_f1"] = 0.125
    (reports / "metrics.json").write_text(json.dumps(metrics))
    for _ in range(2):
        log_evaluation(client, known, reports, data, DATA_DIGEST)
    assert logged("test_macro_f1") == [*before, 0.125]


def test_what_explains_a_model_lies_in_its_run_and_follows_changes(writable_checkout: Path) -> None:
    client, known, folder = (
        tracking.connect(writable_checkout),
        pointer(writable_checkout, "crnn"),
        writable_checkout / "reports/explain/crnn",
    )

    def logged() -> list[str]:
        return [artifact.path for artifact in client.list_artifacts(known.run_id, "explain")]

    log_explanation(client, known, folder)
    assert logged() == []
    folder.mkdir(parents=True)
    (folder / "saliency.png").write_bytes(b"a picture")
    log_explanation(client, known, folder)
    assert logged() == ["explain/saliency.png"]
    (folder / "filters.csv").write_text("layer,filter")
    log_explanation(client, known, folder)
    assert logged() == ["explain/filters.csv", "explain/saliency.png"]


def test_pictures_of_all_models_lie_in_every_run_and_follow_changes(writable_checkout: Path) -> None:
    client, known, drawn = (
        tracking.connect(writable_checkout),
        pointer(writable_checkout, "crnn"),
        writable_checkout / "genres.png",
    )
    drawn.write_bytes(b"before")
    for content in (b"before", b"after"):
        drawn.write_bytes(content)
        log_overview(client, known, [drawn, writable_checkout / "never_drawn.png"])
        assert Path(client.download_artifacts(known.run_id, "overview/genres.png")).read_bytes() == content


@pytest.mark.parametrize(
    ("genre", "name"),
    [
        ("Hip-Hop", "Hip-Hop"),
        ("Old-Time / Historic", "Old-Time _ Historic"),
        ("Easy Listening", "Easy Listening"),
        ("R&B", "R_B"),
        ("Soul-RnB", "Soul-RnB"),
        ("Drum'n'Bass", "Drum_n_Bass"),
        ("Forró", "Forró"),
        ("50%", "50_"),
    ],
)
def test_a_genre_keeps_its_name_in_metrics_as_far_as_mlflow_lets_it(genre: str, name: str) -> None:
    assert metric_name(genre) == name
    _validate_metric_name(f"test_f1_{metric_name(genre)}")


@pytest.mark.parametrize("genre", ["Rock/", "Rock//Pop", "Rock/./Pop", "Rock\n", "*"])
def test_no_genre_makes_a_name_that_mlflow_refuses(genre: str) -> None:
    _validate_metric_name(f"test_f1_{metric_name(genre)}")


def test_the_store_lies_at_the_projects_root(tmp_path: Path) -> None:
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_experiments_in_copies_share_the_store_at_dvcs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "origin"))
    assert store_uri(tmp_path / "copy") == f"sqlite:///{tmp_path}/origin/mlflow.db"


def test_a_tracking_server_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "origin"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_uri(tmp_path) == "http://127.0.0.1:5000"


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_uri(Path()) == f"sqlite:///{tmp_path}/mlflow.db"


def test_processes_that_meet_at_a_fresh_store_share_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from music_genre import tracking\n"
        "root, me = Path(sys.argv[1]), sys.argv[2]\n"
        "(root / f'ready{me}').touch()\n"
        "while len(list(root.glob('ready*'))) < 2: time.sleep(0.001)\n"
        "print(tracking.connect(root).get_experiment_by_name(tracking.EXPERIMENT).experiment_id)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    answers = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0], answers
    experiments = tracking.connect(tmp_path).search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    assert [experiment.artifact_location for experiment in experiments] == [(tmp_path / "mlartifacts").as_uri()]


def test_the_data_digest_is_dvcs(checkout: Path, tmp_path: Path) -> None:
    assert data_digest(checkout / "dvc.lock") == DATA_DIGEST
    lock = tmp_path / "dvc.lock"
    assert data_digest(lock) == "unknown"
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"fetch": {"cmd": "x"}}}))
    assert data_digest(lock) == "unknown"


def test_nested_values_get_dotted_names() -> None:
    assert tracking.flatten({"a": {"b": {"c": 1}, "d": (1, 2)}, "e": None}) == {"a.b.c": 1, "a.d": (1, 2), "e": None}
