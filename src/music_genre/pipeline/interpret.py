"""See what a network listens to: ``reports/explain/<name>/``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.errors import MusicGenreError
from music_genre.evaluation import plots as figures
from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.interpretation import activations as layers
from music_genre.interpretation import architecture, embedding, saliency
from music_genre.interpretation import feature_visualization as filters
from music_genre.interpretation import plots as pictures
from music_genre.interpretation.activations import Part
from music_genre.interpretation.plots import Scale, Shown
from music_genre.interpretation.saliency import Predict
from music_genre.models.bundle import PREDICT_BATCH_SIZE, load_predictor
from music_genre.models.registry import Network, get_model
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

FIRST, LAST = 16, 24
"""Filters shown of the first and the last convolution: as many as the study of FMA-small shows of its own."""

HEARD, TRIED, MAPPED = 512, 16, 2000
"""Real clips that filters are measured on, that saliency is tried on, that are on the map."""

EXEMPLARS = 4
"""Clips whose saliency is shown."""


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    if not isinstance(get_model(name), Network):
        project.interpretation(name).mkdir(parents=True, exist_ok=True)
        print(f"{name} is no network: there is nothing to interpret")
        return
    seed, data = load_params(project.params).seed, SpectrogramStore.open(project.spectrograms)
    folder, network = project.interpretation(name), layers.load_network(project.model_file(name))
    title = f"{name}: {network.count_params():,} weights"
    figures.save_figure(architecture.picture(network, title), folder / "plots/architecture.png")
    explain_filters(folder, name, network, data, seed)
    explain_answers(folder, name, network, load_predictor(project.model_file(name)).predict, data, seed)
    explain_embedding(folder, name, network, data, seed)


def some(clips: MelDataset, count: int) -> MelDataset:
    """About so many clips, of every genre; at least one of each."""
    return clips.subsample(min(1.0, count / len(clips)))


def explain_filters(folder: Path, name: str, network: keras.Model, data: SpectrogramStore, seed: int) -> None:
    """Write what wakes filters of the first and the last convolution, and what they make of a real clip."""
    heard = some(data.split("training"), HEARD)
    clip, tables, blocks = heard.read(np.zeros(1, int)), [], []
    parts = zip(("first", "last"), layers.first_and_last(network), (FIRST, LAST), strict=True)
    for place, part, count in parts:
        table, sheet = filter_sheet(name, part, heard, data, count, seed)
        figures.save_figure(sheet, folder / f"plots/filters_{place}.png")
        answer = layers.maps(part, *heard.shape)(clip).numpy()[0]
        blocks.append((part.name, answer, table["filter"].tolist()))
        tables.append(table)
    title = f"{name}: a clip of {data.genres[heard.label[0]]}, and where in it filters answer"
    figures.save_figure(
        pictures.feature_maps(clip[0], blocks, Scale(data.transform), title), folder / "plots/feature_maps.png"
    )
    pd.concat(tables).round(4).to_csv(folder / "filters.csv", index=False)


def filter_sheet(
    name: str, part: Part, heard: MelDataset, data: SpectrogramStore, count: int, seed: int
) -> tuple[pd.DataFrame, Figure]:
    """What wakes filters of a convolution, as ``filters.wake`` tells and as a picture."""
    table, woken = filters.wake(part, heard, data.genres, count, seed)
    titles = [
        f"{number}: {genre or 'no clip wakes it'}"
        for number, genre in zip(table["filter"], table["genre"], strict=True)
    ]
    title = f"{name}, {part.name}: what wakes each filter, and the genre that does most"
    return table, pictures.filter_sheet(woken, titles, Scale(data.transform), title)


def look_into(project: ProjectPaths, name: str, layer: str, count: int) -> tuple[Figure, str]:
    """``filter_sheet`` of any convolution of a trained network by its name, and what it shows.

    Raises:
        MusicGenreError: there is no such network, or no such convolution in it.
    """
    params = load_params(project.params)
    if name not in params.networks:
        raise MusicGenreError(f"no network {name!r}; there are {', '.join(params.networks)}")
    seed, data = params.seed, SpectrogramStore.open(project.spectrograms)
    part = layers.convolution(layers.load_network(project.model_file(name)), layer)
    table, sheet = filter_sheet(name, part, some(data.split("training"), HEARD), data, count, seed)
    return sheet, f"what wakes {len(table)} of the {part.layer.output.shape[-1]} filters of {part.name} of {name}"


def explain_answers(
    folder: Path, name: str, network: keras.Model, predict: Predict, data: SpectrogramStore, seed: int
) -> None:
    """Write what answers to test clips rest on, ``saliency.png``, and whether that is so, ``faithfulness.csv``."""
    tried, gradient = some(data.split("test"), TRIED), saliency.gradients([(network, 1.0)])
    shown: dict[str, Shown] = {}
    falls = []
    for clip, label in zip(tried.read(np.arange(len(tried))), tried.label, strict=True):
        answer = predict(clip[None])[0]
        named, genre = int(answer.argmax()), data.genres[label]
        cells = saliency.integrated_gradients(gradient, clip, named)
        blocks = saliency.occlusion(predict, clip, named)
        for method, found in (("integrated gradients", saliency.in_blocks(cells)), ("occlusion", blocks)):
            top, random = saliency.deletion(predict, clip, named, found, seed)
            falls.append({"method": method, "clips": 1, "top": top, "random": random, "top_more": float(top > random)})
        title = f"{genre}, named {data.genres[named]} ({answer[named]:.0%})"
        shown.setdefault(genre, Shown(title, clip, cells, blocks))
    kept = [shown[genre] for genre in pictures.ordered(data.genres) if genre in shown][:EXEMPLARS]
    title = f"{name}: what the answer rests on"
    figures.save_figure(pictures.saliency(kept, Scale(data.transform), title), folder / "plots/saliency.png")
    figured = {"clips": "sum", "top": "mean", "random": "mean", "top_more": "mean"}
    table = pd.DataFrame(falls).groupby("method").agg(figured).round(4)
    table.to_csv(folder / "faithfulness.csv")
    print(f"{name}\n{table}")


def explain_embedding(folder: Path, name: str, network: keras.Model, data: SpectrogramStore, seed: int) -> None:
    """Write where test clips lie just before the answer, ``embedding.png``, and how they cluster, ``clusters.json``."""
    test, penultimate = some(data.split("test"), MAPPED), layers.penultimate(network, *data.shape)
    features = np.concatenate([penultimate(mel).numpy() for mel in test.batches(PREDICT_BATCH_SIZE)])
    maps = {"principal components": embedding.principal(features), "t-SNE": embedding.neighbours(features, seed)}
    scores = embedding.cluster_scores(features, test.label, seed)
    title = (
        f"{name}, {len(test)} test clips before the answer;"
        f" K-means against genres: adjusted Rand index {scores['adjusted_rand']:.2f}"
    )
    figures.save_figure(pictures.embedding(maps, test.label, data.genres, title), folder / "plots/embedding.png")
    rounded = {key: None if value is None else round(value, 4) for key, value in scores.items()}
    (folder / "clusters.json").write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
