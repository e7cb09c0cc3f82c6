"""Training and inference at 640 x 128: the published networks on the fused kernels against the study's Keras code, with
the same weights and batches in interleaved rounds, and against the time of the arithmetic alone.

The study's code runs twice: with oneDNN, as ours always does, and without, as TensorFlow runs it on processors without
instructions for neural networks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, optimizers, regularizers
from timing import in_process, interleaved, ratios, seconds, spread, table, write

from music_genre.params import load_params
from music_genre.training.recipes import make_recipe
from music_genre.training.trainer import build_network, optimize_for_device

ROOT = Path(__file__).parents[1]
N_FRAMES, N_BANDS, N_CLASSES = 640, 128, 8
OURS, STUDY, STUDY_WITHOUT_ONEDNN, MATRIX_PRODUCT = "ours", "study", "study without oneDNN", "matrix product"
MATRIX_SIZE = 2048


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        batch_size: by network.
        n_rounds: measurements of each route.
        n_calls: calls a measurement, which is their mean.
        n_warmups: measurements that do not count, before the others.
        memory_networks: whose memory is measured.
        memory_seconds: how long a process works whose memory is measured; at least one call of each kind.
    """

    batch_size: dict[str, int]
    n_rounds: int
    n_calls: int
    n_warmups: int
    memory_networks: tuple[str, ...]
    memory_seconds: float


FULL = Effort({"crnn": 32, "parallel": 64}, 11, 8, 3, ("crnn", "parallel"), 20)
QUICK = Effort({"crnn": 2, "parallel": 2}, 1, 1, 1, ("crnn",), 0)


def study_crnn() -> keras.Model:
    """The study's convolutional-recurrent network, as its notebook builds it."""
    l2 = regularizers.L2(0.001)
    clip = x = keras.Input((N_FRAMES, N_BANDS))
    for _ in range(3):
        x = layers.Conv1D(56, 5, kernel_regularizer=l2)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling1D(2)(x)
        x = layers.Dropout(0.4)(x)
    x = layers.Dropout(0.4)(layers.LSTM(96)(x))
    x = layers.Dropout(0.4)(layers.Dense(64, kernel_regularizer=l2)(x))
    model = keras.Model(clip, layers.Dense(N_CLASSES, activation="softmax")(x))
    model.compile(optimizers.Adam(0.001), "categorical_crossentropy", metrics=["accuracy"])
    return model


