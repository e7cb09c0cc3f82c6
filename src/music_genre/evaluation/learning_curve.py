"""The learning curve: accuracy on held-out artists against the number of labelled clips."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from music_genre.errors import MusicGenreError
from music_genre.evaluation.metrics import N_BOOTSTRAP, expected_calibration_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_FOLDS = 5  # at most
N_CALIBRATION_DRAWS = 500
ALL = sys.maxsize  # a size: every clip of the training folds, in the numbers that the genres have

# From the positions of clips to train on, and of clips to predict, to (n, classes) probabilities of the latter.
FitPredict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Fold:
    """A part of the clips that is predicted, and what a model may be trained on for it.

    Args:
        held_out: (n,) positions of the clips to predict.
        rest: (m,) positions of the clips of all other artists.
        rank: (m,) place of each of ``rest`` in a random order of its genre's, from 0.
    """

    held_out: np.ndarray
    rest: np.ndarray
    rank: np.ndarray

    def draw(self, size: int) -> np.ndarray:
        """(size * classes,) positions of ``size`` clips a genre; a smaller draw is part of every larger one."""
        return np.sort(self.rest[self.rank < size])


class Calibration(NamedTuple):
    """How far confidence is from accuracy, beside what chance alone gives on as few clips.

    Args:
        ece: expected calibration error.
        low, high: its 95 % interval where every answer is right as often as it says.
    """

    ece: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """What was measured.

    Args:
        sizes: clips a genre, ascending.
        correct: by model, (sizes, n) fraction of the repeats in which a clip was predicted correctly.
        artists: (n,) equal for clips of one artist.
        calibration: by model, at the largest size, over all repeats.
    """

    sizes: tuple[int, ...]
    correct: Mapping[str, np.ndarray]
    artists: np.ndarray
    calibration: Mapping[str, Calibration]

    def table(self) -> pd.DataFrame:
        """Columns model, size, accuracy, low, high: the mean over the repeats of the accuracy on all clips, each
        predicted while its artist was held out, and its 95 % interval.

        The interval is of the percentile bootstrap over artists: as many artists as there are are drawn with
        replacement, each with all its clips, ``N_BOOTSTRAP`` times. So clips of one artist count as one observation. It
        tells how accurate the same models would be on clips of other such artists.
        """
        rows = []
        for name, correct in self.correct.items():
            low, high = np.percentile(resampled_accuracy(correct, self.artists), (2.5, 97.5), axis=0)
            columns = zip(self.sizes, correct.mean(axis=1), low, high, strict=True)
            rows += [(name, size, *map(float, numbers)) for size, *numbers in columns]
        return pd.DataFrame(rows, columns=["model", "size", "accuracy", "low", "high"])

    @property
    def best(self) -> str:
        """The model that is most accurate at the largest size."""
        return max(self.correct, key=lambda name: self.correct[name][-1].mean())

    @property
    def half(self) -> int:
        """Position of the largest size that is at most half of the last one; 0 where there is none."""
        return max((number for number, size in enumerate(self.sizes) if 2 * size <= self.sizes[-1]), default=0)

    def gain(self, name: str) -> tuple[float, float, float]:
        """How much more accurate a model is at the last size than at ``half``, and the 95 % interval of that: of the
        same draws of artists as in ``table``.
        """
        difference = self.correct[name][-1] - self.correct[name][self.half]
        low, high = np.percentile(resampled_accuracy(difference[np.newaxis], self.artists), (2.5, 97.5))
        return float(difference.mean()), float(low), float(high)


def make_folds(labels: np.ndarray, artists: np.ndarray, genres: Sequence[str], n_repeats: int, seed: int) -> list[Fold]:
    """Deal all clips to folds by artist, ``n_repeats`` times, and order for each fold what may be trained on.

    There are ``N_FOLDS``, or as many as the genre with the fewest artists has.

    Args:
        labels: (n,) int64 positions in ``genres``.
        artists: (n,) equal for clips of one artist.
        genres: in label order.
        n_repeats: deals.
        seed: of deals and orders.

    Raises:
        MusicGenreError: a genre has fewer than two artists.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    n_artists = [len(np.unique(artists[labels == label])) for label in range(len(genres))]
    if min(n_artists) < 2:
        poorest = genres[int(np.argmin(n_artists))]
        raise MusicGenreError(f"{poorest} has fewer than two artists outside test, so that none can be held out")
    folds = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng((seed, repeat))
        deal = StratifiedGroupKFold(min(N_FOLDS, *n_artists), shuffle=True, random_state=int(rng.integers(2**31)))
        for rest, held_out in deal.split(labels, labels, artists):
            order = rng.permutation(rest)
            rank = pd.Series(order).groupby(labels[order]).cumcount().to_numpy()
            folds.append(Fold(held_out, order, rank))
    return folds


