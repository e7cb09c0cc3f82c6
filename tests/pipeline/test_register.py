"""Stage ``register``: runs are completed, the selected model is registered, a lost store is filled again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from music_genre.errors import MusicGenreError
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.models.bundle import ModelBundle
from music_genre.models.packing import temporary_bundle
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import gate, register
from music_genre.registry.listing import list_versions
from music_genre.registry.versions import download_bundle, resolve
from music_genre.tracking import runs
from music_genre.tracking.models import RunRef

DATA_DIGEST = "5d41402abc4b2a76b9719d911017c592.dir"
TRAINED = ("baseline", "crnn", "parallel")
MODELS = (*TRAINED, "ensemble")
IN_METRICS = {"Folk": "Folk", "R&B": "R_B", "Rock": "Rock"}
PER_CLASS = ("f1", "recall", "precision")


@pytest.fixture
def client(checkout: Path) -> MlflowClient:
    return runs.connect(checkout)


@pytest.fixture
def run_of(client: MlflowClient) -> dict[str, Run]:
    """Every run of the checkout's store, by name."""
    return runs_by_name(client)


def runs_by_name(client: MlflowClient) -> dict[str, Run]:
    experiment = client.get_experiment_by_name(runs.EXPERIMENT)
    logged = client.search_runs([experiment.experiment_id])
    assert len(logged) == len({run.info.run_name for run in logged}), "a model has two runs"
    return {run.info.run_name: run for run in logged}


def ref_of(folder: Path, name: str) -> RunRef:
    return RunRef(**json.loads((folder / f"reports/runs/{name}.json").read_text()))


def read_registration(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "reports/registration.json").read_text())
    return values


def test_each_model_has_one_finished_run_of_its_name(run_of: dict[str, Run]) -> None:
    assert set(run_of) == set(MODELS)
    assert {run.info.status for run in run_of.values()} == {"FINISHED"}
    assert {name: run.data.tags["model"] for name, run in run_of.items()} == {name: name for name in MODELS}


def test_store_is_in_the_project(checkout: Path, client: MlflowClient) -> None:
    assert (checkout / "mlflow.db").is_file()
    assert not (checkout / "mlruns").exists()
    assert client.get_experiment_by_name(runs.EXPERIMENT).artifact_location == (checkout / "mlartifacts").as_uri()


@pytest.mark.parametrize("name", MODELS)
def test_run_has_the_params_of_the_active_recipe(name: str, checkout: Path, run_of: dict[str, Run]) -> None:
    active = runs.flatten(load_params(checkout / "params.yaml").active(name))
    assert run_of[name].data.params == {key: str(value) for key, value in active.items()}
    assert run_of[name].data.params["seed"] == "7"
    assert run_of[name].data.tags["data_digest"] == DATA_DIGEST


def test_run_of_the_published_recipe_has_no_param_of_the_improved_one(run_of: dict[str, Run]) -> None:
    params = run_of["parallel"].data.params
    assert (params["recipe"], params["epochs"], params["batch_size"], params["learning_rate"]) == (
        *("published", "2", "4", "0.01"),
    )
    assert params["reset_after"] == "True"
    assert not params.keys() & {"mixup", "dropout", "n_seeds", "weight_decay"}
    assert run_of["parallel"].data.tags["recipe"] == "published"
    assert "recipe" not in run_of["ensemble"].data.tags


@pytest.mark.parametrize("name", TRAINED)
def test_every_epoch_is_a_step(name: str, checkout: Path, client: MlflowClient) -> None:
    history = pd.read_csv(checkout / f"models/{name}/history.csv").dropna(axis="columns")
    assert len(history) == (1 if name == "baseline" else 2)
    for metric in history.columns.drop("epoch"):
        points = client.get_metric_history(ref_of(checkout, name).run_id, metric)
        assert [point.step for point in points] == history["epoch"].tolist()
        assert [point.value for point in points] == pytest.approx(history[metric].tolist())


