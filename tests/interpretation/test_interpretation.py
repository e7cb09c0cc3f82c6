"""What is said about networks is true of them: checked on small ones, some of them trained, some made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from music_genre.models.assembly import assemble

from music_genre.errors import MusicGenreError
from music_genre.evaluation import model_comparison as disagreement
from music_genre.features.mel import MelConfig
from music_genre.features.store import MelDataset, SpectrogramStore
from music_genre.interpretation import activations as layers
from music_genre.interpretation import architecture, embedding, saliency
from music_genre.interpretation import feature_visualization as filters
from music_genre.interpretation.plots import Scale
from music_genre.models import crnn, parallel
from music_genre.models.bundle import load_predictor
from music_genre.params import load_params
from music_genre.training.trainer import make_deterministic

keras = pytest.importorskip("keras")
ROOT = Path(__file__).parents[2]
NETWORKS = ("crnn", "parallel")


@pytest.fixture(scope="module")
def data(trained_checkout: Path) -> SpectrogramStore:
    return SpectrogramStore.open(trained_checkout / "data/spectrograms")


@pytest.fixture(scope="module")
def clips(data: SpectrogramStore) -> MelDataset:
    return data.split("training")


@pytest.fixture(scope="module")
def published(trained_checkout: Path) -> dict[str, keras.Model]:
    """Both networks of the study, trained a little."""
    return {name: layers.load_network(trained_checkout / f"models/{name}/model.keras") for name in NETWORKS}


@pytest.fixture(scope="module")
def nested() -> keras.Model:
    """Two copies of an improved network, each asked about three parts of a clip of 96 frames."""
    make_deterministic(3)
    settings = load_params(ROOT / "params.yaml").models.parallel
    return assemble([parallel.improved(32, 3, settings) for _ in range(2)], (96, 32, 1), parts=3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_filter_hears_its_own_spectrogram_louder_than_any_real_clip(
    published: dict[str, keras.Model], clips: MelDataset, data: SpectrogramStore, name: str, place: int
) -> None:
    part = layers.first_and_last(published[name])[place]
    table, woken = filters.wake(part, clips, data.genres, 6, seed=7)
    heard = filters.listener(part, clips.shape)
    own = filters.activations(heard, woken)[np.arange(6), 0, table["filter"]]
    real = filters.answers(heard, clips)[:, :, table["filter"]].max(axis=(0, 1))
    # A rectifier that no clip opens may be one that nothing opens.
    woken_by_clips = real > 0
    assert woken_by_clips.sum() >= 2
    assert (own > real)[woken_by_clips].all()
    assert (own >= real).all()
    np.testing.assert_allclose(table["maximised"], own)
    assert woken.min() >= -80
    assert woken.max() <= 0


def test_spectrograms_of_filters_differ_and_are_the_same_bytes_each_time(
    published: dict[str, keras.Model], clips: MelDataset, data: SpectrogramStore
) -> None:
    part = layers.first_and_last(published["parallel"])[1]
    first, again = (filters.wake(part, clips, data.genres, 4, seed=7)[1] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    distances = [np.abs(first[one] - first[other]).mean() for one in range(4) for other in range(one)]
    assert min(distances) > 1


def test_a_convolution_is_found_by_name_at_any_depth(published: dict[str, keras.Model], nested: keras.Model) -> None:
    assert layers.convolution(published["parallel"], "conv3").name == "conv3"
    assert layers.convolution(nested, "conv3").name == "copy1/conv3"
    assert layers.convolution(nested, "copy2/conv3").holder is nested.get_layer("copy2")
    with pytest.raises(MusicGenreError, match="no convolution 'conv9'; there are conv1, conv2, conv3"):
        layers.convolution(published["crnn"], "conv9")


def test_the_last_convolution_lies_in_the_same_model_as_the_first(nested: keras.Model) -> None:
    assert [part.name for part in layers.first_and_last(nested)] == ["copy1/conv1", "copy1/conv4"]


def test_maps_are_what_the_network_itself_computes_after_its_activation(published: dict[str, keras.Model]) -> None:
    network = published["crnn"]
    mel = np.random.default_rng(0).uniform(-80, 0, (2, 64, 32)).astype(np.float32)
    inside = keras.Model(network.input, network.get_layer("relu2").output)
    found = layers.maps(layers.convolution(network, "conv2"), 64, 32)(mel)
    np.testing.assert_allclose(found, inside(mel), rtol=1e-5)


def test_a_shorter_stretch_meets_the_same_weights(published: dict[str, keras.Model]) -> None:
    part = layers.convolution(published["parallel"], "conv1")
    mel = np.random.default_rng(0).uniform(-80, 0, (1, 64, 32)).astype(np.float32)
    whole, short = layers.maps(part, 64, 32)(mel), layers.maps(part, 20, 32)(mel[:, :20])
    np.testing.assert_allclose(short, whole[:, :18], rtol=1e-5)


def test_a_copy_answers_by_its_penultimate_layer(nested: keras.Model, published: dict[str, keras.Model]) -> None:
    mel = np.random.default_rng(0).uniform(-80, 0, (2, 96, 32)).astype(np.float32)
    copy = nested.get_layer("copy1")
    features = layers.penultimate(nested, 96, 32)(mel)
    np.testing.assert_allclose(copy.get_layer("genre")(features), copy(mel), rtol=1e-4)
    assert layers.penultimate(published["crnn"], 64, 32).output_shape == (None, crnn.DENSE_UNITS)


def test_tell_apart_finds_the_filter_that_hears_a_genre() -> None:
    label = np.repeat([0, 1], 10)
    random = np.random.default_rng(0)
    deaf, hearing = random.normal(0, 1, 20), label + random.normal(0, 0.1, 20)
    table = filters.tell_apart(np.stack([deaf, hearing, np.zeros(20)], axis=1)[:, None], label, ("Folk", "Rock"))
    assert table["between"].argmax() == 1
    assert table.loc[1, "genre"] == "Rock"
    assert table.loc[2, ["between", "genre"]].tolist() == [0, ""]


def test_filters_that_say_the_same_or_nothing_are_shown_last() -> None:
    random = np.random.default_rng(0)
    loud, other = random.normal(size=(2, 50))
    answered = np.stack([loud, other, -2 * loud + 1, np.zeros(50)], axis=1)
    alike = filters.saying_the_same(answered)
    assert filters.distinct(np.array([2, 0, 1, 3]), alike).tolist() == [2, 1, 0, 3]


def test_pictures_of_silence_are_one_picture() -> None:
    random = np.random.default_rng(0)
    silent = random.uniform(-80, -75, (2, 30, 20))
    loud = random.uniform(-80, 0, (2, 30, 20))
    woken = np.stack([silent[0], loud[0], silent[1], loud[1]])
    assert filters.distinct(np.arange(4), filters.looking_the_same(woken)).tolist() == [0, 1, 3, 2]


def test_a_softened_network_rectifies_nothing_and_is_otherwise_the_same(published: dict[str, keras.Model]) -> None:
    part = layers.convolution(published["parallel"], "conv1")
    mel = np.random.default_rng(0).uniform(-80, 0, (2, 64, 32)).astype(np.float32)
    hard, soft = np.asarray(layers.maps(part, 64, 32)(mel)), np.asarray(layers.maps(part, 64, 32, soft=True)(mel))
    np.testing.assert_allclose(soft[hard > 0], hard[hard > 0], rtol=1e-5)
    assert np.all(soft[hard == 0] <= 0)
    assert np.any(soft < 0)


def hand_made() -> tuple[saliency.Predict, keras.Model]:
    """A model that hears frames 8 to 15 of bands 4 to 7, and nothing else."""
    weights = np.zeros((32, 16), np.float32)
    weights[8:16, 4:8] = 0.005
    clip = keras.Input((32, 16))
    flat = keras.layers.Flatten()(clip)
    score = keras.layers.Dense(1, activation="sigmoid", bias_initializer=keras.initializers.Constant(3.0))
    likely = score(flat)
    model = keras.Model(clip, keras.layers.Concatenate()([1 - likely, likely]))
    score.kernel.assign(weights.reshape(-1, 1))
    return lambda mel: np.asarray(model(mel)), model


@pytest.fixture(scope="module")
def loud_there() -> np.ndarray:
    """A clip that is loud where ``hand_made`` listens."""
    mel = np.random.default_rng(1).uniform(-80, -50, (32, 16)).astype(np.float32)
    mel[8:16, 4:8] = -5
    return mel


def test_saliency_points_to_what_the_answer_rests_on(loud_there: np.ndarray) -> None:
    predict, model = hand_made()
    cells = saliency.integrated_gradients(saliency.gradients([(model, 1.0)]), loud_there, 1)
    there = np.zeros((32, 16), bool)
    there[8:16, 4:8] = True
    assert np.all(cells[there] > 0)
    assert np.all(cells[~there] == 0)
    blocks = saliency.occlusion(predict, loud_there, 1)
    assert set(zip(*np.nonzero(blocks > 1e-4), strict=True)) == {(t, b) for t in range(4, 8) for b in (2, 3)}


def test_integrated_gradients_add_up_to_what_the_clip_changes(loud_there: np.ndarray) -> None:
    predict, model = hand_made()
    cells = saliency.integrated_gradients(saliency.gradients([(model, 1.0)]), loud_there, 1)
    change = predict(loud_there[None])[0, 1] - predict(saliency.grey(loud_there)[None])[0, 1]
    assert cells.sum() == pytest.approx(change, abs=0.01)


def test_gradients_of_an_average_are_the_average_of_gradients(loud_there: np.ndarray) -> None:
    one, other = hand_made()[1], hand_made()[1]
    other.layers[2].kernel.assign(-other.layers[2].kernel)
    alone = [saliency.integrated_gradients(saliency.gradients([(m, 1.0)]), loud_there, 1) for m in (one, other)]
    both = saliency.integrated_gradients(saliency.gradients([(one, 0.25), (other, 0.75)]), loud_there, 1)
    np.testing.assert_allclose(both, 0.25 * alone[0] + 0.75 * alone[1], atol=1e-6)


def test_deleting_what_matters_lowers_the_score_more_than_deleting_at_random(
    trained_checkout: Path, published: dict[str, keras.Model], data: SpectrogramStore
) -> None:
    predict = load_predictor(trained_checkout / "models/parallel/model.keras").predict
    gradient = saliency.gradients([(published["parallel"], 1.0)])
    falls = []
    for clip in data.split("test").read(np.arange(6)):
        named = int(predict(clip[None])[0].argmax())
        cells = saliency.in_blocks(saliency.integrated_gradients(gradient, clip, named))
        falls += [
            saliency.deletion(predict, clip, named, b, 0) for b in (cells, saliency.occlusion(predict, clip, named))
        ]
    top, random = np.mean(falls, axis=0)
    assert top > random


def test_blocks_cover_a_clip_evenly() -> None:
    numbers = saliency.block_numbers((640, 128))
    assert np.bincount(numbers.ravel()).tolist() == [640] * 128
    assert numbers[0, 0] == 0
    assert numbers[-1, -1] == 127
    assert saliency.in_blocks(np.ones((5, 3))).shape == (5, 3)


def test_clusters_that_are_the_genres_score_one_and_chance_scores_none() -> None:
    random, label = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    apart = np.eye(3)[label] * 10 + random.normal(0, 0.1, (60, 3))
    assert embedding.cluster_scores(apart, label, 0)["adjusted_rand"] == 1
    noise = embedding.cluster_scores(random.normal(0, 1, (60, 3)), label, 0)
    assert abs(noise["adjusted_rand"]) < 0.2
    assert noise["silhouette_of_genres"] < 0.1
    alone = embedding.cluster_scores(np.eye(3), np.arange(3), 0)
    assert (alone["clusters"], alone["silhouette"], alone["silhouette_of_genres"]) == (3, None, None)


def test_maps_keep_groups_together_and_are_the_same_each_time() -> None:
    label = np.repeat([0, 1], 15)
    features = np.random.default_rng(0).normal(0, 1, (30, 6)) + 8 * label[:, None]
    for places in (embedding.principal(features), embedding.neighbours(features, 7)):
        centres = places[:15].mean(axis=0), places[15:].mean(axis=0)
        spread = max(places[:15].std(), places[15:].std())
        assert np.linalg.norm(centres[0] - centres[1]) > spread
    np.testing.assert_array_equal(embedding.neighbours(features, 7), embedding.neighbours(features, 7))


PREDICTIONS = {
    name: pd.DataFrame(
        {
            "track_id": [1, 2, 3, 4],
            "split": "test",
            "actual": ["Folk", "Folk", "Rock", "Rock"],
            "predicted": answers,
            "confidence": [0.9, 0.8, 0.7, 0.6],
        }
    )
    for name, answers in {
        "crnn": ["Folk", "Rock", "Rock", "Folk"],
        "parallel": ["Folk", "Folk", "Folk", "Folk"],
        "ensemble": ["Folk", "Folk", "Rock", "Folk"],
    }.items()
}


def test_clips_that_one_network_alone_gets_right_are_counted() -> None:
    table = disagreement.side_by_side(PREDICTIONS)
    right = disagreement.who_is_right(table, "crnn", "parallel")
    assert right.tolist() == ["both", "parallel only", "crnn only", "neither"]
    genres = disagreement.by_genre(table, "crnn", "parallel", "ensemble").set_index("genre")
    assert genres.loc["Folk", ["both", "parallel_only", "gain", "saved", "lost"]].tolist() == [1, 1, 0, 1, 0]
    assert genres.loc["Rock", ["crnn_only", "neither", "ensemble", "gain"]].tolist() == [1, 1, 1, 0]


def test_confusions_are_ranked() -> None:
    table = disagreement.side_by_side(PREDICTIONS)
    assert disagreement.confusions(table, "parallel").loc[0].tolist() == ["Rock", "Folk", 2, 1.0]


def test_a_model_without_mistakes_confuses_nothing() -> None:
    table = disagreement.side_by_side(PREDICTIONS)
    right = disagreement.confusions(table.assign(crnn=table["actual"]), "crnn")
    assert right.empty
    assert list(right) == ["actual", "predicted", "clips", "share"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_diagram_shows_every_weight_once_and_readers_below_what_they_read(
    published: dict[str, keras.Model], name: str
) -> None:
    boxes = architecture.boxes(published[name])
    assert sum(box.parameters for box in boxes) == published[name].count_params()
    places = architecture.places(boxes)
    assert len(set(places)) == len(places)
    assert all(places[above][1] < places[number][1] for number, box in enumerate(boxes) for above in box.above)


def test_axes_are_in_seconds_and_hertz_where_audio_is_known() -> None:
    transform = MelConfig(
        sample_rate_hz=22_050, n_fft=2048, hop_length=1024, n_mels=128, frames=640, clip_duration_s=31
    )
    assert Scale(transform).time(640) == pytest.approx(29.72, abs=0.01)
    positions, names = Scale(transform).ticks(128)
    assert names == ["100", "500", "1k", "2k", "5k", "10k"]
    assert np.all(np.diff(positions) > 0)
    assert 20 < positions[2] < 50
    assert (Scale(None).unit, Scale(None).ticks(128)[1][-1]) == ("frames", "128")
