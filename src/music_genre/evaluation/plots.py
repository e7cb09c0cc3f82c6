"""Plots of a model's evaluation, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.evaluation import metrics
from music_genre.evaluation.fonts import font_families
from music_genre.evaluation.results import ModelPredictions
from music_genre.features.params import FLOOR_DB
from music_genre.features.store import SpectrogramStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_ERRORS_SHOWN = 8  # clips in a sheet of top errors


def plot_confusion_matrix(counts: np.ndarray, genres: Sequence[str], title: str) -> Figure:
    """Rows are actual genres, columns predicted ones; colour is the fraction of the row, the number the count.

    Args:
        counts: (classes, classes).
        genres: in label order.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    size = 3.2 + 0.62 * len(genres)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot(
        title=title, xlabel="predicted", ylabel="actual", xticks=range(len(genres)), yticks=range(len(genres))
    )
    fraction = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticklabels(genres, rotation=45, ha="right")
    axes.set_yticklabels(genres)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if fraction[row, column] > 0.5 else "black"
        )
    figure.colorbar(image, ax=axes, label="fraction of the actual genre's clips", shrink=0.8)
    return figure


def plot_calibration(curves: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Accuracy against confidence; a calibrated model lies on the diagonal.

    Args:
        curves: ``metrics.calibration_curve`` by their names in the legend.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, bins in curves.items():
        axes.plot(bins["confidence"], bins["accuracy"], marker="o", label=name)
    axes.legend()
    return figure


def plot_learning_curves(history: pd.DataFrame, title: str) -> Figure:
    """Loss and accuracy by epoch, of training and validation.

    Args:
        history: ``history.csv``.
        title: above the plot.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(title)
    for index, measure in enumerate(("loss", "accuracy"), start=1):
        axes = figure.add_subplot(1, 2, index, xlabel="epoch", ylabel=measure)
        axes.plot(history["epoch"], history[measure], marker=".", label="training")
        axes.plot(history["epoch"], history[f"val_{measure}"], marker=".", label="validation")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


def plot_top_errors(mel: np.ndarray, table: pd.DataFrame, title: str) -> Figure:
    """Spectrograms of clips that were predicted wrongly.

    Args:
        mel: (n, frames, n_mels) dB.
        table: n rows of ``metrics.predictions``.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    columns = 4
    rows = max(1, -(-len(table) // columns))
    figure = Figure(figsize=(3.4 * columns, 0.6 + 2.6 * rows), layout="constrained")
    figure.suptitle(title if len(table) else f"{title}: none")
    for index, (clip, row) in enumerate(zip(mel, table.itertuples(), strict=True), start=1):
        axes = figure.add_subplot(rows, columns, index, xticks=[], yticks=[], xlabel="time", ylabel="mel band")
        axes.imshow(clip.T, origin="lower", aspect="auto", cmap="magma", vmin=FLOOR_DB, vmax=0)
        axes.set_title(f"track {row.track_id}: {row.actual}\npredicted {row.predicted} ({row.confidence:.0%})", size=9)
    return figure


def plot_risk_coverage(tables: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Error rate against the fraction of clips that are predicted, the most confident first.

    Args:
        tables: ``metrics.risk_coverage`` by model.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="coverage (fraction of clips)", ylabel="risk (error rate)")
    for name, table in tables.items():
        axes.plot(table["coverage"], 1 - table["accuracy"], marker="o", label=name)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def plot_agreement(table: pd.DataFrame, first: str, second: str, title: str) -> Figure:
    """Of each genre, the clips that both networks, one of them, or neither predicts correctly.

    Args:
        table: ``model_comparison.agreement_by_genre`` of one split.
        first: a network.
        second: the other.
        title: above the plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.8 + 0.42 * len(table)), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="clips")
    left = np.zeros(len(table))
    for name, colour in (("both", "#4477aa"), (f"{first}_only", "#66ccee"), (f"{second}_only", "#ccbb44")):
        axes.barh(table["genre"], table[name], left=left, color=colour, label=name.replace("_", " "))
        left += table[name].to_numpy()
    axes.barh(table["genre"], table["neither"], left=left, color="#dddddd", label="neither")
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG; the same figure is the same bytes. Names are drawn as they are: in any script, and a dollar sign
    begins no formula.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    families = list(font_families())
    for text in figure.findobj(Text):
        text.set(parse_math=False, fontfamily=families)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"text.parse_math": False, "font.family": families}):  # for labels that are made while drawing
        figure.savefig(path, dpi=100, metadata={"Software": None})


def plot_evaluation(folder: Path, name: str, data: SpectrogramStore, predictions: ModelPredictions) -> None:
    """Write a model's ``plots/``: the confusion matrix and the top errors of test, and calibration.

    Args:
        folder: ``reports/evaluation/<name>``.
        name: of the model.
        data: what was predicted.
        predictions: of the model.
    """
    clips, probabilities = data.split("test"), predictions.probabilities["test"]
    table = metrics.predictions(clips.track_id, clips.label, probabilities, data.genres)
    accuracy = float((table["actual"] == table["predicted"]).mean())
    title = f"{name}, test: {accuracy:.1%} of {len(clips)} clips"
    confusion = plot_confusion_matrix(metrics.confusion_matrix(table, data.genres), data.genres, title)
    save_figure(confusion, folder / "plots/confusion_matrix.png")
    curves = {
        split: metrics.calibration_curve(data.split(split).label, probabilities)
        for split, probabilities in predictions.probabilities.items()
    }
    save_figure(plot_calibration(curves, f"{name}: calibration"), folder / "plots/calibration.png")
    errors = metrics.top_errors(table, N_ERRORS_SHOWN)
    figure = plot_top_errors(clips.read(errors.index.to_numpy()), errors, f"{name}, test: most confident errors")
    save_figure(figure, folder / "plots/top_errors.png")
