"""All that this package can show of one trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.features.store import SpectrogramStore
from music_genre.interpretation.activations import embedding_model, feature_map_model, first_and_last
from music_genre.interpretation.architecture import plot_architecture
from music_genre.interpretation.embedding import (
    PCA,
    TSNE,
    clustering_metrics,
    pca_projection,
    projection_table,
    tsne_projection,
)
from music_genre.interpretation.feature_visualization import visualize_filters
from music_genre.interpretation.plots import (
    SpectrogramAxes,
    order_genres,
    plot_embedding,
    plot_feature_maps,
    plot_filters,
    plot_saliency,
)
from music_genre.interpretation.saliency import Predict, explain_predictions, faithfulness, make_gradient_fn
from music_genre.interpretation.sampling import N_EMBEDDING_CLIPS, N_FILTER_CLIPS, N_SALIENCY_CLIPS, sample_clips
from music_genre.models.predictors import PREDICT_BATCH_SIZE

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

FILTERS, FAITHFULNESS, CLUSTERS = "tables/filters.csv", "tables/faithfulness.csv", "tables/clusters.json"
EMBEDDING = "tables/embedding.csv"
N_FILTERS = {"first": 16, "last": 24}  # shown of the first and the last convolution, as many as the study shows
N_EXAMPLES = 4  # clips whose saliency is shown


@dataclass(frozen=True)
class NetworkInterpretation:
    """What interpreting a network gives.

    Args:
        filters: ``filters.csv``: see ``feature_visualization.FilterVisualizations``.
        faithfulness: ``faithfulness.csv``: see ``saliency.faithfulness``.
        clusters: ``clusters.json``: see ``embedding.clustering_metrics``.
        embedding: ``embedding.csv``: see ``embedding.projection_table``.
        plots: figures by the names of their files, without suffix.
    """

    filters: pd.DataFrame
    faithfulness: pd.DataFrame
    clusters: dict[str, float | None]
    embedding: pd.DataFrame
    plots: dict[str, Figure]


def interpret_network(
    name: str, network: keras.Model, predict: Predict, data: SpectrogramStore, seed: int
) -> NetworkInterpretation:
    """Interpret a network on samples of the clips it was trained and tested on.

    Args:
        name: of the network, for titles.
        network: a trained one.
        predict: the same network as a function, which is faster.
        data: the clips.
        seed: of all random choices.
    """
    plots = {"architecture": plot_architecture(network, f"{name}: {network.count_params():,} weights")}
    filters, filter_plots = interpret_filters(name, network, data, seed)
    saliency, plots["saliency"] = interpret_predictions(name, network, predict, data, seed)
    clusters, embedding, plots["embedding"] = interpret_embedding(name, network, data, seed)
    return NetworkInterpretation(filters, saliency, clusters, embedding, plots | filter_plots)


def interpret_filters(
    name: str, network: keras.Model, data: SpectrogramStore, seed: int
) -> tuple[pd.DataFrame, dict[str, Figure]]:
    """The filters of the first and the last convolution: their table; plots of both and of their feature maps."""
    clips, axes = sample_clips(data.split("training"), N_FILTER_CLIPS), SpectrogramAxes(data.transform)
    mel = clips.read(np.zeros(1, int))
    tables, layers, plots = [], [], {}
    for place, ref in zip(N_FILTERS, first_and_last(network), strict=True):
        filters = visualize_filters(ref, clips, data.genres, N_FILTERS[place], seed)
        plots[f"filters_{place}"] = plot_filters(filters, axes, name)
        maps = feature_map_model(ref, *clips.shape)(mel).numpy()[0]
        layers.append((ref.name, maps, filters.table["filter"].tolist()))
        tables.append(filters.table)
    title = f"{name}: feature maps of a clip of {data.genres[clips.label[0]]}"
    plots["feature_maps"] = plot_feature_maps(mel[0], layers, axes, title)
    return pd.concat(tables, ignore_index=True), plots


def interpret_predictions(
    name: str, network: keras.Model, predict: Predict, data: SpectrogramStore, seed: int
) -> tuple[pd.DataFrame, Figure]:
    """The saliency of predictions for test clips: how faithful it is; a plot of a clip of some genres."""
    clips = sample_clips(data.split("test"), N_SALIENCY_CLIPS)
    examples = list(explain_predictions(predict, make_gradient_fn([(network, 1.0)]), clips))
    by_genre = {data.genres[example.label]: example for example in reversed(examples) if example.label is not None}
    shown = [by_genre[genre] for genre in order_genres(data.genres) if genre in by_genre][:N_EXAMPLES]
    plot = plot_saliency(shown, data.genres, SpectrogramAxes(data.transform), f"{name}: saliency of test clips")
    return faithfulness(predict, examples, seed), plot


def interpret_embedding(
    name: str, network: keras.Model, data: SpectrogramStore, seed: int
) -> tuple[dict[str, float | None], pd.DataFrame, Figure]:
    """The embeddings of test clips: how well their clusters agree with the genres; two projections, and their plot."""
    clips, model = sample_clips(data.split("test"), N_EMBEDDING_CLIPS), embedding_model(network, *data.shape)
    features = np.concatenate([model(mel).numpy() for mel in clips.batches(PREDICT_BATCH_SIZE)])
    projections = {PCA: pca_projection(features), TSNE: tsne_projection(features, seed)}
    clusters = clustering_metrics(features, clips.label, seed)
    title = (
        f"{name}: embeddings of {len(clips)} test clips;"
        f" K-means clusters against genres: adjusted Rand index {clusters['adjusted_rand']:.2f}"
    )
    table = projection_table(clips.track_id, projections)
    return clusters, table, plot_embedding(projections, clips.label, data.genres, title)
