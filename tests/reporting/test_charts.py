"""Charts and their data: every value is where it belongs, and no value breaks the page."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from music_genre.reporting.charts import MAP_SIZE, confusion_counts, genre_marks, learning_curves, scale_map
from music_genre.reporting.report_data import MAX_CELL_CLIPS, MAX_MAP_POINTS, ReportData, clips_to_hear

INF = float("inf")
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "loss": [4.0, 2.0, 0.0], "val_loss": [4.0, np.nan, INF]}).assign(
    accuracy=[0.0, 0.5, 1.0], val_accuracy=[0.25, 0.25, 0.25]
)


def test_curves_run_from_the_first_epoch_to_the_last() -> None:
    loss, accuracy = learning_curves(HISTORY)
    middle = (loss.left + loss.right) / 2, (loss.top + loss.bottom) / 2
    points = [tuple(map(float, point.split(","))) for point in loss.lines["training"].split()]
    assert points == [(loss.left, loss.top), middle, (loss.right, loss.bottom)]
    assert [tick.label for tick in accuracy.x] == ["1", "2", "3"]
    heights = {point.split(",")[1] for point in accuracy.lines["validation"].split()}
    assert len(heights) == 1


def test_losses_that_are_no_numbers_are_left_out() -> None:
    loss, _ = learning_curves(HISTORY)
    assert len(loss.lines["validation"].split()) == 1
    nothing = HISTORY.assign(loss=np.nan, val_loss=np.nan)
    assert learning_curves(nothing)[0].lines == {"training": "", "validation": ""}


def test_model_without_epochs_has_no_curves() -> None:
    assert learning_curves(HISTORY.head(1)) == []


def test_map_fills_its_square_with_y_upwards() -> None:
    points = scale_map(np.array([[0.0, 0.0], [10.0, 5.0], [5.0, 5.0]]))
    assert points.min() > 0
    assert points.max() < MAP_SIZE
    assert points[0, 1] > points[1, 1]
    assert np.isfinite(scale_map(np.zeros((3, 2)))).all()


def test_forty_eight_genres_have_marks_of_their_own() -> None:
    marks = genre_marks([str(number) for number in range(48)])
    assert len(set(marks.values())) == 48


def test_confusion_counts_have_actual_genres_in_rows() -> None:
    predictions = pd.DataFrame({"actual": ["a", "a", "b"], "predicted": ["b", "b", "b"]})
    assert confusion_counts(predictions, ["a", "b"]) == [[0, 2], [0, 1]]


def test_data_are_bounded_whatever_the_collection_holds() -> None:
    n = 3000
    predictions = pd.DataFrame(
        {"track_id": range(n), "actual": "a", "predicted": "b", "confidence": np.linspace(0, 1, n)}
    )
    data = ReportData(["a", "b"], {}, {})
    data.add_cells("crnn", predictions)
    assert [data.clips[i]["id"] for i in data.cells["crnn"]["0,1"]] == [*range(n - 1, n - 1 - MAX_CELL_CLIPS, -1)]
    names = ("principal components x", "principal components y", "t-SNE x", "t-SNE y")
    embedding = pd.DataFrame({"track_id": range(n), **dict.fromkeys(names, np.arange(n))})
    data.add_map("crnn", embedding, predictions)
    assert len(data.maps["crnn"]) == MAX_MAP_POINTS
    assert len({clip["id"] for clip in data.clips}) == len(data.clips)


def test_history_without_numbers_is_null_in_the_data() -> None:
    data = ReportData([], {}, {})
    data.add_history("crnn", HISTORY)
    assert json.loads(data.to_json())["histories"]["crnn"]["val_loss"] == [4.0, None, None]
    assert not re.search("NaN|Infinity", data.to_json())


def test_errors_are_heard_first_and_then_a_genre_after_the_other() -> None:
    table = pd.DataFrame(
        {"track_id": [1, 2, 3, 4, 5], "actual": ["a", "a", "a", "b", "b"], "predicted": ["a", "a", "b", "b", "b"]}
    )
    assert list(clips_to_hear([5], {"crnn": table})) == [5, 3, 1, 4, 2]


@pytest.mark.parametrize("title", [None, ""])
def test_clip_without_a_title_is_called_by_its_track(title: str | None) -> None:
    data = ReportData(["a"], {7: title} if title is not None else {}, {7: "data:audio/mpeg;base64,AAAA"})
    assert data.clips[data.clip(7, "a")]["title"] == "track 7"