@pytest.mark.parametrize("name", MODELS)
def test_run_has_each_metric_under_one_name(name: str, checkout: Path, run_of: dict[str, Run]) -> None:
    reports = checkout / "reports/evaluation" / name
    expected = {
        f"{split}_{metric}": value
        for split, metrics in json.loads((reports / "metrics.json").read_text()).items()
        for metric, value in metrics.items()
    }
    for row in pd.read_csv(reports / "per_class.csv").to_dict("records"):
        expected |= {f"{row['split']}_{metric}_{IN_METRICS[row['genre']]}": row[metric] for metric in PER_CLASS}
    assert expected.keys() >= {"validation_accuracy", "test_accuracy", "test_macro_f1", "test_f1_Rock"}
    logged = {key: value for key, value in run_of[name].data.metrics.items() if not key.startswith("system/")}
    assert {key: logged[key] for key in expected} == pytest.approx(expected)
    of_training = {"loss", "accuracy", "val_loss", "val_accuracy", "training_seconds"} if name in TRAINED else set()
    assert logged.keys() - expected.keys() - {"learning_rate"} == of_training


def test_final_metrics_have_one_point(client: MlflowClient, run_of: dict[str, Run]) -> None:
    for run in run_of.values():
        for metric in run.data.metrics:
            if metric.startswith(("validation_", "test_")):
                assert len(client.get_metric_history(run.info.run_id, metric)) == 1, metric


def test_logged_model_has_the_metrics_too(checkout: Path, client: MlflowClient) -> None:
    model = client.get_logged_model(ref_of(checkout, "crnn").model_id)
    metrics = json.loads((checkout / "reports/evaluation/crnn/metrics.json").read_text())
    logged = {metric.key: metric.value for metric in model.metrics}
    assert logged["validation_accuracy"] == pytest.approx(metrics["validation"]["accuracy"])
    assert logged["test_macro_f1"] == pytest.approx(metrics["test"]["macro_f1"])


@pytest.mark.parametrize("name", MODELS)
def test_run_has_the_data_sets_under_dvcs_digest(name: str, checkout: Path, run_of: dict[str, Run]) -> None:
    index = pd.read_parquet(checkout / "data/spectrograms/index.parquet")
    datasets = {entry.dataset.name: entry.dataset for entry in run_of[name].inputs.dataset_inputs}
    assert set(datasets) == {"spectrograms-training", "spectrograms-validation", "spectrograms-test"}
    for split in ("training", "validation", "test"):
        dataset = datasets[f"spectrograms-{split}"]
        assert dataset.digest == DATA_DIGEST
        assert json.loads(dataset.profile)["num_rows"] == (index["split"] == split).sum()


@pytest.mark.parametrize("name", MODELS)
def test_run_has_plots_and_tables_as_artifacts(name: str, checkout: Path, client: MlflowClient) -> None:
    run_id, reports = ref_of(checkout, name).run_id, checkout / "reports/evaluation" / name
    artifacts = {item.path for item in client.list_artifacts(run_id, "evaluation")}
    assert artifacts == {"evaluation/per_class.json", *(f"evaluation/{path.name}" for path in reports.iterdir())}
    plot = Path(client.download_artifacts(run_id, "evaluation/plots/confusion_matrix.png"))
    assert plot.read_bytes() == (reports / "plots/confusion_matrix.png").read_bytes()
    summary = [item.path for item in client.list_artifacts(run_id, "summary_plots")]
    assert summary == ["summary_plots/risk_coverage.png"]


@pytest.mark.parametrize("name", MODELS)
def test_logged_model_has_a_signature_and_a_real_input_example(name: str, checkout: Path, client: MlflowClient) -> None:
    uri = f"models:/{ref_of(checkout, name).model_id}"
    signature = mlflow.models.get_model_info(uri).signature
    (clips,), (probabilities,) = signature.inputs.inputs, signature.outputs.inputs
    assert (clips.type, clips.shape) == (np.dtype(np.float32), (-1, 64, 32))
    assert (probabilities.type, probabilities.shape) == (np.dtype(np.float32), (-1, 3))
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    example = mlflow.models.Model.load(folder).load_input_example(str(folder))
    clip = SpectrogramStore.open(checkout / "data/spectrograms").split("validation").read(np.arange(1))
    np.testing.assert_allclose(np.asarray(example), clip)


def test_logged_model_has_requirements_and_no_pickle(checkout: Path, client: MlflowClient) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{ref_of(checkout, 'ensemble').model_id}"))
    requirements = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert {"numpy", "onnxruntime", "soundfile"} <= requirements
    assert not requirements & {"keras", "tensorflow", "tensorflow-cpu"}
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle"}]


