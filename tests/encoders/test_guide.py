"""The example of ``docs/encoders.md`` is an encoder that is brought and used; others are refused as it says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from music_genre.audio.signal import AudioSignal
from music_genre.encoders.description import CONFIG, NETWORK, EncoderConfig
from music_genre.encoders.encoder import Encoder
from music_genre.encoders.params import EncoderParams
from music_genre.errors import MusicGenreError
from music_genre.features.extraction import EmbeddingExtractor
from music_genre.files import file_sha256
from music_genre.params import load_params
from music_genre.pipeline import encoders
from music_genre.pipeline.encoders import bring_encoder

ROOT = Path(__file__).parents[2]
WINDOW, DIMENSION = 64, 8  # of the small networks that are made here
WRONG_SHA256 = "0" * 64


def code_blocks(language: str) -> list[str]:
    text = (ROOT / "docs/encoders.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """What the guide's Keras block leaves: the folder that it writes, and the network before its export."""

    folder: Path
    network: Any

    @property
    def sha256(self) -> str:
        return file_sha256(self.folder / CONFIG)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    keras_block, _ = code_blocks("python")
    module: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("guide"))
        exec(keras_block, module)
        return Example(module["folder"].resolve(), module["encoder"])


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder on this machine; the folder's url."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "brought"
    folder.mkdir()
    return folder


def from_path(folder: Path) -> EncoderParams:
    return EncoderParams(package=None, path=folder, url=None, sha256=file_sha256(folder / CONFIG))


def noise(n_windows: int, length: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, (n_windows, length)).astype(np.float32)


@pytest.mark.parametrize("n_windows", [1, 3])
def test_exported_network_gives_what_keras_gives(example: Example, n_windows: int) -> None:
    encoder = Encoder.open(example.folder).load()
    encoder.check()
    windows = noise(n_windows, encoder.config.window_length)
    expected = np.asarray(example.network(windows)["embedding"])
    assert expected.std() > 0.01
    np.testing.assert_allclose(encoder.encode(windows), expected, atol=1e-5)


def test_brought_from_its_folder_it_makes_embeddings_of_a_recording(
    example: Example, target: Path, tmp_path: Path
) -> None:
    bring_encoder(from_path(example.folder), target, tmp_path / "downloads")
    encoder = Encoder.open(target)
    transform = load_params(ROOT / "params.yaml").spectrogram
    clip = EmbeddingExtractor(encoder, transform).extract(AudioSignal(noise(1, 22_050 * 4)[0], 22_050))
    assert clip.shape == (encoder.config.n_windows(transform.frames_duration_s), encoder.config.dimension) == (14, 8)
    assert np.isfinite(clip).all()


def test_brought_from_an_address_it_is_the_same(
    example: Example, target: Path, tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    params = EncoderParams(package=None, path=None, url=serve(example.folder) + "/", sha256=example.sha256)
    for _ in range(2):  # the second time over the first
        bring_encoder(params, target, tmp_path / "downloads")
    Encoder.open(target).load().check()
    for file in (CONFIG, NETWORK):
        assert (target / file).read_bytes() == (example.folder / file).read_bytes()


def test_section_of_the_guide_is_one_that_the_stage_takes(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = code_blocks("yaml")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    added = yaml.safe_load(block)
    assert added["encoders"]["mine"].keys() == params["encoders"]["musicnn"].keys()
    params["encoders"] = added["encoders"]
    params["models"]["transfer"] |= added["models"]["transfer"]
    params["encoders"]["mine"]["path"] = str(example.folder)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)

    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(SystemExit, match=rf"encoders\.mine\.sha256: found {WRONG_SHA256}; encoder\.json has \w{{64}}$"):
        encoders.main()

    params["encoders"]["mine"]["sha256"] = example.sha256
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    encoders.main()
    assert capsys.readouterr().out == "mine: my encoder, 8 numbers a window of 2 s, CC0-1.0\n"
    Encoder.open(tmp_path / "models/encoders/mine").load().check()


def test_guide_explains_every_key_of_the_description() -> None:
    text = (ROOT / "docs/encoders.md").read_text(encoding="utf-8")
    table = text.partition("| key of `encoder.json` |")[2].partition("\n\n")[0]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines()[2:])
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(EncoderConfig.model_fields)


def test_pytorch_block_is_python() -> None:
    _, torch_block = code_blocks("python")
    compile(torch_block, "docs/encoders.md", "exec")


