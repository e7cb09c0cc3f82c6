"""One clip through a published network: as the service runs it against calling the Keras model."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from timing import interleaved, ratios, seconds, spread, table, write

from music_genre.models.predictors import load_predictor
from music_genre.models.serialization import save_network
from music_genre.params import load_params
from music_genre.training.trainer import build_network

ROOT = Path(__file__).parents[1]
SHAPE, N_CLASSES = (640, 128), 8
N_ROUNDS = 15


def time_forward_pass(path: Path, name: str, n_rounds: int) -> list[str]:
    """A row of the table: one clip through an untrained network, which is stored as ``path``."""
    params = load_params(ROOT / "params.yaml").models[name].model_copy(update={"recipe": "published"})
    model = build_network(name, params, SHAPE, N_CLASSES)
    save_network(model, path)
    predictor = load_predictor(path, name)
    clip = np.random.default_rng(0).normal(-40, 10, (1, *SHAPE)).astype(np.float32)
    tensor = keras.ops.convert_to_tensor(clip)
    routes = {
        "ours": lambda: 1000 * seconds(lambda: predictor.predict(clip)),
        "eager": lambda: 1000 * seconds(lambda: model(tensor)),
        "predict": lambda: 1000 * seconds(lambda: model.predict(tensor, verbose=0)),
    }
    for warm_up in routes.values():
        warm_up()
    values = interleaved(routes, n_rounds)
    return [
        name,
        *(spread(values[route]) for route in routes),
        *(spread(ratios(values[route], values["ours"])) for route in ("eager", "predict")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round; writes nothing")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as temporary:
        rows = [
            time_forward_pass(Path(temporary) / f"{name}.keras", name, 1 if quick else N_ROUNDS)
            for name in ("crnn", "parallel")
        ]
    header = [
        "one clip",
        "ours, ms",
        "model(clip), ms",
        "model.predict, ms",
        "times model(clip)",
        "times model.predict",
    ]
    write("forward", table(header, rows), quick=quick)


if __name__ == "__main__":
    main()