@pytest.mark.parametrize("name", MODELS)
def test_run_is_found_by_the_digest_of_the_models_bundle(name: str, checkout: Path, client: MlflowClient) -> None:
    with temporary_bundle(checkout / "models", name, SpectrogramStore.open(checkout / "data/spectrograms")) as bundle:
        assert runs.find_run(client, folder_sha256(bundle)) == ref_of(checkout, name)


def test_selected_model_is_registered_with_the_verdict(checkout: Path, client: MlflowClient) -> None:
    registration, verdict = read_registration(checkout), json.loads((checkout / "reports/gate.json").read_text())
    assert list(registration) == ["name", "version", "model", "model_id", "verdict", "criteria", "notes"]
    registered = json.loads((checkout / "reports/registered.json").read_text())
    assert registered == {"model": verdict["model"], "verdict": verdict["verdict"]}
    assert (registration["name"], registration["version"], registration["verdict"]) == ("music-genre", "1", "passed")
    assert (registration["model"], registration["model_id"]) == (
        verdict["model"],
        ref_of(checkout, verdict["model"]).model_id,
    )
    (listed,) = list_versions(client, "music-genre")
    assert (listed.model, listed.aliases) == (registration["model"], ["challenger", "champion"])
    metrics = json.loads((checkout / f"reports/evaluation/{listed.model}/metrics.json").read_text())
    assert listed.validation_macro_f1 == metrics["validation"]["macro_f1"]
    assert listed.test_macro_f1 == metrics["test"]["macro_f1"]


def test_checks_of_this_machine_and_the_registry_are_added_to_the_gates_criteria(checkout: Path) -> None:
    registration, verdict = read_registration(checkout), json.loads((checkout / "reports/gate.json").read_text())
    n_criteria = len(verdict["criteria"])
    assert registration["criteria"][:n_criteria] == verdict["criteria"]
    assert [criterion["name"] for criterion in registration["criteria"][n_criteria:]] == ["max_latency_ms"]
    assert registration["notes"] == [*verdict["notes"], "champion: there is none to compare with"]


