"""Models in ONNX: the probabilities of what trained them, and the same bytes for the same model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

from music_genre.models import baseline
from music_genre.models.onnx_export import canonical, export_classifier, export_network
from music_genre.models.predictors import load_predictor
from music_genre.models.registry import get_model
from music_genre.models.serialization import save_classifier, save_network
from music_genre.params import load_params
from music_genre.training.recipes import make_recipe
from music_genre.training.trainer import seed_everything

SHAPE, N_CLASSES = (64, 32), 3
MODELS = load_params(Path(__file__).parents[2] / "params.yaml").models
EVEN_POOLS = {"pools": ((2, 2), (2, 2), (2, 2), (1, 2), (1, 2))}
PARAMS = {
    ("crnn", "published"): MODELS["crnn"].published,
    ("crnn", "improved"): MODELS["crnn"].improved,
    ("parallel", "published"): MODELS["parallel"].published.model_copy(update=EVEN_POOLS),
    ("parallel", "improved"): MODELS["parallel"].improved.model_copy(update=EVEN_POOLS),
}


def save(folder: Path, name: str, recipe: str, **changes: Any) -> Path:
    """The ``.keras`` of a network, of several seeds where the recipe says so, whose weights were never trained."""
    params = PARAMS[name, recipe].model_copy(update=changes)
    seed_everything(1)
    trained = make_recipe(recipe, params)
    networks = [get_model(name).builders[recipe](SHAPE, N_CLASSES, params) for _ in range(trained.n_seeds)]
    path = folder / f"{name}.keras"
    save_network(trained.combine(networks, SHAPE), path)
    return path


def clips(n: int) -> np.ndarray:
    return np.random.default_rng(n).uniform(-80, 0, (n, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "recipe", "changes"),
    [
        pytest.param("crnn", "improved", {}, marks=pytest.mark.slow),
        pytest.param("crnn", "published", {}, marks=pytest.mark.slow),
        ("parallel", "published", {}),
        pytest.param("parallel", "improved", {}, marks=pytest.mark.slow),
        pytest.param("parallel", "published", {"reset_after": False}, marks=pytest.mark.slow),
        pytest.param("crnn", "improved", {"n_segments": 1, "n_seeds": 2}, marks=pytest.mark.slow),
    ],
)
def test_exported_network_has_the_probabilities_of_keras_and_the_same_bytes_again(
    tmp_path: Path, name: str, recipe: str, changes: dict[str, Any]
) -> None:
    trained, exported, again = save(tmp_path, name, recipe, **changes), tmp_path / "a.onnx", tmp_path / "b.onnx"
    export_network(trained, exported)
    export_network(trained, again)
    assert exported.read_bytes() == again.read_bytes()
    keras, network = load_predictor(trained, name), load_predictor(exported, name)
    assert network.n_parameters == keras.n_parameters
    for n in (1, 5, 70):
        mel = clips(n)
        np.testing.assert_allclose(network.predict(mel), keras.predict(mel), rtol=0, atol=1e-5)
    assert network.predict(clips(0)).shape == (0, N_CLASSES)


@pytest.mark.parametrize("features", ["mel_statistics", "mfcc_statistics"])
@pytest.mark.parametrize("n_classes", [2, 3, 8])
def test_exported_classifier_has_the_probabilities_of_scikit_learn_and_the_same_bytes_again(
    tmp_path: Path, features: str, n_classes: int
) -> None:
    params = MODELS["baseline"].model_copy(update={"features": features})
    labels = np.arange(60) % n_classes
    mel = clips(60) + 5 * labels[:, None, None]
    classifier = baseline.fit(baseline.extract(mel, params), labels, params)
    trained, exported, again = tmp_path / "model.skops", tmp_path / "a.onnx", tmp_path / "b.onnx"
    save_classifier(classifier, params, trained)
    export_classifier(baseline.MODEL, classifier, params, exported)
    export_classifier(baseline.MODEL, classifier, params, again)
    assert exported.read_bytes() == again.read_bytes()
    fitted, network = load_predictor(trained, "baseline"), load_predictor(exported, "baseline")
    assert network.n_parameters == fitted.n_parameters
    unseen = np.concatenate([clips(70), mel])
    np.testing.assert_allclose(network.predict(unseen), fitted.predict(unseen), rtol=0, atol=1e-5)
    assert network.predict(clips(0)).shape == (0, n_classes)


def test_classifier_without_an_export_is_answered_as_it_was_stored(tmp_path: Path) -> None:
    export_classifier(replace(baseline.MODEL, to_onnx=None), Pipeline([]), MODELS["baseline"], tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def graph(order: tuple[int, ...], prefix: str, identity: bool) -> onnx.ModelProto:
    """relu(mel) + mel * weight, with its nodes in some order under some names."""
    name = prefix.__add__
    nodes = [
        helper.make_node("Relu", [name("in")], [name("relu")], name=name("1")),
        helper.make_node("Mul", [name("in"), name("weight")], [name("product")], name=name("2")),
        helper.make_node("Exp", [name("in")], [name("unused")], name=name("3")),
        helper.make_node("Identity", [name("relu")], [name("same")]),
        helper.make_node("Add", [name("same" if identity else "relu"), name("product")], [name("out")]),
    ]
    shape = [name("batch"), 4]
    return helper.make_model(
        helper.make_graph(
            [nodes[i] for i in order],
            name("graph"),
            [helper.make_tensor_value_info(name("in"), TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name("out"), TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(np.arange(4, dtype=np.float32), name("weight"))],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def test_order_names_and_what_is_not_needed_leave_no_trace() -> None:
    first = canonical(graph((0, 1, 2, 3, 4), "a", identity=False))
    second = canonical(graph((2, 1, 0, 3, 4), "b", identity=True))
    onnx.checker.check_model(first, full_check=True)
    assert [node.op_type for node in first.graph.node] == ["Relu", "Mul", "Add"]
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_another_weight_is_another_file() -> None:
    model = graph((0, 1, 2, 3, 4), "a", identity=False)
    other = graph((0, 1, 2, 3, 4), "a", identity=False)
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones(4, np.float32), "aweight"))
    assert canonical(model).SerializeToString() != canonical(other).SerializeToString()


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(graph((0, 1, 2, 3, 4), "a", identity=False).SerializeToString())
    with pytest.raises(ValueError, match="no model that this program stored"):
        load_predictor(path, "crnn")
