"""Models on the same clips: who is right where, and what is confused with what."""

from __future__ import annotations

import pandas as pd
import pytest

from music_genre.evaluation.model_comparison import agreement, agreement_by_genre, join_predictions, top_confusions

PREDICTED = {
    "crnn": ["Folk", "Rock", "Rock", "Folk"],
    "parallel": ["Folk", "Folk", "Folk", "Folk"],
    "ensemble": ["Folk", "Folk", "Rock", "Folk"],
}


@pytest.fixture
def joined() -> pd.DataFrame:
    """Four test clips with the predictions of three models."""
    clips = {"track_id": [1, 2, 3, 4], "split": "test", "actual": ["Folk", "Folk", "Rock", "Rock"]}
    confidence = [0.9, 0.8, 0.7, 0.6]
    return join_predictions(
        {name: pd.DataFrame({**clips, "predicted": p, "confidence": confidence}) for name, p in PREDICTED.items()}
    )


def test_clips_that_one_model_alone_gets_right_are_counted(joined: pd.DataFrame) -> None:
    assert agreement(joined, "crnn", "parallel").tolist() == ["both", "parallel only", "crnn only", "neither"]
    table = agreement_by_genre(joined, "crnn", "parallel", "ensemble").set_index("genre")
    columns = ["both", "parallel_only", "ensemble_gain", "recovered", "broken"]
    assert table.loc["Folk", columns].tolist() == [1, 1, 0, 1, 0]
    assert table.loc["Rock", ["crnn_only", "neither", "ensemble", "ensemble_gain"]].tolist() == [1, 1, 1, 0]


def test_confusions_are_ranked(joined: pd.DataFrame) -> None:
    assert top_confusions(joined, "parallel").loc[0].tolist() == ["Rock", "Folk", 2, 1.0]


def test_model_without_errors_has_no_confusions(joined: pd.DataFrame) -> None:
    table = top_confusions(joined.assign(crnn=joined["actual"]), "crnn")
    assert table.empty
    assert list(table) == ["actual", "predicted", "clips", "fraction"]
