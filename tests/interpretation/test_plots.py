"""Axes of plots are in seconds and hertz, or count where audio is not known; names from elsewhere are text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from music_genre.evaluation.plots import save_figure
from music_genre.features.params import MelConfig
from music_genre.interpretation.feature_visualization import FilterVisualizations
from music_genre.interpretation.plots import (
    SpectrogramAxes,
    order_genres,
    plot_embedding,
    plot_filters,
    plot_genre_examples,
    plot_saliency,
)
from music_genre.interpretation.saliency import SaliencyExample

TRANSFORM = MelConfig(sample_rate_hz=22_050, n_fft=2048, hop_length=1024, n_mels=128, n_frames=640, clip_duration_s=31)
GENRES = ("Rock", "$\\x$", "Folk")  # the second is no formula, though matplotlib would try


def test_axes_are_in_seconds_and_hertz() -> None:
    axes = SpectrogramAxes(TRANSFORM, start_seconds=60)
    assert axes.time(640) == pytest.approx(60 + 29.72, abs=0.01)
    positions, labels = axes.ticks(128)
    assert labels == ["100", "500", "1k", "2k", "5k", "10k"]
    assert np.all(np.diff(positions) > 0)
    assert 20 < positions[2] < 50


def test_axes_count_frames_and_bands_without_a_transform() -> None:
    axes = SpectrogramAxes(None)
    assert (axes.time_unit, axes.band_unit, axes.time(640)) == ("frames", "mel bands", 640)
    assert axes.ticks(128)[1] == ["0", "32", "64", "96", "128"]


def test_genres_of_the_study_come_first() -> None:
    assert order_genres(["Blues", "Folk", "Rock", "Pop"]) == ["Pop", "Folk", "Blues", "Rock"]


def test_any_genre_can_be_written(tmp_path: Path) -> None:
    rng, axes = np.random.default_rng(0), SpectrogramAxes(TRANSFORM)
    mel = rng.uniform(-80, 0, (3, 640, 128)).astype(np.float32)
    table = pd.DataFrame({"filter": [0, 1, 2], "genre": GENRES})
    examples = [SaliencyExample(1, 1, 0.5, mel[0], mel[0] + 40, mel[0, :16, :8] + 40)]
    figures = [
        plot_filters(FilterVisualizations("conv1", 3, table, mel), axes, "crnn"),
        plot_genre_examples(dict(zip(GENRES, mel, strict=True)), axes),
        plot_saliency(examples, GENRES, axes, "A$AP - $\\x$.mp3"),
        plot_embedding({"PCA": rng.normal(size=(9, 2))}, np.repeat([0, 1, 2], 3), GENRES, "crnn"),
    ]
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == len(figures)


def test_legend_of_an_embedding_has_every_genre() -> None:
    genres = ("_indie", "音乐")  # by itself a legend leaves out what begins with an underscore
    figure = plot_embedding({"PCA": np.zeros((2, 2)), "t-SNE": np.zeros((2, 2))}, np.arange(2), genres, "crnn")
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == list(genres)


def test_saliency_names_the_actual_genre_where_it_is_known() -> None:
    mel = np.full((64, 32), -40, np.float32)
    known = SaliencyExample(0, 2, 0.751, mel, mel, mel)
    unknown = SaliencyExample(None, 2, 0.751, mel, mel, mel)
    figure = plot_saliency([known, unknown], GENRES, SpectrogramAxes(None), "crnn")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "Rock, predicted: Folk (75%)"
    assert "predicted: Folk (75%)" in titles
