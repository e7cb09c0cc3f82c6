"""The music tagger ``MSD_musicnn`` as an ONNX file: from audio to 200 numbers and 50 tags.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019. The weights lie in
the wheel ``musicnn`` 0.1.0, ISC licence. Its code is neither imported nor installed.

Most filters of the front end are dead: their weights are zero, so their output is the same number for any audio. They
are left out, and their numbers go into the biases of the layers that read them. 65 of 561 filters are left.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from music_genre.errors import MusicGenreError
from music_genre.files import atomic_write

if TYPE_CHECKING:
    from onnx import ModelProto

SAMPLE_RATE_HZ = 16_000
WINDOW_LENGTH = 48_000  # samples
DIMENSION = 200  # of an embedding

# fmt: off
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock", "jazz",
    "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow", "electronica",
    "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House", "happy",
)
# fmt: on

N_FFT = 512
HOP_LENGTH = N_FFT // 2
N_FRAMES, N_MELS = 187, 96
POWER_SCALE = 10_000  # the network reads log10(1 + 10,000 * power)
EPSILON = 1e-3  # of batch normalization
DEAD_WEIGHT = 1e-6  # a filter is dead when the sum of its absolute weights is smaller; the input stays within 3
FRONT_CONVOLUTIONS = range(5)  # two timbral, three temporal
MID_CONVOLUTIONS = range(5, 8)

CHECKPOINT = "musicnn/MSD_musicnn/"
CHECKPOINT_SUFFIXES = (".index", ".data-00000-of-00001")
LICENCE = "musicnn-0.1.0.dist-info/LICENSE.md"
IR_VERSION, OPSET = 8, 17  # fixed, so that the same bytes come from any version of the library


class _Graph:
    """An ONNX graph that grows node by node. Names of values are strings, as in ONNX."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str | np.ndarray, output: str = "", **attributes: Any) -> str:
        """Add a node.

        Args:
            operator: of ONNX.
            inputs: names of values, or constants: float64 becomes float32, integers are int64.
            output: its name; empty for one that is made up.
            attributes: of the operator.

        Returns:
            The name of its output.
        """
        from onnx import helper

        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def _constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        dtype = np.int64 if values.dtype.kind == "i" else np.float32
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def model(self, licence: str) -> ModelProto:
        """The checked model, from ``audio`` to ``embedding`` and ``tags``."""
        from onnx import TensorProto, checker, helper

        shapes = {"audio": WINDOW_LENGTH, "embedding": DIMENSION, "tags": len(TAGS)}
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["windows", size]) for name, size in shapes.items()
        ]
        graph = helper.make_graph(self.nodes, "MSD_musicnn", values[:1], values[1:], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, doc_string=licence)
        checker.check_model(model, full_check=True)
        return model


