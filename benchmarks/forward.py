"""One clip through a network: the way the service does it against calling the Keras model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from timing import in_turns, ratios, seconds, spread, table, write

from music_genre.models.bundle import load_predictor
from music_genre.models.serialization import save_network
from music_genre.params import load_params
from music_genre.training.trainer import build_published

ROOT = Path(__file__).parents[1]
TURNS = 15


def forward(folder: Path, name: str) -> list[str]:
    """A row: one clip through an untrained network."""
    params = load_params(ROOT / "params.yaml")
    model = build_published(name, (640, 128), 8, getattr(params.models, name))
    save_network(model, folder / f"{name}.keras")
    predictor = load_predictor(folder / f"{name}.keras")
    clip = np.random.default_rng(0).normal(-40, 10, (1, 640, 128)).astype(np.float32)
    shaped = keras.ops.convert_to_tensor(clip.reshape(1, *model.input_shape[1:]))
    routes = {
        "ours": lambda: 1000 * seconds(lambda: predictor.predict(clip)),
        "eager": lambda: 1000 * seconds(lambda: model(shaped)),
        "predict": lambda: 1000 * seconds(lambda: model.predict(shaped, verbose=0)),
    }
    for route in routes.values():
        route()
    found = in_turns(routes, TURNS)
    return [
        name,
        *(spread(found[route]) for route in routes),
        *(spread(ratios(found[route], found["ours"])) for route in ("eager", "predict")),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        rows = [forward(Path(temporary), name) for name in ("crnn", "parallel")]
    header = [
        "one clip",
        "ours, ms",
        "model(clip), ms",
        "model.predict, ms",
        "times model(clip)",
        "times model.predict",
    ]
    write("forward", table(header, rows))


if __name__ == "__main__":
    main()
