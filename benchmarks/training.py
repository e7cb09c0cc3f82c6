"""Training and answering at 640 x 128: the published networks as they are arranged here against the study's Keras code,
with the same weights and batches in turns, and against what the arithmetic alone would take.

The study's code runs twice: with oneDNN, as ours always does, and without, as TensorFlow runs it by itself on
processors without instructions for neural networks.

Run without arguments it measures; with ``<route> <network> <seconds>`` it is one of the processes measured for memory,
with ``<route> <network> timed`` one that times a call whenever a line with its name comes in.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, optimizers, regularizers
from timing import in_process, in_turns, ratios, seconds, spread, table, write

from music_genre.params import load_params
from music_genre.training.trainer import arranged, build_published

ROOT = Path(__file__).parents[1]
FRAMES, BANDS, GENRES = 640, 128, 8
TURNS, CALLS = 11, 8
BATCH = {"crnn": 32, "parallel": 64}
MATRIX = 2048


def study_crnn() -> keras.Model:
    """The study's convolutional-recurrent network, as its notebook builds it."""
    l2 = regularizers.L2(0.001)
    clip = x = keras.Input((FRAMES, BANDS))
    for _ in range(3):
        x = layers.Conv1D(56, 5, kernel_regularizer=l2)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling1D(2)(x)
        x = layers.Dropout(0.4)(x)
    x = layers.Dropout(0.4)(layers.LSTM(96)(x))
    x = layers.Dropout(0.4)(layers.Dense(64, kernel_regularizer=l2)(x))
    model = keras.Model(clip, layers.Dense(GENRES, activation="softmax")(x))
    model.compile(optimizers.Adam(0.001), "categorical_crossentropy", metrics=["accuracy"])
    return model


