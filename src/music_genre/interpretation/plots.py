"""Plots of what networks respond to, as matplotlib figures; spectrograms are in dB over seconds and mel hertz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from music_genre.features.mel import mel_band_borders_hz
from music_genre.features.params import FLOOR_DB, MelConfig
from music_genre.interpretation.feature_visualization import FilterVisualizations
from music_genre.interpretation.saliency import SaliencyExample

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STUDY_GENRES = ("Pop", "Instrumental", "Experimental", "Folk")  # shown first, as in the study
TICKS_HZ = (100, 500, 1000, 2000, 5000, 10_000)
MARKERS = "os^Dvp*X"
MIN_WIDTH = 5.0  # inches of a figure: narrower ones have no room for their titles


@dataclass(frozen=True)
class SpectrogramAxes:
    """The scales of a spectrogram's axes.

    Args:
        transform: how the spectrogram was made of audio; None: the axes count frames and bands.
        start_seconds: where the clip begins in its recording.
    """

    transform: MelConfig | None
    start_seconds: float = 0.0

    @property
    def time_unit(self) -> str:
        """What the time axis counts."""
        return "s" if self.transform else "frames"

    @property
    def band_unit(self) -> str:
        """What the axis of bands counts."""
        return "Hz (mel)" if self.transform else "mel bands"

    def time(self, frame: float) -> float:
        """Where a frame begins, in ``time_unit``."""
        if self.transform is None:
            return frame
        return self.start_seconds + frame * self.transform.hop_length / self.transform.sample_rate_hz

    def extent(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
        """The ``extent`` of an image of a clip of (frames, n_mels), as matplotlib takes it."""
        return self.time(0), self.time(shape[0]), 0, shape[1]

    def band_edges_hz(self) -> np.ndarray | None:
        """(n_mels + 1,) borders between bands; None where they are not known."""
        return None if self.transform is None else mel_band_borders_hz(self.transform)

    def ticks(self, n_mels: int) -> tuple[np.ndarray, list[str]]:
        """Positions on the axis of bands, and their labels."""
        edges = self.band_edges_hz()
        if edges is None:
            positions = np.arange(0, n_mels + 1, max(1, n_mels // 4))
            return positions, [str(position) for position in positions]
        frequencies = [tick for tick in TICKS_HZ if edges[0] <= tick <= edges[-1]]
        labels = [f"{tick // 1000}k" if tick >= 1000 else str(tick) for tick in frequencies]
        return np.interp(frequencies, edges, np.arange(n_mels + 1)), labels


def order_genres(genres: Sequence[str]) -> list[str]:
    """Genres in the order in which they are shown: those of the study first."""
    return sorted(genres, key=lambda genre: (*STUDY_GENRES, genre).index(genre))


def plot_filters(filters: FilterVisualizations, axes: SpectrogramAxes, model: str) -> Figure:
    """The spectrogram that activates each filter most, under the genre whose clips activate it most.

    Args:
        filters: of one convolution.
        axes: scales of the spectrograms.
        model: name of the network.
    """
    title = f"{model}, {filters.layer}: spectrograms optimized for a filter,\nand the genre that activates it most"
    figure, grid = _grid(len(filters.spectrograms), 4, (2.5, 2.2), title)
    rows = filters.table.itertuples()
    for subplot, spectrogram, row in zip(grid, filters.spectrograms, rows, strict=True):
        _plot_spectrogram(subplot, spectrogram, axes)
        subplot.set_title(f"filter {row.filter}: {row.genre or 'constant on real clips'}", fontsize=8)
    _add_colorbar(figure, grid)
    return figure


def plot_feature_maps(
    mel: np.ndarray, layers: Sequence[tuple[str, np.ndarray, Sequence[int]]], axes: SpectrogramAxes, title: str
) -> Figure:
    """A clip, and below it feature maps of several convolutions.

    Args:
        mel: (frames, n_mels) dB.
        layers: name of a convolution, its feature maps (time, filters) or (time, bands, filters), the filters to show.
        axes: scales of the clip.
        title: above the figure.
    """
    from matplotlib.figure import Figure

    n_columns = 8
    heights = [-(-len(filters) // n_columns) for _, _, filters in layers]
    n_rows = 1 + sum(heights)
    figure = Figure(figsize=(1.6 * n_columns, 1.7 * n_rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(n_rows, n_columns)
    _plot_spectrogram(figure.add_subplot(grid[0, :]), mel, axes)
    for (name, maps, filters), first_row in zip(layers, accumulate(heights, initial=1), strict=False):
        image = maps[:, None, :] if maps.ndim == 2 else maps
        for index, number in enumerate(filters):
            cell = grid[first_row + index // n_columns, index % n_columns]
            subplot = figure.add_subplot(cell, xticks=[], yticks=[])
            subplot.imshow(image[:, :, number].T, origin="lower", aspect="auto", cmap="viridis")
            subplot.set_title(f"{name}: filter {number}", fontsize=8)
    return figure


def plot_genre_examples(clips: Mapping[str, np.ndarray], axes: SpectrogramAxes) -> Figure:
    """A clip of each genre: (frames, n_mels) dB by genre."""
    figure, grid = _grid(len(clips), 4, (2.9, 2.5), "A typical training clip of each genre")
    for subplot, (genre, mel) in zip(grid, clips.items(), strict=True):
        _plot_spectrogram(subplot, mel, axes)
        subplot.set_title(genre, fontsize=10)
    _add_colorbar(figure, grid)
    return figure


def plot_embedding(
    projections: Mapping[str, np.ndarray], label: np.ndarray, genres: Sequence[str], title: str
) -> Figure:
    """Clips in two dimensions, coloured by genre.

    Args:
        projections: (n, 2) by name.
        label: (n,) positions of the clips' genres.
        genres: (classes,) in label order.
        title: above the figure.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(projections), 5.2), layout="constrained")
    figure.suptitle(title)
    colours = colormaps["tab10"]
    handles: list[Artist] = []
    for column, (name, points) in enumerate(projections.items(), start=1):
        subplot = figure.add_subplot(1, len(projections), column, title=name, xticks=[], yticks=[])
        handles = []
        for code in range(len(genres)):
            x, y = points[label == code].T
            marker = MARKERS[code % len(MARKERS)]
            handles.append(subplot.scatter(x, y, s=16, alpha=0.75, color=colours(code % 10), marker=marker))
    # By itself a legend leaves out labels that begin with an underscore.
    subplot.legend(handles, genres, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def plot_saliency(
    examples: Sequence[SaliencyExample], genres: Sequence[str], axes: SpectrogramAxes, title: str
) -> Figure:
    """A row for each clip: its spectrogram, integrated gradients where there are any, and occlusion of blocks of time
    and band.

    Args:
        examples: clips with their saliency.
        genres: (classes,) in label order.
        axes: scales of the clips.
        title: above the figure.
    """
    n_columns = 2 if any(example.gradients is None for example in examples) else 3
    figure, grid = _grid(n_columns * len(examples), n_columns, (3.6, 2.3), title)
    for row, example in enumerate(examples):
        clip, *gradients, occlusion = grid[n_columns * row : n_columns * (row + 1)]
        _plot_spectrogram(clip, example.mel, axes)
        prediction = f"{genres[example.predicted]} ({example.probability:.0%})"
        actual = "" if example.label is None else f"{genres[example.label]}, "
        clip.set_title(f"{actual}predicted: {prediction}", fontsize=9)
        if example.gradients is not None and gradients:
            _plot_diverging(gradients[0], _smooth(example.gradients), example.mel.shape, axes)
            gradients[0].set_title("integrated gradients (red: for the prediction)", fontsize=9)
        image = _plot_diverging(occlusion, example.occlusion, example.mel.shape, axes)
        occlusion.set_title("occlusion (red: the probability drops)", fontsize=9)
        figure.colorbar(image, ax=occlusion, label="drop of probability")
    return figure


def _grid(count: int, n_columns: int, size: tuple[float, float], title: str) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` subplots, each of ``size`` inches."""
    from matplotlib.figure import Figure

    n_columns = max(1, min(n_columns, count))
    n_rows = -(-count // n_columns)
    width = max(size[0] * n_columns + 0.9, MIN_WIDTH)
    figure = Figure(figsize=(width, size[1] * n_rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, [figure.add_subplot(n_rows, n_columns, number + 1) for number in range(count)]


def _add_colorbar(figure: Figure, grid: Sequence[Axes]) -> None:
    """A colour bar for all spectrograms of a figure, which share one scale."""
    figure.colorbar(grid[0].images[0], ax=list(grid), label="dB", shrink=0.6, aspect=40)


def _plot_spectrogram(subplot: Axes, mel: np.ndarray, axes: SpectrogramAxes) -> None:
    subplot.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        extent=axes.extent(mel.shape),
        cmap="magma",
        vmin=FLOOR_DB,
        vmax=0,
        interpolation="none",
    )
    _label(subplot, mel.shape[1], axes)


def _plot_diverging(subplot: Axes, values: np.ndarray, shape: tuple[int, ...], axes: SpectrogramAxes) -> AxesImage:
    """Values (times, bands) around 0, stretched over a clip of (frames, n_mels): red above, blue below."""
    bound = float(np.abs(values).max()) or 1.0
    extent = axes.extent(shape)
    image = subplot.imshow(
        values.T, origin="lower", aspect="auto", extent=extent, cmap="RdBu_r", vmin=-bound, vmax=bound
    )
    _label(subplot, shape[1], axes)
    return image


def _smooth(values: np.ndarray) -> np.ndarray:
    """Values blurred a little, so that single cells show, and clipped, so that a few large ones do not hide others."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(values, (len(values) / 160, 1))
    bound = np.quantile(np.abs(blurred), 0.995)
    return np.asarray(np.clip(blurred, -bound, bound))


def _label(subplot: Axes, n_mels: int, axes: SpectrogramAxes) -> None:
    positions, labels = axes.ticks(n_mels)
    subplot.set_yticks(positions, labels)
    subplot.tick_params(labelsize=7)
    subplot.set_xlabel(axes.time_unit, fontsize=7, labelpad=1)
    subplot.set_ylabel(axes.band_unit, fontsize=7, labelpad=1)
