"""Without audio there are no embeddings: models that are trained on them are left out, and their outs are there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from music_genre.errors import MusicGenreError
from music_genre.params import load_params
from music_genre.pipeline import embeddings, evaluate, interpret, train

STAGES = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture
def project(
    tmp_path: Path, write_params: Callable[[Path, dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Ready spectrograms, with the committed models."""
    write_params(tmp_path, {"data": {"source": "arrays", "arrays": {"path": "/arrays"}}})
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage", "transfer"])
    return tmp_path


def outs(stage: str) -> list[str]:
    """What the stage of model transfer must leave."""
    described = STAGES[stage].get("do", STAGES[stage])
    listed = [out for kind in ("outs", "metrics", "plots") for out in described.get(kind, ())]
    paths = [next(iter(out)) if isinstance(out, dict) else out for out in listed]
    return [path.replace("${key}", "transfer") for path in paths]


def test_every_stage_says_so_and_leaves_its_outs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "arrays has no audio: no embeddings"
    for stage in (embeddings, train, evaluate, interpret):
        stage.main()
        name = stage.__name__.rpartition(".")[2]
        assert said in capsys.readouterr().out
        assert [out for out in outs(name) if not (project / out).exists()] == []
        said = "transfer is left out" if stage is not evaluate else "was not trained"
    assert (project / "data/embeddings/musicnn").is_dir()


def test_it_is_not_trained_and_no_member(project: Path, write_params: Callable[[Path, dict[str, Any]], None]) -> None:
    params = load_params(project / "params.yaml")
    assert params.trained == ("baseline", "crnn", "parallel")
    source = {"source": "arrays", "arrays": {"path": "/arrays"}}
    write_params(project, {"data": source, "ensemble": {"members": ["crnn", "transfer"]}})
    with pytest.raises(MusicGenreError, match=r"ensemble\.members: transfer: choose from baseline, crnn, parallel"):
        load_params(project / "params.yaml")


def test_encoder_that_is_not_described_is_refused(
    project: Path, write_params: Callable[[Path, dict[str, Any]], None]
) -> None:
    write_params(project, {"models": {"transfer": {"input": "embeddings/other"}}})
    with pytest.raises(MusicGenreError, match=r"models\.transfer\.input: found 'other', the encoders are: musicnn"):
        load_params(project / "params.yaml")
