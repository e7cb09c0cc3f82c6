"""Pictures of what networks listen to, as matplotlib figures; spectrograms in dB over seconds and mel hertz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from music_genre.features.mel import FLOOR_DB, MelConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STUDIED = ("Pop", "Instrumental", "Experimental", "Folk")
"""Genres shown first, as in the study."""

TICKS_HZ = (100, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True)
class Scale:
    """What the axes of a spectrogram say.

    Args:
        transform: what made it of audio; None: frames and bands are counted.
        start_seconds: where in a recording the clip begins.
    """

    transform: MelConfig | None
    start_seconds: float = 0.0

    @property
    def unit(self) -> str:
        return "s" if self.transform else "frames"

    @property
    def bands(self) -> str:
        return "Hz (mel)" if self.transform else "mel bands"

    def time(self, frames: float) -> float:
        """Where a frame begins, in ``unit``."""
        if self.transform is None:
            return frames
        return self.start_seconds + frames * self.transform.hop_length / self.transform.sample_rate_hz

    def extent(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
        """Of an image of a clip of (frames, n_mels)."""
        return self.time(0), self.time(shape[0]), 0, shape[1]

    def hertz(self, n_mels: int) -> np.ndarray | None:
        """(n_mels + 1,) where bands border on each other, if hertz are known."""
        if self.transform is None:
            return None
        import librosa

        edges = librosa.mel_frequencies(n_mels + 2, fmin=0, fmax=self.transform.sample_rate_hz / 2)
        return np.asarray((edges[1:] + edges[:-1]) / 2)

    def ticks(self, n_mels: int) -> tuple[np.ndarray, list[str]]:
        """Positions on the axis of bands, and what stands there."""
        hertz = self.hertz(n_mels)
        if hertz is None:
            marks = np.arange(0, n_mels + 1, max(1, n_mels // 4))
            return marks, [str(mark) for mark in marks]
        shown = [tick for tick in TICKS_HZ if hertz[0] <= tick <= hertz[-1]]
        names = [f"{tick // 1000}k" if tick >= 1000 else str(tick) for tick in shown]
        return np.interp(shown, hertz, np.arange(n_mels + 1)), names


def ordered(genres: Sequence[str]) -> list[str]:
    """Genres as they are shown: those of the study first."""
    return sorted(genres, key=lambda genre: (*STUDIED, genre).index(genre))


def filter_sheet(pictures: np.ndarray, titles: Sequence[str], scale: Scale, title: str) -> Figure:
    """Spectrograms that wake one filter each.

    Args:
        pictures: (k, frames, n_mels) dB.
        titles: of each.
        scale: of the axes.
        title: above the sheet.
    """
    figure, grid = _grid(len(pictures), 4, (2.5, 2.2), title)
    for axes, picture, text in zip(grid, pictures, titles, strict=True):
        _spectrogram(axes, picture, scale)
        axes.set_title(text, fontsize=8)
    _decibels(figure, grid)
    return figure


def feature_maps(
    mel: np.ndarray, blocks: Sequence[tuple[str, np.ndarray, Sequence[int]]], scale: Scale, title: str
) -> Figure:
    """A clip, and what filters of several convolutions make of it.

    Args:
        mel: (frames, n_mels) dB.
        blocks: name of a convolution, its map (time, filters) or (time, bands, filters), the filters to show.
        scale: of the axes.
        title: above the picture.
    """
    from matplotlib.figure import Figure

    columns = 8
    heights = [-(-len(chosen) // columns) for _, _, chosen in blocks]
    rows = 1 + sum(heights)
    figure = Figure(figsize=(1.6 * columns, 1.7 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(rows, columns)
    _spectrogram(figure.add_subplot(grid[0, :]), mel, scale)
    for (name, answer, chosen), above in zip(blocks, accumulate(heights, initial=1), strict=False):
        image = answer[:, None, :] if answer.ndim == 2 else answer
        for place, number in enumerate(chosen):
            axes = figure.add_subplot(grid[above + place // columns, place % columns], xticks=[], yticks=[])
            axes.imshow(image[:, :, number].T, origin="lower", aspect="auto", cmap="viridis")
            axes.set_title(f"{name}: {number}", fontsize=8)
    return figure


def genres(clips: Mapping[str, np.ndarray], scale: Scale) -> Figure:
    """A clip of each genre side by side: (frames, n_mels) dB by genre."""
    figure, grid = _grid(len(clips), 4, (2.9, 2.5), "A typical training clip of each genre")
    for axes, (genre, mel) in zip(grid, clips.items(), strict=True):
        _spectrogram(axes, mel, scale)
        axes.set_title(genre, fontsize=10)
    _decibels(figure, grid)
    return figure


def embedding(maps: Mapping[str, np.ndarray], label: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Clips on maps: (n, 2) by name of the map, coloured by (n,) genre."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(maps), 5.2), layout="constrained")
    figure.suptitle(title)
    colours = colormaps["tab10"]
    for column, (name, places) in enumerate(maps.items(), start=1):
        axes = figure.add_subplot(1, len(maps), column, title=name, xticks=[], yticks=[])
        for code, genre in enumerate(names):
            own = places[label == code]
            marker = "os^Dvp*X"[code % 8]
            axes.scatter(own[:, 0], own[:, 1], s=16, alpha=0.75, color=colours(code % 10), marker=marker, label=genre)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


@dataclass(frozen=True)
class Shown:
    """A clip whose answer is explained.

    Args:
        title: whose clip it is and what was answered.
        mel: (frames, n_mels) dB.
        gradients: (frames, n_mels) integrated gradients.
        blocks: (times, bands) fall of the probability under occlusion.
    """

    title: str
    mel: np.ndarray
    gradients: np.ndarray
    blocks: np.ndarray


def saliency(clips: Sequence[Shown], scale: Scale, title: str) -> Figure:
    """A row a clip: the spectrogram, integrated gradients, and occlusion by blocks of time and band."""
    figure, grid = _grid(3 * len(clips), 3, (3.6, 2.3), title)
    for row, shown in enumerate(clips):
        clip, cells, blocks = grid[3 * row : 3 * row + 3]
        _spectrogram(clip, shown.mel, scale)
        clip.set_title(shown.title, fontsize=9)
        _signed(cells, _smooth(shown.gradients), shown.mel.shape, scale)
        cells.set_title("integrated gradients: red speaks for it", fontsize=9)
        image = _signed(blocks, shown.blocks, shown.mel.shape, scale)
        blocks.set_title("occlusion: red is missed when grey", fontsize=9)
        figure.colorbar(image, ax=blocks, label="fall of probability")
    return figure


def _grid(count: int, columns: int, size: tuple[float, float], title: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns + 0.9, size[1] * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def _decibels(figure: Figure, grid: Sequence[Axes]) -> None:
    """A colour bar for all spectrograms of a sheet: they share one scale."""
    figure.colorbar(grid[0].images[0], ax=list(grid), label="dB", shrink=0.6, aspect=40)


def _spectrogram(axes: Axes, mel: np.ndarray, scale: Scale) -> None:
    axes.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        extent=scale.extent(mel.shape),
        cmap="magma",
        vmin=FLOOR_DB,
        vmax=0,
        interpolation="none",
    )
    _label(axes, mel.shape[1], scale)


def _signed(axes: Axes, values: np.ndarray, shape: tuple[int, ...], scale: Scale) -> AxesImage:
    """(times, bands) around 0, stretched over a clip of (frames, n_mels): red above, blue below."""
    bound = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values.T, origin="lower", aspect="auto", extent=scale.extent(shape), cmap="RdBu_r", vmin=-bound, vmax=bound
    )
    _label(axes, shape[1], scale)
    return image


def _smooth(values: np.ndarray) -> np.ndarray:
    """Spread a little, so that single cells of a large picture can be seen; the few largest do not pale the others."""
    from scipy.ndimage import gaussian_filter

    spread = gaussian_filter(values, (len(values) / 160, 1))
    bound = np.quantile(np.abs(spread), 0.995)
    return np.asarray(np.clip(spread, -bound, bound))


def _label(axes: Axes, n_mels: int, scale: Scale) -> None:
    positions, names = scale.ticks(n_mels)
    axes.set_yticks(positions, names)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(scale.unit, fontsize=7, labelpad=1)
    axes.set_ylabel(scale.bands, fontsize=7, labelpad=1)
