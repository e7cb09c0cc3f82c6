"""Embeddings: clusters that are the genres score one, and projections keep groups together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from music_genre.interpretation.embedding import (
    PCA,
    TSNE,
    clustering_metrics,
    pca_projection,
    projection_table,
    standardize,
    tsne_projection,
)


def test_clusters_that_are_the_genres_score_one_and_random_ones_zero() -> None:
    rng, label = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    separated = np.eye(3)[label] * 10 + rng.normal(0, 0.1, (60, 3))
    assert clustering_metrics(separated, label, 0)["adjusted_rand"] == 1
    random = clustering_metrics(rng.normal(0, 1, (60, 3)), label, 0)
    assert random["adjusted_rand"] == pytest.approx(0, abs=0.2)
    assert random["silhouette_of_genres"] == pytest.approx(0, abs=0.1)


def test_silhouette_of_single_clips_is_undefined() -> None:
    alone = clustering_metrics(np.eye(3), np.arange(3), 0)
    assert (alone["clusters"], alone["silhouette"], alone["silhouette_of_genres"]) == (3, None, None)


@pytest.mark.parametrize("project", [pca_projection, partial(tsne_projection, seed=7)])
def test_projections_keep_groups_together_and_are_the_same_again(project: partial[np.ndarray]) -> None:
    label = np.repeat([0, 1], 15)
    features = np.random.default_rng(0).normal(0, 1, (30, 6)) + 8 * label[:, None]
    points = project(features)
    centres = points[:15].mean(axis=0), points[15:].mean(axis=0)
    spread = max(points[:15].std(), points[15:].std())
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    np.testing.assert_array_equal(points, project(features))


def test_constant_features_are_zero() -> None:
    features = np.random.default_rng(0).normal(3, 2, (800, 3)).astype(np.float32)
    features[:, 1] = 0.1
    standardized = standardize(features)
    assert np.all(standardized[:, 1] == 0)
    np.testing.assert_allclose(standardized[:, [0, 2]].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standardized[:, [0, 2]].std(axis=0), 1, atol=1e-6)


def test_table_of_projections_has_both_axes_of_each_clip() -> None:
    projections = {PCA: np.array([[1.0, 2.0], [3.0, 4.0]]), TSNE: np.array([[5.0, 6.0], [7.0, 8.0]])}
    table = projection_table(np.array([10, 11]), projections)
    assert table.to_dict("list") == {
        "track_id": [10, 11],
        "principal components x": [1.0, 3.0],
        "principal components y": [2.0, 4.0],
        "t-SNE x": [5.0, 7.0],
        "t-SNE y": [6.0, 8.0],
    }
