"""What this package can show of a classifier on a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from music_genre.features.store import ClipDataset, SpectrogramStore
from music_genre.inference.batch import load_first_clip
from music_genre.inference.predictor import top_tags
from music_genre.interpretation.audio_occlusion import occlude_clip
from music_genre.interpretation.embedding import (
    PCA,
    TSNE,
    clustering_metrics,
    pca_projection,
    projection_table,
    tsne_projection,
)
from music_genre.interpretation.interpret_network import N_EXAMPLES, NetworkInterpretation
from music_genre.interpretation.plots import SpectrogramAxes, order_genres, plot_embedding, plot_saliency
from music_genre.interpretation.saliency import SaliencyExample
from music_genre.interpretation.sampling import N_EMBEDDING_CLIPS, sample_clips
from music_genre.models.bundle import ModelBundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAG_COLUMNS = ["genre", "tag", "probability"]
N_TAG_CLIPS = 4  # test clips of a genre whose tags are averaged


def interpret_encoder(
    name: str, bundle: ModelBundle, data: SpectrogramStore, recordings: Mapping[int, Path], seed: int
) -> tuple[NetworkInterpretation, pd.DataFrame]:
    """Interpret a model on embeddings.

    Args:
        name: of the model, for titles.
        bundle: of it alone.
        data: the clips it was trained and tested on.
        recordings: their audio by track id; without it there is no saliency, and there are no tags.
        seed: of all random choices.

    Returns:
        No filters, no faithfulness, the clusters and the plots; and ``tags_by_genre``.
    """
    (encoder,) = bundle.manifest.encoders
    clips = sample_clips(data.embeddings(encoder).split("test"), N_EMBEDDING_CLIPS)
    features = clips.read(np.arange(len(clips))).mean(axis=1)
    clusters = clustering_metrics(features, clips.label, seed)
    title = (
        f"{name}: embeddings of {len(clips)} test clips by the encoder {encoder};"
        f" K-means clusters against genres: adjusted Rand index {clusters['adjusted_rand']:.2f}"
    )
    projections = {PCA: pca_projection(features), TSNE: tsne_projection(features, seed)}
    plots = {"embedding": plot_embedding(projections, clips.label, data.genres, title)}
    test = data.split("test")
    by_genre = {
        genre: [i for i in _track_ids(test, label) if i in recordings] for label, genre in enumerate(data.genres)
    }
    if any(by_genre.values()) and data.transform is not None:
        plots["saliency"] = _plot_examples(name, bundle, data, by_genre, recordings)
    filters = pd.DataFrame(columns=["layer", "filter", "real_max", "optimized"])
    faithfulness = pd.DataFrame(columns=["method", "clips", "drop_top", "drop_random", "win_rate"])
    tags = tags_by_genre(bundle, {g: [recordings[i] for i in ids[:N_TAG_CLIPS]] for g, ids in by_genre.items()})
    embedding = projection_table(clips.track_id, projections)
    return NetworkInterpretation(filters, faithfulness, clusters, embedding, plots), tags


def tags_by_genre(bundle: ModelBundle, recordings: Mapping[str, list[Path]]) -> pd.DataFrame:
    """What the encoder's own tags say about clips of each genre: ``TAG_COLUMNS``, the likeliest of each."""
    rows = []
    for genre, files in recordings.items():
        if files and bundle.manifest.tags:
            clips = [load_first_clip(file, bundle.manifest).inputs(bundle.manifest) for file in files]
            tags = np.concatenate([bundle.answer(clip).tags for clip in clips])
            rows += [(genre, tag, round(probability, 4)) for tag, probability in top_tags(bundle.manifest, tags)]
    return pd.DataFrame(rows, columns=TAG_COLUMNS)


def _plot_examples(
    name: str,
    bundle: ModelBundle,
    data: SpectrogramStore,
    by_genre: Mapping[str, list[int]],
    recordings: Mapping[int, Path],
) -> Figure:
    """The occlusion of a test clip of some genres."""
    transform, examples = data.transform, []
    if transform is None:
        raise ValueError("ready spectrograms have no audio")
    for genre in [genre for genre in order_genres(data.genres) if by_genre[genre]][:N_EXAMPLES]:
        clips = load_first_clip(recordings[by_genre[genre][0]], bundle.manifest)
        inputs = clips.inputs(bundle.manifest)
        probabilities = bundle.predict(inputs)[0]
        label = int(probabilities.argmax())
        drops = occlude_clip(bundle, inputs, clips.mel[0], transform, label)
        actual = data.genres.index(genre)
        examples.append(SaliencyExample(actual, label, float(probabilities[label]), clips.mel[0], None, drops))
    return plot_saliency(examples, data.genres, SpectrogramAxes(transform), f"{name}: saliency of test clips")


def _track_ids(clips: ClipDataset, label: int) -> list[int]:
    ids: list[int] = clips.track_id[clips.label == label].tolist()
    return ids
