"""Later stages take the models' names from ``params.yaml``, never from the folders on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from music_genre.pipeline import calibrate, compare, gate, register


@pytest.mark.slow
def test_model_removed_from_params_is_left_out_though_its_files_stay(writable_checkout: Path) -> None:
    path = writable_checkout / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    del params["models"]["parallel"]
    params["ensemble"]["members"] = ["crnn"]
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for stage in (calibrate, compare, gate, register):
        stage.main()
    assert (writable_checkout / "models/parallel/model.keras").is_file()
    assert (writable_checkout / "data/predictions/parallel.npz").is_file()
    assert (writable_checkout / "reports/evaluation/parallel/metrics.json").is_file()
    comparison = pd.read_csv(writable_checkout / "reports/evaluation/comparison.csv")
    assert set(comparison["model"]) == {"baseline", "crnn", "ensemble"}
    by_model = pd.read_csv(writable_checkout / "reports/evaluation/ensemble/predictions_by_model.csv")
    assert "parallel" not in by_model.columns
    candidates = json.loads((writable_checkout / "reports/gate.json").read_text(encoding="utf-8"))["candidates"]
    assert {candidate["name"] for candidate in candidates} == {"baseline", "crnn", "ensemble"}
    registration = json.loads((writable_checkout / "reports/registration.json").read_text(encoding="utf-8"))
    assert registration["model"] in {"baseline", "crnn", "ensemble"}
