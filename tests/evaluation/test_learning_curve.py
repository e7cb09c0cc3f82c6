"""The learning curve rises with labels where they help, on artists that no model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from music_genre.errors import MusicGenreError
from music_genre.evaluation.learning_curve import (
    FitPredict,
    Fold,
    LearningCurve,
    make_folds,
    measure,
    plot_learning_curve,
    resampled_accuracy,
    scarcest_genre,
)
from music_genre.evaluation.plots import save_figure
from music_genre.models import transfer
from music_genre.models.transfer import TransferParams

GENRES = ("Folk", "Pop", "Rock")
N_CLIPS, CLIPS_PER_ARTIST, DIMENSION = 180, 3, 24
TRANSFER = TransferParams(input="embeddings/any", train_fraction=1.0, C=(0.01, 0.1))
LABELS = np.arange(N_CLIPS) // CLIPS_PER_ARTIST % len(GENRES)
ARTISTS = np.arange(N_CLIPS) // CLIPS_PER_ARTIST


def embeddings(distance: float = 0.6) -> np.ndarray:
    """(n, 2, ``DIMENSION``): Gaussian clouds of the genres, in which artists sound a little like themselves."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, distance, (len(GENRES), DIMENSION))
    own = rng.normal(0, 0.3, (ARTISTS.max() + 1, DIMENSION))
    return (centres[LABELS] + own[ARTISTS])[:, np.newaxis] + rng.normal(0, 1, (N_CLIPS, 2, DIMENSION))


def fit_transfer(x: np.ndarray) -> FitPredict:
    def run(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        head = transfer.fit(x[train], LABELS[train], ARTISTS[train], len(GENRES), TRANSFER)
        return head.predict(x[held_out])

    return run


def folds(n_repeats: int = 1, seed: int = 0) -> list[Fold]:
    return make_folds(LABELS, ARTISTS, GENRES, n_repeats, seed)


@pytest.mark.slow
def test_accuracy_rises_with_size() -> None:
    curve = measure({"transfer": fit_transfer(embeddings())}, LABELS, ARTISTS, folds(2), [2, 8, 32])
    table = curve.table()
    assert table["size"].tolist() == [2, 8, 32]
    assert table["accuracy"].is_monotonic_increasing
    assert table["accuracy"].iloc[-1] > table["accuracy"].iloc[0] + 0.1
    assert ((table["low"] < table["accuracy"]) & (table["accuracy"] < table["high"])).all()
    gain, low, high = curve.gain("transfer")
    assert low <= gain <= high
    assert gain == pytest.approx(table["accuracy"].iloc[-1] - table["accuracy"].iloc[1])


@pytest.mark.slow
def test_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    models = {"transfer": fit_transfer(embeddings())}
    first, again, other = (measure(models, LABELS, ARTISTS, folds(seed=seed), [4]).table() for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_no_artist_is_held_out_and_trained_on_and_every_clip_is_held_out_once_a_repeat() -> None:
    dealt = folds(3)
    assert len(dealt) == 15
    for fold in dealt:
        assert not set(ARTISTS[fold.held_out]) & set(ARTISTS[fold.rest])
        assert sorted([*fold.held_out, *fold.rest]) == list(range(N_CLIPS))
    assert np.bincount(np.concatenate([fold.held_out for fold in dealt])).tolist() == [3] * N_CLIPS
    assert {tuple(fold.held_out) for fold in dealt[:5]} != {tuple(fold.held_out) for fold in dealt[5:10]}


def test_smaller_draw_is_part_of_every_larger_one() -> None:
    for fold in folds(2):
        draws = [fold.draw(size) for size in (1, 5, 20)]
        assert [np.bincount(LABELS[draw]).tolist() for draw in draws] == [[1] * 3, [5] * 3, [20] * 3]
        assert set(draws[0]) < set(draws[1]) < set(draws[2]) < set(fold.rest)


def test_scarcest_genre_limits_the_size() -> None:
    keep = (LABELS != 2) | (ARTISTS < 24)  # of Rock, 8 artists with 3 clips
    labels, artists = LABELS[keep], ARTISTS[keep]
    dealt = make_folds(labels, artists, GENRES, 2, 0)
    label, largest = scarcest_genre(labels, dealt, len(GENRES))
    assert GENRES[label] == "Rock"
    assert largest == min((labels[fold.rest] == 2).sum() for fold in dealt) == 18
    assert all(np.bincount(labels[fold.draw(largest)]).tolist() == [largest] * 3 for fold in dealt)


def test_there_are_as_many_folds_as_the_genre_with_the_fewest_artists_has() -> None:
    keep = (LABELS != 1) | (ARTISTS < 7)  # of Pop, artists 1 and 4
    assert len(make_folds(LABELS[keep], ARTISTS[keep], GENRES, 1, 0)) == 2
    keep = (LABELS != 1) | (ARTISTS < 4)
    with pytest.raises(MusicGenreError, match="Pop has fewer than two artists"):
        make_folds(LABELS[keep], ARTISTS[keep], GENRES, 1, 0)


def test_interval_counts_clips_of_an_artist_as_one_observation() -> None:
    correct = np.random.default_rng(0).random(20) < 0.5
    few, many = np.repeat(correct, 10)[np.newaxis].astype(float), np.arange(200)
    by_artist, by_clip = (resampled_accuracy(few, artists).std() for artists in (many // 10, many))
    assert by_artist == pytest.approx(0.5 / 20**0.5, rel=0.1)
    assert by_clip == pytest.approx(0.5 / 200**0.5, rel=0.1)


def test_gain_is_over_the_largest_size_of_at_most_half() -> None:
    halves = {(3, 5, 10, 15): 5, (10, 20, 40): 20, (10, 15): 10, (7,): 7}
    for sizes, half in halves.items():
        correct = {"a": np.zeros((len(sizes), 4)), "b": np.ones((len(sizes), 4))}
        curve = LearningCurve(sizes, correct, np.arange(4), {})
        assert sizes[curve.half] == half
        assert curve.best == "b"
        assert curve.gain("b") == (0.0, 0.0, 0.0)


def test_plot_has_a_line_a_model_over_the_sizes(tmp_path: Path) -> None:
    correct = {name: np.random.default_rng(0).random((3, 30)) for name in ("baseline", "transfer")}
    figure = plot_learning_curve(LearningCurve((3, 6, 12), correct, np.arange(30) // 2, {}).table(), "Learning curve")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["baseline", "transfer"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "6", "12"]
    save_figure(figure, tmp_path / "curve.png")
    assert imread(tmp_path / "curve.png").shape[:2] == (400, 600)
