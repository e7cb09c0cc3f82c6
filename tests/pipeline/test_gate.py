"""Stage ``gate``: the verdict follows from the files of the other stages alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from music_genre.pipeline import gate


@pytest.fixture
def copy(trained_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stage reads, in another folder, which is the working directory."""
    folder = tmp_path / "copy"
    left_out = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "runs", ".cache", "gate.json")
    shutil.copytree(trained_checkout, folder, ignore=left_out)
    monkeypatch.chdir(folder)
    return folder


def read(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "reports/gate.json").read_text())
    return values


def test_gate_json_has_the_verdict_its_criteria_and_all_candidates(trained_checkout: Path) -> None:
    values = read(trained_checkout)
    assert list(values) == ["model", "verdict", "candidates", "criteria", "notes"]
    assert values["verdict"] == "passed"
    judged = {criterion["name"]: criterion["passed"] for criterion in values["criteria"]}
    judged.pop("max_macro_f1_below_baseline", None)  # only of other models
    assert judged == {
        "min_macro_f1": True,
        "min_class_recall": True,
        "max_ece": True,
        "data_quality": True,
        "max_size_mb": True,
        "max_export_difference_ppm": True,
        "max_feature_skew_db": True,
    }
    assert all(list(criterion)[:4] == ["name", "value", "threshold", "passed"] for criterion in values["criteria"])
    metrics = json.loads((trained_checkout / f"reports/evaluation/{values['model']}/metrics.json").read_text())
    assert values["criteria"][0]["value"] == round(metrics["validation"]["macro_f1"], 4)


def test_models_answer_in_onnx_as_they_were_trained(trained_checkout: Path) -> None:
    differences = {
        candidate["name"]: criterion["value"]
        for candidate in read(trained_checkout)["candidates"]
        for criterion in candidate["criteria"]
        if criterion["name"] == "max_export_difference_ppm"
    }
    assert differences.keys() == {"baseline", "crnn", "parallel", "ensemble"}
    assert max(differences.values()) <= 2


def test_every_model_is_a_candidate(trained_checkout: Path) -> None:
    names = {candidate["name"] for candidate in read(trained_checkout)["candidates"]}
    assert names == {"baseline", "crnn", "parallel", "ensemble"}


def test_gate_json_has_the_same_bytes_in_another_folder(trained_checkout: Path, copy: Path) -> None:
    gate.main()
    assert (copy / "reports/gate.json").read_bytes() == (trained_checkout / "reports/gate.json").read_bytes()


def test_note_says_that_feature_skew_was_not_measured_without_audio(trained_checkout: Path, copy: Path) -> None:
    shutil.rmtree(copy / "data/audio")
    gate.main()
    values = read(copy)
    assert "max_feature_skew_db" not in {criterion["name"] for criterion in values["criteria"]}
    note = "feature skew: not measured, data/audio has no audio here; `dvc pull data/audio` fetches it"
    assert values["notes"] == [*read(trained_checkout)["notes"], note]


def test_refusal_is_printed_and_no_failure_of_the_stage(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = copy / "reports/data_quality/summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"success": False}))
    gate.main()
    assert read(copy)["verdict"] == "refused"
    assert f"gate: {read(copy)['model']} refused" in capsys.readouterr().out