def write_encoder(
    folder: Path,
    *,
    audio: str = "audio",
    embedding: str = "embedding",
    windows: int | str = "windows",
    length: int = WINDOW,
    columns: int = DIMENSION,
    operators: tuple[str, ...] = (),
    output_type: int = TensorProto.FLOAT,
) -> None:
    """An encoder of ``WINDOW`` samples and ``DIMENSION`` numbers by its description; in truth a product with a matrix
    (length, columns), then operators one after the other.
    """
    weights = numpy_helper.from_array(np.full((length, columns), -0.1, np.float32), "weights")
    names = [*(f"step {number}" for number in range(len(operators))), embedding]
    nodes = [helper.make_node("MatMul", [audio, "weights"], names[:1])]
    for number, operator in enumerate(operators):
        to = {"to": output_type} if operator == "Cast" else {}
        nodes.append(helper.make_node(operator, names[number : number + 1], names[number + 1 : number + 2], **to))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(audio, TensorProto.FLOAT, (windows, length))],
        [helper.make_tensor_value_info(embedding, output_type, (windows, columns))],
        [weights],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / NETWORK)
    describe(folder)


def describe(folder: Path, **changes: Any) -> None:
    values: dict[str, Any] = {
        "name": "small",
        "sample_rate_hz": 8000,
        "window_length": WINDOW,
        "hop_length": WINDOW,
        "dimension": DIMENSION,
        "level_dbfs": None,
        "license": "none",
        "trained_on": "nothing",
        "source": "a test",
        "sha256": file_sha256(folder / NETWORK),
    }
    (folder / CONFIG).write_text(json.dumps(values | changes), encoding="utf-8")


def refusal(folder: Path, target: Path) -> str:
    """The message, of one line, with which an encoder is refused."""
    with pytest.raises(MusicGenreError) as failed:
        bring_encoder(from_path(folder), target, target)
        Encoder.open(target).load().check()
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_small_encoder_is_taken(tmp_path: Path, target: Path) -> None:
    write_encoder(tmp_path)
    bring_encoder(from_path(tmp_path), target, target)
    Encoder.open(target).load().check()


INVALID_DIMENSIONS = "Got invalid dimensions for input: audio"


@pytest.mark.parametrize(
    ("fault", "explained", "detail"),
    [
        ({"operators": ("Nothing",)}, "cannot be loaded", "No Op registered for Nothing"),
        ({"embedding": "x"}, "Invalid output name:embedding", ""),
        ({"audio": "x"}, "Required inputs (['x']) are missing", ""),
        ({"windows": 1}, INVALID_DIMENSIONS, "index: 0 Got: 3 Expected: 1"),
        ({"length": 32}, INVALID_DIMENSIONS, "index: 1 Got: 64 Expected: 32"),
        ({"columns": 4}, "embedding is (1, 4) float32; expected (1, 8) float32", ""),
        ({"operators": ("Abs", "Neg", "Log")}, "embedding has numbers that are not finite", ""),
    ],
)
def test_network_that_does_something_else_is_refused_as_the_guide_says(
    tmp_path: Path, target: Path, fault: dict[str, Any], explained: str, detail: str
) -> None:
    write_encoder(tmp_path, **fault)
    refused = refusal(tmp_path, target)
    assert refused.startswith(str(target / NETWORK))
    assert explained in refused
    assert detail in refused
    assert f"| `{explained}` | " in (ROOT / "docs/encoders.md").read_text(encoding="utf-8")


def test_double_precision_is_refused(tmp_path: Path, target: Path) -> None:
    write_encoder(tmp_path, operators=("Cast",), output_type=TensorProto.DOUBLE)
    assert refusal(tmp_path, target).endswith("embedding is (1, 8) float64; expected (1, 8) float32")


def test_weights_in_another_file_are_refused(tmp_path: Path, target: Path) -> None:
    write_encoder(tmp_path)
    network = onnx.load(tmp_path / NETWORK)
    onnx.save(network, tmp_path / NETWORK, save_as_external_data=True, location="weights.bin", size_threshold=0)
    describe(tmp_path)
    assert (tmp_path / "weights.bin").is_file()
    assert f"{NETWORK} cannot be loaded: " in refusal(tmp_path, target)


def test_network_that_is_not_the_described_one_is_refused(tmp_path: Path, target: Path) -> None:
    write_encoder(tmp_path)
    describe(tmp_path, sha256=WRONG_SHA256)
    found = file_sha256(tmp_path / NETWORK)
    assert refusal(tmp_path, target) == f"{target / NETWORK} has the SHA-256 {found}; {CONFIG} says {WRONG_SHA256}"


def test_missing_network_is_refused(tmp_path: Path, target: Path) -> None:
    write_encoder(tmp_path)
    params = from_path(tmp_path)
    (tmp_path / NETWORK).unlink()
    with pytest.raises(MusicGenreError, match=rf"^{re.escape(str(tmp_path / NETWORK))} is missing$"):
        bring_encoder(params, target, target)


def test_network_that_is_not_at_the_address_is_refused(
    tmp_path: Path, target: Path, serve: Callable[[Path], str]
) -> None:
    write_encoder(tmp_path)
    (tmp_path / NETWORK).unlink()
    params = EncoderParams(package=None, path=None, url=serve(tmp_path), sha256=WRONG_SHA256)
    with pytest.raises(MusicGenreError, match=rf"^{params.url}/{NETWORK}: 404 "):
        bring_encoder(params, target, tmp_path / "downloads")
