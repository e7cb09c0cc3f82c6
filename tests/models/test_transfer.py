"""Logistic regression on embeddings: what it equals, what it never sees, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from music_genre.encoders.sessions import load_onnx
from music_genre.models.linear_head import LinearHead, StoredHead, save_head
from music_genre.models.predictors import load_predictor
from music_genre.models.transfer import TransferParams, fit

PARAMS = TransferParams(input="embeddings/test", train_fraction=1.0, C=(0.01, 1.0))


def clips(n: int, n_classes: int = 3, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 4 windows, 6) embeddings around a centre for each genre, labels, and artists of two clips each."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    centres = rng.normal(0, 1, (n_classes, 6))
    embeddings = centres[labels][:, np.newaxis] + rng.normal(0, spread, (n, 4, 6))
    return embeddings.astype(np.float32), labels, np.arange(n) // (2 * n_classes) * n_classes + labels


@pytest.mark.parametrize("n_classes", [2, 3])
def test_answers_are_those_of_scikit_learn_at_the_fitted_temperature(n_classes: int) -> None:
    embeddings, labels, artists = clips(60, n_classes)
    head = fit(embeddings, labels, artists, n_classes, PARAMS)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=head.C, max_iter=2000))
    logits = np.log(model.fit(embeddings.mean(axis=1), labels).predict_proba(embeddings.mean(axis=1)))
    expected = np.exp(logits / head.temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.predict(embeddings), expected, atol=1e-4)


def test_regularization_and_temperature_are_those_that_fit_other_artists() -> None:
    # Two clips of an artist are nearly the same, and artists are far apart: what a fold by clip would reward.
    rng = np.random.default_rng(1)
    artists = np.repeat(np.arange(20), 4)
    labels = artists % 2
    own = rng.normal(0, 3, (20, 30))
    embeddings = (own[artists] + rng.normal(0, 0.01, (80, 30)))[:, np.newaxis].astype(np.float32)
    embeddings[:, 0, 0] += labels
    by_artist, by_clip = (fit(embeddings, labels, groups, 2, PARAMS) for groups in (artists, np.arange(80)))
    assert by_artist.C < by_clip.C
    assert by_artist.predict(embeddings).max(axis=1).mean() < by_clip.predict(embeddings).max(axis=1).mean()


def test_few_answers_that_are_all_right_do_not_make_the_next_ones_certain() -> None:
    embeddings, labels, artists = clips(12, spread=0.01)
    confidence = fit(embeddings, labels, artists, 3, PARAMS).predict(embeddings).max(axis=1)
    assert 0.8 < confidence.mean() < 0.97


@pytest.mark.parametrize("artists", [np.zeros(12, int), np.arange(12) % 3], ids=["one artist", "one a genre"])
def test_artists_that_cannot_be_held_out_leave_the_strongest_regularization(artists: np.ndarray) -> None:
    embeddings, labels, _ = clips(12)
    head = fit(embeddings, labels, artists, 3, PARAMS)
    assert (head.C, head.temperature) == (0.01, 1.0)


def test_genre_without_a_clip_is_never_believed() -> None:
    embeddings, labels, artists = clips(12, 2)
    probabilities = fit(embeddings, labels, artists, 3, PARAMS).predict(embeddings)
    assert (probabilities[:, 2] < 1e-4).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_stored_head_gives_the_same_answers_and_names_its_encoder(tmp_path: Path) -> None:
    embeddings, labels, artists = clips(30)
    head = fit(embeddings, labels, artists, 3, PARAMS)
    for name in ("a", "b"):
        save_head(head, tmp_path / name / "model.onnx", "test", "0" * 64)
    path = tmp_path / "a/model.onnx"
    assert path.read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    stored, predictor = StoredHead.read(path), load_predictor(path, "transfer")
    assert (stored.encoder, stored.encoder_digest) == ("test", "0" * 64)
    np.testing.assert_allclose(predictor.predict(embeddings), head.predict(embeddings), atol=1e-6)
    assert predictor.n_parameters == 6 * 3 + 3


def test_network_that_names_no_encoder_is_no_head(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", [value], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    load_onnx((tmp_path / "model.onnx").read_bytes())
    with pytest.raises(ValueError, match="names no encoder"):
        StoredHead.read(tmp_path / "model.onnx")


def test_head_without_temperature_is_softmax() -> None:
    head = LinearHead(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 1.0, 1.0)
    probabilities = head.predict(np.array([[[0.0, 1.0], [0.0, 3.0]]], np.float32))
    np.testing.assert_allclose(probabilities[0, 1], 1 / (1 + np.exp(-2)), atol=1e-6)