def test_version_is_described_by_the_models_card(checkout: Path, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("music-genre", "champion")
    assert version.description.startswith(f"# music-genre: {version.tags['model']}\n")
    assert version.tags["model_digest"] in version.description
    card = Path(client.download_artifacts(version.run_id, "model_card.md")).read_text()
    assert version.description in card
    assert "<table>" in Path(client.download_artifacts(version.run_id, "model_card.html")).read_text()


def test_registered_model_predicts_as_the_bundle_does(checkout: Path, client: MlflowClient) -> None:
    data = SpectrogramStore.open(checkout / "data/spectrograms")
    clips = data.split("test").read(np.arange(6))
    model = mlflow.pyfunc.load_model("models:/music-genre@champion")
    probabilities = model.predict(clips)
    assert (probabilities.shape, probabilities.dtype) == ((6, 3), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    with temporary_bundle(checkout / "models", read_registration(checkout)["model"], data) as bundle:
        np.testing.assert_allclose(probabilities, ModelBundle(bundle).predict({SPECTROGRAMS: clips}), atol=1e-5)
        downloaded = download_bundle(resolve(client, "music-genre", "champion"))
        assert folder_sha256(downloaded) == folder_sha256(bundle)
    for shape in ((2, 32, 64), (2, 64, 31), (64, 32)):
        with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
            model.predict(np.zeros(shape, np.float32))


def test_lost_runs_are_restored_without_training(checkout: Path, recovered_checkout: Path) -> None:
    for path in (checkout / "models").rglob("model.*"):
        assert (recovered_checkout / path.relative_to(checkout)).read_bytes() == path.read_bytes()
    before, after = (runs_by_name(runs.connect(folder)) for folder in isolated(checkout, recovered_checkout))
    assert set(after) == set(before) == set(MODELS)
    for name, run in after.items():
        assert run.info.status == "FINISHED"
        assert run.info.run_id != before[name].info.run_id
        assert restorable(run) == pytest.approx(restorable(before[name]))
        assert run.data.params == before[name].data.params
        assert run.data.tags["data_digest"] == before[name].data.tags["data_digest"]
        assert ref_of(recovered_checkout, name).run_id == run.info.run_id


def isolated(*folders: Path) -> Any:
    """The folders, one after the other; what MLflow has set for one is unset before the next."""
    for folder in folders:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield folder


def restorable(run: Run) -> dict[str, float]:
    """The metrics of a run that follow from files."""
    return {
        name: value
        for name, value in run.data.metrics.items()
        if name != "training_seconds" and not name.startswith("system/")
    }


@pytest.mark.parametrize("name", ["crnn", "parallel"])
def test_epochs_of_a_lost_run_are_restored(name: str, checkout: Path, recovered_checkout: Path) -> None:
    client, run_id = runs.connect(recovered_checkout), ref_of(recovered_checkout, name).run_id
    history = pd.read_csv(checkout / f"models/{name}/history.csv")
    for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        points = client.get_metric_history(run_id, metric)
        assert [point.step for point in points] == history["epoch"].tolist()
        assert [point.value for point in points] == pytest.approx(history[metric].tolist())


def test_lost_registry_is_restored(checkout: Path, recovered_checkout: Path) -> None:
    (listed,) = list_versions(runs.connect(recovered_checkout), "music-genre")
    before, after = read_registration(checkout), read_registration(recovered_checkout)
    assert (listed.version, listed.model, listed.verdict) == ("1", before["model"], "passed")
    assert listed.aliases == ["challenger", "champion"]
    for key in ("name", "version", "model", "verdict", "notes"):
        assert after[key] == before[key]
    printed = (recovered_checkout / "register.txt").read_text().splitlines()
    assert printed[-1] == f"music-genre version 1: {before['model']}, passed by the gate"


def test_restored_model_predicts_as_before(checkout: Path, recovered_checkout: Path) -> None:
    clips = SpectrogramStore.open(checkout / "data/spectrograms").split("test").read(np.arange(6))
    predictions = []
    for folder in isolated(checkout, recovered_checkout):
        runs.connect(folder)
        predictions.append(mlflow.pyfunc.load_model("models:/music-genre@champion").predict(clips))
    np.testing.assert_array_equal(*predictions)


def set_gate(folder: Path, **thresholds: float) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["registry"]["gate"] |= thresholds
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_refusal_is_the_stages_last_line_and_no_failure(
    writable_checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_gate(writable_checkout, max_size_mb=0.001)
    gate.main()
    register.main()
    model = read_registration(writable_checkout)["model"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"music-genre version 1: {model}, refused by the gate"
    assert any(line.startswith("  FAILED  size of the model in MB ") for line in printed)
    assert read_registration(writable_checkout)["verdict"] == "refused"
    (listed,) = list_versions(runs.connect(writable_checkout), "music-genre")
    assert (listed.verdict, listed.failed) == ("refused", ["max_size_mb"])


def test_model_that_is_too_slow_here_is_refused(writable_checkout: Path) -> None:
    runs.connect(writable_checkout).delete_registered_model("music-genre")
    set_gate(writable_checkout, max_latency_ms=0.001)
    registration = register.register_selected(ProjectPaths(writable_checkout))
    assert (registration.verdict, registration.version) == ("refused", "1")
    assert json.loads((writable_checkout / "reports/gate.json").read_text())["verdict"] == "passed"


def test_gate_json_of_another_evaluation_is_not_registered(writable_checkout: Path) -> None:
    metrics = writable_checkout / "reports/evaluation/crnn/metrics.json"
    values = json.loads(metrics.read_text())
    values["validation"]["macro_f1"] += 0.1
    metrics.write_text(json.dumps(values))
    with pytest.raises(MusicGenreError, match="`dvc repro gate` makes it again"):
        register.register_selected(ProjectPaths(writable_checkout))


def test_experiment_is_not_registered(
    writable_checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = runs.connect(writable_checkout)
    client.delete_registered_model("music-genre")
    (writable_checkout / "reports/registration.json").unlink()
    shutil.rmtree(writable_checkout / "reports/runs")
    monkeypatch.setenv("DVC_EXP_NAME", "sweep-1")
    register.main()
    assert "An experiment is not registered: `dvc exp apply`" in capsys.readouterr().out
    assert list_versions(client, "music-genre") == []
    registration = read_registration(writable_checkout)
    assert (registration["version"], registration["model_id"], registration["verdict"]) == (None, None, "passed")
    # DVC requires the stage's output.
    assert (writable_checkout / "reports/registered.json").is_file()
