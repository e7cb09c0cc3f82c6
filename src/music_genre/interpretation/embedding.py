"""Maps of what a network makes of clips just before it answers, and how well genres hang together there."""

from __future__ import annotations

import numpy as np

PERPLEXITY = 30.0
"""Neighbours that t-SNE keeps near, where there are enough clips."""


def scaled(features: np.ndarray) -> np.ndarray:
    """(n, features), each with mean 0 and deviation 1; one that never changes is 0."""
    spread = features.std(axis=0)
    centred = features - features.mean(axis=0)
    return np.asarray(centred / np.where(spread > 0, spread, 1))


def principal(features: np.ndarray) -> np.ndarray:
    """(n, features) on its two axes of largest variance: (n, 2)."""
    from sklearn.decomposition import PCA

    return np.asarray(PCA(2, svd_solver="full").fit_transform(scaled(features)))


def neighbours(features: np.ndarray, seed: int) -> np.ndarray:
    """(n, features) in a plane where near clips stay near: t-SNE (van der Maaten and Hinton, JMLR 2008): (n, 2)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    machine = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    with threadpool_limits(1):  # its threads wait for each other where the machine is busy, and gain little
        return np.asarray(machine.fit_transform(scaled(features)))


def cluster_scores(features: np.ndarray, label: np.ndarray, seed: int) -> dict[str, float | None]:
    """How far clusters found without the genres are the genres.

    Args:
        features: (n, features).
        label: (n,) positions of the genres.
        seed: of K-means.

    Returns:
        clusters, as many as genres occur; adjusted_rand of K-means' clusters against the genres (1: the same, 0: by
        chance); silhouette of those clusters; silhouette_of_genres. A silhouette is None where each clip is alone.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    known, clusters = scaled(features), len(np.unique(label))
    with threadpool_limits(1):
        found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(known)
    return {
        "clusters": clusters,
        "adjusted_rand": float(adjusted_rand_score(label, found)),
        "silhouette": _silhouette(known, found),
        "silhouette_of_genres": _silhouette(known, label),
    }


def _silhouette(features: np.ndarray, group: np.ndarray) -> float | None:
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features, group)) if 1 < len(np.unique(group)) < len(group) else None
