"""Clips in the space of a network's embeddings: two-dimensional projections, and whether clusters are the genres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

PCA, TSNE = "principal components", "t-SNE"  # names of projections
PERPLEXITY = 30.0  # of t-SNE, where there are enough clips


def standardize(features: np.ndarray) -> np.ndarray:
    """(n, features), each feature with mean 0 and standard deviation 1; a constant feature is 0."""
    from sklearn.preprocessing import StandardScaler

    return np.asarray(StandardScaler().fit_transform(features))


def pca_projection(features: np.ndarray) -> np.ndarray:
    """(n, features) to (n, 2): the two principal components of largest variance."""
    from sklearn import decomposition

    return np.asarray(decomposition.PCA(2, svd_solver="full").fit_transform(standardize(features)))


def tsne_projection(features: np.ndarray, seed: int) -> np.ndarray:
    """(n, features) to (n, 2), where close clips stay close: t-SNE (van der Maaten and Hinton, JMLR 2008)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    with threadpool_limits(1):  # more threads gain little, and wait for each other on a busy computer
        return np.asarray(tsne.fit_transform(standardize(features)))


def projection_table(track_id: np.ndarray, projections: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Columns track_id and, for each projection by its name, ``<name> x`` and ``<name> y``.

    Args:
        track_id: (n,) of the clips.
        projections: (n, 2) by name.
    """
    points = {f"{name} {axis}": xy[:, i] for name, xy in projections.items() for i, axis in enumerate("xy")}
    return pd.DataFrame({"track_id": track_id, **points})


def clustering_metrics(features: np.ndarray, label: np.ndarray, seed: int) -> dict[str, float | None]:
    """How well K-means clusters, found without the genres, agree with the genres.

    Args:
        features: (n, features).
        label: (n,) positions of the genres.
        seed: of K-means.

    Returns:
        ``clusters``, their number: that of the genres that occur; ``adjusted_rand`` index of clusters against genres
        (1: the same, 0: by chance); ``silhouette`` of the clusters; ``silhouette_of_genres``. A silhouette is None
        where every clip is alone.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    standardized, n_clusters = standardize(features), len(np.unique(label))
    with threadpool_limits(1):
        cluster = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(standardized)
    return {
        "clusters": n_clusters,
        "adjusted_rand": float(adjusted_rand_score(label, cluster)),
        "silhouette": _silhouette(standardized, cluster),
        "silhouette_of_genres": _silhouette(standardized, label),
    }


def _silhouette(features: np.ndarray, group: np.ndarray) -> float | None:
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features, group)) if 1 < len(np.unique(group)) < len(group) else None