def scarcest_genre(labels: np.ndarray, folds: Sequence[Fold], n_classes: int) -> tuple[int, int]:
    """The label with the fewest clips to train on in some fold, and their number: the largest size there is."""
    counts = np.min([np.bincount(labels[fold.rest], minlength=n_classes) for fold in folds], axis=0)
    return int(counts.argmin()), int(counts.min())


def measure(
    models: Mapping[str, FitPredict],
    labels: np.ndarray,
    artists: np.ndarray,
    folds: Sequence[Fold],
    sizes: Sequence[int],
) -> LearningCurve:
    """Train every model on every size in every fold.

    Args:
        models: by name.
        labels: (n,) int64.
        artists: (n,) equal for clips of one artist.
        folds: ``make_folds``.
        sizes: clips a genre, ascending, none above that of ``scarcest_genre`` but ``ALL``.
    """
    correct = {name: np.zeros((len(sizes), len(labels))) for name in models}
    largest: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in models}
    n_repeats = sum(len(fold.held_out) for fold in folds) // len(labels)
    runs = list(product(folds, enumerate(sizes), models.items()))
    for fold, (number, size), (name, fit_predict) in tqdm(runs, desc="Training on more and more clips", unit="model"):
        probabilities = fit_predict(fold.draw(size), fold.held_out)
        correct[name][number, fold.held_out] += (probabilities.argmax(axis=1) == labels[fold.held_out]) / n_repeats
        if size == sizes[-1]:
            largest[name].append((fold.held_out, probabilities))
    answers = {name: map(np.concatenate, zip(*parts, strict=True)) for name, parts in largest.items()}
    calibration = {name: measure_calibration(labels, *of_model) for name, of_model in answers.items()}
    return LearningCurve(tuple(sizes), correct, artists, calibration)


def measure_calibration(labels: np.ndarray, positions: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """The calibration error of answers, several of which may be about one clip.

    Args:
        labels: (n,) int64 of all clips.
        positions: (m,) the clip that an answer is about.
        probabilities: (m, classes).
    """
    cumulated, rng = np.cumsum(probabilities, axis=1), np.random.default_rng(0)
    drawn = [  # labels as the answers say they are spread; one random number a clip, for all answers about it
        (cumulated < cumulated[:, -1:] * rng.random(len(labels))[positions, np.newaxis]).sum(axis=1)
        for _ in range(N_CALIBRATION_DRAWS)
    ]
    by_chance = [expected_calibration_error(truth, probabilities) for truth in drawn]
    low, high = np.percentile(by_chance, (2.5, 97.5))
    return Calibration(expected_calibration_error(labels[positions], probabilities), float(low), float(high))


def resampled_accuracy(values: np.ndarray, artists: np.ndarray) -> np.ndarray:
    """(``N_BOOTSTRAP``, m) means over clips of (m, n) values, each over as many artists as there are, drawn with
    replacement; the same draws for the same artists.
    """
    codes = np.unique(artists, return_inverse=True)[1]
    n_clips = np.bincount(codes)
    sums = np.stack([np.bincount(codes, weights=row) for row in values])
    share = np.full(len(n_clips), 1 / len(n_clips))
    times = np.random.default_rng(0).multinomial(len(n_clips), share, size=N_BOOTSTRAP)
    return np.asarray((times @ sums.T) / (times @ n_clips)[:, np.newaxis])


def plot_learning_curve(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy against clips a genre, a line a model; the band is the 95 % interval. ``ALL`` has no place on the axis.

    Args:
        table: ``LearningCurve.table``.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="clips a genre", ylabel="accuracy (%)", xscale="log")
    for name, rows in table[table["size"] < ALL].groupby("model", sort=False):
        axes.fill_between(rows["size"], 100 * rows["low"], 100 * rows["high"], alpha=0.15, linewidth=0)
        axes.plot(rows["size"], 100 * rows["accuracy"], marker="o", label=name)
    sizes = table.loc[table["size"] < ALL, "size"].unique()
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(loc="lower right")
    return figure