class _Checkpoint:
    """The weights of the network in float64, and the licence.

    Args:
        wheel: of ``musicnn`` 0.1.0.

    Raises:
        MusicGenreError: the wheel is another one.
    """

    def __init__(self, wheel: Path) -> None:
        import tensorflow as tf

        self.used: set[str] = set()  # names of weights
        with tempfile.TemporaryDirectory() as folder:
            prefix = Path(folder) / "weights"  # the wheel's own prefix is empty, which TensorFlow takes for a folder
            try:
                with zipfile.ZipFile(wheel) as archive:
                    for suffix in CHECKPOINT_SUFFIXES:
                        prefix.with_suffix(suffix).write_bytes(archive.read(CHECKPOINT + suffix))
                    self.licence = archive.read(LICENCE).decode()
                reader = tf.train.load_checkpoint(str(prefix))
            except (KeyError, zipfile.BadZipFile, tf.errors.OpError) as error:
                raise MusicGenreError(f"{wheel} is not the wheel of musicnn 0.1.0: {error}") from error
            names = reader.get_variable_to_shape_map()
            self.values = {name: np.asarray(reader.get_tensor(name), np.float64) for name in names}

    @property
    def n_used(self) -> int:
        """The number of weights that were asked for so far."""
        return sum(self.values[name].size for name in self.used)

    def dense(self, number: int) -> list[np.ndarray]:
        """(inputs, outputs) kernel and (outputs,) bias."""
        return self._layer("dense", number, "kernel", "bias")

    def convolution(self, number: int) -> list[np.ndarray]:
        """(outputs, 1, time, width) kernel and (outputs,) bias; the width is of mel bands or of features."""
        kernel, bias = self._layer("conv2d", number, "kernel", "bias")
        return [kernel.transpose(3, 2, 0, 1), bias]

    def normalization(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(channels,) scale and shift of a batch normalization."""
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = self._layer("batch_normalization", number, *parts)
        scale = gamma / np.sqrt(variance + EPSILON)
        return scale, beta - mean * scale

    def _layer(self, kind: str, number: int, *parts: str) -> list[np.ndarray]:
        layer = f"{kind}_{number}" if number else kind
        names = [f"{layer}/{part}" for part in parts]
        self.used.update(names)
        return [self.values[name] for name in names]


@dataclass(frozen=True)
class _Front:
    """The front end.

    Args:
        output: name of its (windows, live filters, frames) features.
        live: (filters,) whether a filter is not dead.
        dead_values: (dead filters,) what each of them gives for any audio.
    """

    output: str
    live: np.ndarray
    dead_values: np.ndarray


def convert(wheel: Path, target: Path) -> int:
    """Write the encoder as one ONNX file; the same bytes each time.

    Its input ``audio`` is (windows, 48,000) float32, mono in [-1, 1] at 16 kHz. Its outputs are ``embedding``,
    (windows, 200) float32, what the last dense layer reads: after ReLU and batch normalization, so of both signs; and
    ``tags``, (windows, 50) float32, the probability of each of ``TAGS``, which need not sum to 1.

    Args:
        wheel: of ``musicnn`` 0.1.0.
        target: the file to write.

    Returns:
        The number of weights that were read and used, 792,079: all of the network. Those of dead filters are among
        them; what they add is in the biases.

    Raises:
        MusicGenreError: the wheel is another one.
    """
    weights, graph = _Checkpoint(wheel), _Graph()
    front = _add_front_end(graph, weights, _add_log_mel(graph))
    features = _add_mid_end(graph, weights, front)
    _add_back_end(graph, weights, front, features)
    content = graph.model(weights.licence).SerializeToString(deterministic=True)
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    return weights.n_used


def _add_log_mel(graph: _Graph) -> str:
    """From ``audio`` to (windows, 187, 96) log10(1 + 10,000 * power) of mel bands, librosa's, with zeros around
    the audio. A frame is two neighbouring blocks, since the hop is half of it.
    """
    from librosa.filters import mel

    n_blocks = N_FRAMES + 1
    end = N_FRAMES * HOP_LENGTH - WINDOW_LENGTH  # negative: samples after the last frame are cut
    padded = graph.add("Pad", "audio", np.array([0, HOP_LENGTH, 0, end]))
    blocks = graph.add("Reshape", padded, np.array([0, n_blocks, HOP_LENGTH]))
    first = graph.add("Slice", blocks, np.array([0]), np.array([N_FRAMES]), np.array([1]))
    second = graph.add("Slice", blocks, np.array([1]), np.array([n_blocks]), np.array([1]))
    frames = graph.add("Concat", first, second, axis=2)

    samples, bins = np.arange(N_FFT)[:, np.newaxis], np.arange(1, N_FFT // 2)  # the first and the last bin weigh 0
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * samples / N_FFT)
    phases = 2 * np.pi * (samples * bins % N_FFT) / N_FFT
    filters = POWER_SCALE * mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=N_MELS).T[1:-1].astype(np.float64)
    spectrum = graph.add("MatMul", frames, np.hstack([hann * np.cos(phases), hann * np.sin(phases)]))
    power = graph.add("Mul", spectrum, spectrum)  # of cosines and of sines, which the bands add up
    bands = graph.add("MatMul", power, np.vstack([filters, filters]))
    logarithm = graph.add("Log", graph.add("Add", bands, np.array(1.0)))
    return graph.add("Mul", logarithm, np.array(1 / np.log(10)))


def _add_front_end(graph: _Graph, weights: _Checkpoint, log_mel: str) -> _Front:
    """Filters over time and mel bands, each followed by ReLU, batch normalization and the maximum over mel bands.

    Neither ReLU nor a positive scale moves a maximum, so it comes first here. A negative scale turns it into a minimum:
    such filters are negated before the maximum and after it.
    """
    scale, shift = weights.normalization(0)
    image = graph.add("Unsqueeze", graph.add("Add", graph.add("Mul", log_mel, scale), shift), np.array([1]))
    kernels, biases = zip(*map(weights.convolution, FRONT_CONVOLUTIONS), strict=True)
    live = [np.abs(kernel).sum(axis=(1, 2, 3)) >= DEAD_WEIGHT for kernel in kernels]
    scales, shifts = zip(*(weights.normalization(number + 1) for number in FRONT_CONVOLUTIONS), strict=True)
    pooled = []
    for kernel, bias, scale, alive in zip(kernels, biases, scales, live, strict=True):
        sign = _sign(scale[alive])
        n_time, n_bands = kernel.shape[2:]
        pads = [(n_time - 1) // 2, 0, n_time // 2, 0]  # an even filter: one more at the end
        signed = kernel[alive] * sign[:, np.newaxis, np.newaxis, np.newaxis]
        responses = graph.add("Conv", image, signed, bias[alive] * sign, pads=pads)
        pooled.append(graph.add("MaxPool", responses, kernel_shape=[1, N_MELS - n_bands + 1]))
    scale, shift, bias, alive = map(np.concatenate, (scales, shifts, biases, live))
    joined = graph.add("Squeeze", graph.add("Concat", *pooled, axis=1), np.array([3]))
    joined = graph.add("Mul", joined, _sign(scale[alive])[:, np.newaxis])
    dead_values = (scale * np.maximum(bias, 0) + shift)[~alive]
    return _Front(_add_activation(graph, joined, scale[alive], shift[alive]), alive, dead_values)


def _add_mid_end(graph: _Graph, weights: _Checkpoint, front: _Front) -> list[str]:
    """Three convolutions over time; the last two add to what they read.

    Returns:
        Names of (windows, 64, frames) features, one for each convolution.
    """
    features: list[str] = []
    for number in MID_CONVOLUTIONS:
        kernel, bias = weights.convolution(number)
        kernel = kernel[:, 0].transpose(0, 2, 1)
        if not features:  # the zeros around the frames, where a dead filter gives 0, make less than 1e-7
            bias = bias + kernel.sum(axis=2)[:, ~front.live] @ front.dead_values
            kernel = kernel[:, front.live]
        margin = kernel.shape[2] // 2
        inputs = features[-1] if features else front.output
        responses = graph.add("Conv", inputs, kernel, bias, pads=[margin, margin])
        output = _add_activation(graph, responses, *weights.normalization(number + 1))
        features.append(graph.add("Add", output, features[-1]) if features else output)
    return features


def _add_back_end(graph: _Graph, weights: _Checkpoint, front: _Front, features: list[str]) -> None:
    """Maximum and mean of every feature over time, batch normalization, a dense layer: ``embedding``; and ``tags``."""
    joined = graph.add("Concat", front.output, *features, axis=1)
    pools = [graph.add(operator, joined, axes=[2], keepdims=0) for operator in ("ReduceMax", "ReduceMean")]
    pooled = graph.add("Concat", *pools, axis=1)

    kernel, bias = weights.dense(0)
    scale, shift = weights.normalization(9)
    bias = bias + shift @ kernel
    rows = (scale[:, np.newaxis] * kernel).reshape(-1, 2, DIMENSION)  # a feature's maximum and mean are neighbours
    is_dead = np.pad(~front.live, (0, len(rows) - len(front.live)))
    bias = bias + front.dead_values @ rows[is_dead].sum(axis=1)
    ordered = rows[~is_dead].transpose(1, 0, 2).reshape(-1, DIMENSION)  # all maxima, then all means
    hidden = graph.add("Relu", graph.add("Gemm", pooled, ordered, bias))
    scale, shift = weights.normalization(10)
    embedding = graph.add("Add", graph.add("Mul", hidden, scale), shift, output="embedding")
    graph.add("Sigmoid", graph.add("Gemm", embedding, *weights.dense(1)), output="tags")


def _add_activation(graph: _Graph, values: str, scale: np.ndarray, shift: np.ndarray) -> str:
    """ReLU and batch normalization of (windows, channels, frames)."""
    scaled = graph.add("Mul", graph.add("Relu", values), scale[:, np.newaxis])
    return graph.add("Add", scaled, shift[:, np.newaxis])


def _sign(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < 0, -1.0, 1.0)