def study_parallel() -> keras.Model:
    """The study's parallel network, as its notebook builds it."""
    clip = x = keras.Input((FRAMES, BANDS, 1))
    for filters, pool in ((16, 2), (32, 2), (64, 2), (64, 4), (64, 4)):
        x = layers.MaxPooling2D(pool)(layers.Conv2D(filters, (3, 1), activation="relu")(x))
    convolutional = layers.Flatten()(x)
    sequence = layers.Reshape((FRAMES // 4, BANDS // 2))(layers.MaxPooling2D((4, 2))(clip))
    both = layers.Concatenate()([convolutional, layers.Bidirectional(layers.GRU(64))(sequence)])
    model = keras.Model(clip, layers.Dense(GENRES, activation="softmax")(both))
    model.compile(optimizers.RMSprop(0.0005), "categorical_crossentropy", metrics=["accuracy"])
    return model


def networks(name: str) -> dict[str, keras.Model]:
    """Ours and the study's, with the same weights; theirs takes what ours makes of dB itself."""
    params = getattr(load_params(ROOT / "params.yaml").models, name)
    keras.utils.set_random_seed(7)
    ours = arranged(build_published(name, (FRAMES, BANDS), GENRES, params))
    study = {"crnn": study_crnn, "parallel": study_parallel}[name]()
    study.set_weights([weight.numpy() for weight in ours.weights if "seed_generator" not in weight.path])
    return {"ours": ours, "the study's": study}


def work(name: str, model: keras.Model, ours: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step of training, and answers, for one batch; the study's code has labels one-hot, and clips as ln power."""
    size = BATCH[name]
    mel = np.random.default_rng(0).uniform(-80, 0, (size, FRAMES, BANDS)).astype(np.float32)
    label = np.arange(size) % GENRES
    if not ours:
        mel = (mel * np.float32(np.log(10) / 10)).reshape(size, *model.input_shape[1:])
    target = label if ours else np.eye(GENRES, dtype=np.float32)[label]
    return lambda: model.train_on_batch(mel, target), lambda: model.predict_on_batch(mel)


def operations(name: str) -> float:
    """Of one clip forwards: multiplications and additions of convolutions and recurrent layers."""
    if name == "crnn":
        lengths = ((636, BANDS), (314, 56), (153, 56))
        return 2 * (sum(frames * 5 * width * 56 for frames, width in lengths) + 74 * 4 * 96 * (56 + 96))
    blocks = ((638, 128, 1, 16), (317, 64, 16, 32), (156, 32, 32, 64), (76, 16, 64, 64), (17, 4, 64, 64))
    convolutions = sum(frames * bands * 3 * before * after for frames, bands, before, after in blocks)
    return 2 * (convolutions + 2 * 160 * 3 * 64 * (64 + 64))


def first_convolution(name: str) -> float:
    """The operations among them that have no gradient for their input: it is the clip."""
    return 2 * (636 * 5 * BANDS * 56 if name == "crnn" else 638 * 128 * 3 * 16)


def repeated(route: Callable[[], object]) -> float:
    """Seconds of a call, the mean of some."""
    return seconds(lambda: [route() for _ in range(CALLS)]) / CALLS


def without_onednn(name: str) -> subprocess.Popen[str]:
    """A process where TensorFlow runs the study's code by its other kernels."""
    return subprocess.Popen(
        [sys.executable, __file__, "the study's", name, "timed"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def asked(process: subprocess.Popen[str], kind: str) -> float:
    """Seconds of a call in another process; it waits until then."""
    if not (process.stdin and process.stdout):
        raise ValueError("the process has no pipes")
    print(kind, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def compare(name: str) -> tuple[list[str], list[str]]:
    """A row of training and one of inference."""
    models = networks(name)
    steps, answers = {}, {}
    for who, model in models.items():
        steps[who], answers[who] = work(name, model, who == "ours")
    matrix = tf.random.normal((MATRIX, MATRIX))
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    forward = operations(name)
    rows = []
    with without_onednn(name) as elsewhere:
        for kind, routes, count in (
            ("train", steps, 3 * forward - first_convolution(name)),
            ("answer", answers, forward),
        ):
            timed = {who: lambda route=route: repeated(route) for who, route in routes.items()}
            timed["without oneDNN"] = lambda kind=kind: asked(elsewhere, kind)
            timed["product"] = lambda: repeated(lambda: product().numpy())
            for route in timed.values():
                for _ in range(3):
                    route()
            found = in_turns(timed, TURNS)
            limit = [count * BATCH[name] / (2 * MATRIX**3) * one for one in found["product"]]
            rows.append(
                [
                    f"{name}, {kind}",
                    *(f"{BATCH[name] / statistics.median(found[who]):.0f}" for who in (*models, "without oneDNN")),
                    *(spread(ratios(found[who], found["ours"])) for who in ("the study's", "without oneDNN")),
                    *(spread([100 * share for share in ratios(limit, found[who])], 2) for who in models),
                ]
            )
    return rows[0], rows[1]


def main() -> None:
    if len(sys.argv) == 4:
        who, name = sys.argv[1:3]
        step, answer = work(name, networks(name)[who], who == "ours")
        if sys.argv[3] == "timed":
            for kind in sys.stdin:
                print(repeated(step if kind.strip() == "train" else answer), flush=True)
            return
        end = time.perf_counter() + float(sys.argv[3])
        while time.perf_counter() < end:
            step()
            answer()
        print(json.dumps({}))
        return
    rows = [row for name in BATCH for row in compare(name)]
    memory = [
        [name, *(f"{in_process(__file__, who, name, '20').peak_mb:.0f}" for who in ("ours", "the study's"))]
        for name in BATCH
    ]
    header = [
        "batches of 32 and 64",
        "ours, clips/s",
        "the study's",
        "it without oneDNN",
        "times its speed",
        "times that without oneDNN",
        "ours, % of the limit",
        "its %",
    ]
    write(
        "training",
        "The published networks on clips of 640 x 128. Without oneDNN is the study's code under"
        " TF_ENABLE_ONEDNN_OPTS=0, as TensorFlow has it by itself on processors without instructions for neural"
        " networks. The limit is what a plain float32 matrix product of the same number of operations takes in the"
        " same turn.",
        table(header, rows),
        table(["peak MB", "ours", "the study's"], memory),
    )


if __name__ == "__main__":
    main()
