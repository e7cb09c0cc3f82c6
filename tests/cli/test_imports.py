"""What the processes of commands load: no more than they need, and what they print beside it: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from music_genre.compute import IN_PROCESS_CLIPS
from processes import run


def test_prediction_loads_what_answers_and_nothing_else(onnx_project: Path, song_wav: Path) -> None:
    code, out, err, loaded = run(onnx_project, "predict", song_wav, "--json", "--timeline")
    assert (code, err) == (0, "")
    assert sum(json.loads(out)["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert loaded == {"numpy", "scipy", "onnxruntime", "soundfile"}


@pytest.mark.slow
def test_prediction_of_many_files_prints_predictions_alone(onnx_project: Path, song_wav: Path, tmp_path: Path) -> None:
    for number in range(IN_PROCESS_CLIPS + 1):
        (tmp_path / f"{number:02}.wav").symlink_to(song_wav)
    code, out, err, loaded = run(onnx_project, "predict", tmp_path)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == IN_PROCESS_CLIPS + 1
    assert "distributed" in loaded


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_versions_are_listed_without_any_of_them(onnx_project: Path, options: tuple[str, ...]) -> None:
    code, out, err, loaded = run(onnx_project, "versions", *options)
    assert (code, err, loaded) == (0, "", set())
    assert "champion" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("predict", "nothere.mp3"), "nothere.mp3: missing: no such file"),
        (("predict", "made", "nothere.mp3"), "nothere.mp3: missing: no such file"),
        (("predict", "params.yaml", "--model", "7"), "music-genre has no version 7"),
        (("predict", "params.yaml", "--model", "challenger"), "music-genre has no challenger"),
        (("predict", "params.yaml", "--output", "nowhere/a.csv"), "nowhere is not a folder"),
        (("predict", "--input-arrays", "a.npz", "--output", "a.csv"), "a.npz: no such file"),
        (("explain", "nothere.mp3"), "nothere.mp3: missing: no such file"),
        (("explain", "params.yaml", "--model", "7"), "music-genre has no version 7"),
        (("promote", "--version", "7"), "music-genre has no version 7"),
        (("drift", "--log", "nowhere"), "nowhere is not a folder"),
        (("predict", "params.yaml", "--model", "sing"), "no model 'sing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_before_libraries_load(
    onnx_project: Path, arguments: tuple[str, ...], reason: str
) -> None:
    code, out, err, loaded = run(onnx_project, *arguments)
    assert (code in (1, 3), out) == (True, "")
    assert reason in err.splitlines()[-1]
    assert loaded == set()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("visualize-filters", "sing", "conv1"), "no network 'sing'; there are crnn, parallel"),
        (("visualize-filters", "crnn", "conv1"), "holds no spectrograms"),
        (("predict", "params.yaml", "--model", "crnn"), "holds no spectrograms"),
        (("explain", "params.yaml", "--model", "crnn"), "holds no spectrograms"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_trained_is_said_before_a_network_loads(
    onnx_project: Path, arguments: tuple[str, ...], reason: str
) -> None:
    code, out, err, loaded = run(onnx_project, *arguments)
    assert (code, out) == (1, "")
    assert reason in err.splitlines()[-1]
    assert loaded.isdisjoint({"tensorflow", "keras", "sklearn", "mlflow", "matplotlib", "onnxruntime"})
