"""Two models on clips that are not all the same."""

from __future__ import annotations

import pandas as pd
import pytest

from music_genre.tracking.comparison import diff_genres, diff_metrics, paired_test


def predictions(clips: dict[int, tuple[str, str]], split: str = "validation") -> pd.DataFrame:
    """A table from (actual, predicted) by track_id."""
    rows = [(track_id, split, actual, predicted, 0.9) for track_id, (actual, predicted) in clips.items()]
    return pd.DataFrame(rows, columns=["track_id", "split", "actual", "predicted", "confidence"])


A = {1: ("Rock", "Rock"), 2: ("Rock", "Folk"), 3: ("Folk", "Folk"), 4: ("Folk", "Folk")}


def test_clips_of_one_model_alone_and_of_another_label_are_left_out() -> None:
    b = {5: ("Rock", "Rock"), 4: ("Rock", "Rock"), 3: ("Folk", "Rock"), 2: ("Rock", "Rock"), 1: ("Rock", "Rock")}
    test, notes = paired_test(predictions(A), predictions(b))
    assert test is not None
    assert (test.n_clips, test.a_only, test.b_only, test.p_value) == (3, 1, 1, 1.0)
    assert notes == [
        "other clips: A predicted 4 of validation, B 5; 4 are in both, and the paired test is on these",
        "clips with another label in B, which the paired test leaves out: 1",
    ]


def test_test_clips_take_no_part() -> None:
    both = [pd.concat([predictions(A), predictions({9: ("Rock", guess)}, "test")]) for guess in ("Rock", "Folk")]
    test, notes = paired_test(*both)
    assert test is not None
    assert (test.n_clips, test.a_only, test.b_only, notes) == (4, 0, 0, [])


def test_without_common_clips_there_is_no_test() -> None:
    test, notes = paired_test(predictions(A), predictions({9: ("Rock", "Rock")}))
    assert (test, notes[-1]) == (None, "without clips in common there is no paired test")


def test_genres_of_one_side_alone_come_last_and_equal_ones_not_at_all() -> None:
    a, b = (
        pd.DataFrame({"split": "validation", "genre": genres, "recall": recall, "support": 4}).astype({"genre": str})
        for genres, recall in ((["Folk", "Pop", "Rock"], [0.5, 0.5, 0.25]), (["Folk", "Jazz", "Rock"], [0.5, 1, 1]))
    )
    assert [(row.genre, row.difference) for row in diff_genres(a, b)] == [("Rock", 0.75), ("Jazz", None), ("Pop", None)]


def test_metric_of_one_side_has_no_difference() -> None:
    (accuracy, macro_f1) = diff_metrics({"accuracy": 0.5, "macro_f1": 0.5}, {"macro_f1": 0.75, "macro_f1_low": 0.7})
    assert (accuracy.name, accuracy.b, accuracy.difference) == ("accuracy", None, None)
    assert macro_f1.difference == pytest.approx(0.25)