def study_parallel() -> keras.Model:
    """The study's parallel network, as its notebook builds it."""
    clip = x = keras.Input((N_FRAMES, N_BANDS, 1))
    for filters, pool in ((16, 2), (32, 2), (64, 2), (64, 4), (64, 4)):
        x = layers.MaxPooling2D(pool)(layers.Conv2D(filters, (3, 1), activation="relu")(x))
    convolutional = layers.Flatten()(x)
    sequence = layers.Reshape((N_FRAMES // 4, N_BANDS // 2))(layers.MaxPooling2D((4, 2))(clip))
    # The same variant of the GRU as ours, so that both have the same weights.
    gru = layers.GRU(64, reset_after=load_params(ROOT / "params.yaml").models["parallel"].published.reset_after)
    both = layers.Concatenate()([convolutional, layers.Bidirectional(gru)(sequence)])
    model = keras.Model(clip, layers.Dense(N_CLASSES, activation="softmax")(both))
    model.compile(optimizers.RMSprop(0.0005), "categorical_crossentropy", metrics=["accuracy"])
    return model


def our_network(name: str) -> keras.Model:
    """Our published network, compiled, as this device trains it."""
    params = load_params(ROOT / "params.yaml").models[name].model_copy(update={"recipe": "published"})
    model = build_network(name, params, (N_FRAMES, N_BANDS), N_CLASSES)
    make_recipe("published", params.published).compile(model, 1)
    return optimize_for_device(model)


def make_networks(name: str) -> dict[str, keras.Model]:
    """Ours and the study's, with the same weights."""
    keras.utils.set_random_seed(7)
    ours = our_network(name)
    study = {"crnn": study_crnn, "parallel": study_parallel}[name]()
    study.set_weights([weight.numpy() for weight in ours.weights if "seed_generator" not in weight.path])
    return {OURS: ours, STUDY: study}


def make_calls(model: keras.Model, who: str, n: int) -> dict[str, Callable[[], object]]:
    """A step of training and an inference of a batch of n clips. The study's code takes ln power and one-hot labels."""
    mel = np.random.default_rng(0).uniform(-80, 0, (n, N_FRAMES, N_BANDS)).astype(np.float32)
    target = np.arange(n) % N_CLASSES
    if who == STUDY:
        mel = (mel * np.float32(np.log(10) / 10)).reshape(n, *model.input_shape[1:])
        target = np.eye(N_CLASSES, dtype=np.float32)[target]
    return {
        "train": lambda: model.train_on_batch(mel, target),
        "inference": lambda: model.predict_on_batch(mel),
    }


def forward_operations(name: str) -> float:
    """Multiplications and additions of the convolutions and recurrent layers for one clip."""
    if name == "crnn":
        lengths = ((636, N_BANDS), (314, 56), (153, 56))
        return 2 * (sum(frames * 5 * channels * 56 for frames, channels in lengths) + 74 * 4 * 96 * (56 + 96))
    blocks = ((638, 128, 1, 16), (317, 64, 16, 32), (156, 32, 32, 64), (76, 16, 64, 64), (17, 4, 64, 64))
    convolutions = sum(frames * bands * 3 * before * after for frames, bands, before, after in blocks)
    return 2 * (convolutions + 2 * 160 * 3 * 64 * (64 + 64))


def first_convolution_operations(name: str) -> float:
    """Those of the first convolution, whose input is the clip and needs no gradient."""
    return 2 * (636 * 5 * N_BANDS * 56 if name == "crnn" else 638 * 128 * 3 * 16)


def mean_seconds(call: Callable[[], object], n_calls: int) -> float:
    return seconds(lambda: [call() for _ in range(n_calls)]) / n_calls


def start_without_onednn(name: str, effort: Effort) -> subprocess.Popen[str]:
    """A process in which TensorFlow runs the study's code on its other kernels; see ``serve_timings``."""
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", name, *flags(effort)],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def flags(effort: Effort) -> list[str]:
    """What a process of this script is started with to use the same effort."""
    return ["--quick"] if effort is QUICK else []


def serve_timings(name: str, effort: Effort) -> None:
    """For every line ``train`` or ``inference`` of standard input, print the seconds of such a call."""
    calls = make_calls(make_networks(name)[STUDY], STUDY, effort.batch_size[name])
    for line in sys.stdin:
        print(mean_seconds(calls[line.strip()], effort.n_calls), flush=True)


def request_timing(process: subprocess.Popen[str], kind: str) -> float:
    """Seconds of a call in a process of ``start_without_onednn``, which is idle before and after."""
    if not (process.stdin and process.stdout):
        raise ValueError("the process has no pipes")
    print(kind, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def compare(name: str, effort: Effort) -> list[list[str]]:
    """A row of training and one of inference."""
    n = effort.batch_size[name]
    calls = {who: make_calls(model, who, n) for who, model in make_networks(name).items()}
    matrix = tf.random.normal((MATRIX_SIZE, MATRIX_SIZE))
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    operations = {
        "train": 3 * forward_operations(name) - first_convolution_operations(name),
        "inference": forward_operations(name),
    }
    with start_without_onednn(name, effort) as process:
        return [compare_kind(name, kind, count, calls, product, process, effort) for kind, count in operations.items()]


def compare_kind(
    name: str,
    kind: str,
    operations: float,
    calls: dict[str, dict[str, Callable[[], object]]],
    product: Callable[[], tf.Tensor],
    without_onednn: subprocess.Popen[str],
    effort: Effort,
) -> list[str]:
    """The row of training or of inference."""
    routes: dict[str, Callable[[], float]] = {
        who: lambda call=by_kind[kind]: mean_seconds(call, effort.n_calls) for who, by_kind in calls.items()
    }
    routes[STUDY_WITHOUT_ONEDNN] = lambda: request_timing(without_onednn, kind)
    routes[MATRIX_PRODUCT] = lambda: mean_seconds(lambda: product().numpy(), effort.n_calls)
    interleaved(routes, effort.n_warmups)
    times = interleaved(routes, effort.n_rounds)
    n = effort.batch_size[name]
    limit = [operations * n / (2 * MATRIX_SIZE**3) * value for value in times[MATRIX_PRODUCT]]
    return [
        f"{name}, {kind}",
        *(f"{n / statistics.median(times[who]):.0f}" for who in (OURS, STUDY, STUDY_WITHOUT_ONEDNN)),
        *(spread(ratios(times[who], times[OURS])) for who in (STUDY, STUDY_WITHOUT_ONEDNN)),
        *(spread([100 * fraction for fraction in ratios(limit, times[who])], 2) for who in (OURS, STUDY)),
    ]


def work(name: str, who: str, effort: Effort) -> None:
    """Train and predict in this process until the time is up; its memory is measured from outside."""
    calls = make_calls(make_networks(name)[who], who, effort.batch_size[name])
    end = time.perf_counter() + effort.memory_seconds
    while True:
        for call in calls.values():
            call()
        if time.perf_counter() > end:
            break
    print(json.dumps({}))


def peak_memory_mb(name: str, who: str, effort: Effort) -> float:
    return in_process(__file__, "--work", name, who, *flags(effort)).peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one call with a batch of two clips; writes nothing")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # this and the next: processes that the benchmark starts
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    if options.serve:
        serve_timings(options.serve, effort)
        return
    if options.work:
        work(*options.work, effort)
        return
    rows = [row for name in effort.batch_size for row in compare(name, effort)]
    memory = [
        [name, *(f"{peak_memory_mb(name, who, effort):.0f}" for who in (OURS, STUDY))]
        for name in effort.memory_networks
    ]
    header = [
        f"batches of {' and '.join(map(str, effort.batch_size.values()))}",
        "ours, clips/s",
        "study",
        "study without oneDNN",
        "times the study",
        "times the study without oneDNN",
        "ours, % of the limit",
        "study, %",
    ]
    write(
        "training",
        "The published networks on clips of 640 x 128. Without oneDNN is the study's code under"
        " TF_ENABLE_ONEDNN_OPTS=0, as TensorFlow has it by itself on processors without instructions for neural"
        " networks. The limit is what a plain float32 matrix product of the same number of operations takes in the"
        " same round.",
        table(header, rows),
        table(["peak MB", "ours", "study"], memory),
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
