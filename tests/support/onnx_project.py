"""A registered champion that needs ONNX Runtime alone, made without training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import mlflow
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from music_genre.encoders.description import CONFIG, NETWORK
from music_genre.features.params import FEATURES_VERSION, MelConfig
from music_genre.files import file_sha256
from music_genre.models.bundle import BundledMember, BundleManifest
from music_genre.models.linear_head import LinearHead, save_head
from music_genre.models.serialization import write_training_clips
from music_genre.tracking import runs
from music_genre.tracking.models import _log_model
from transfer_projects import ENCODER

GENRES = ("Folk", "R&B", "Rock")
TRANSFORM = MelConfig(sample_rate_hz=22_050, n_fft=2048, hop_length=1024, n_mels=32, n_frames=64, clip_duration_s=4)


def register_onnx_champion(project: Path) -> None:
    """Make a model of random weights champion of a project."""
    bundle = project / "made/bundle"
    (bundle / "encoders/tiny").mkdir(parents=True)
    _write_bundle(bundle)
    client = runs.connect(project)
    with mlflow.start_run():
        ref = _log_model(bundle, np.zeros((1, TRANSFORM.n_frames, TRANSFORM.n_mels), np.float32))
    client.create_registered_model("music-genre")
    tags = {"validation_confidence_threshold": "0.2"}
    client.create_model_version("music-genre", f"models:/{ref.model_id}", tags=tags, model_id=ref.model_id)
    client.set_registered_model_alias("music-genre", "champion", "1")


def _write_bundle(bundle: Path) -> None:
    """A bundle of a linear head on a linear encoder."""
    rng = np.random.default_rng(0)
    folder = bundle / "encoders/tiny"
    weights = rng.normal(0, 1, (ENCODER.window_length, ENCODER.dimension)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["audio", "weights"], ["embedding"])],
        "encoder",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["windows", ENCODER.window_length])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["windows", ENCODER.dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / NETWORK)
    encoder = ENCODER.model_copy(update={"sha256": file_sha256(folder / NETWORK)})
    (folder / CONFIG).write_text(encoder.model_dump_json())
    head = LinearHead(rng.normal(0, 1, (ENCODER.dimension, len(GENRES))), np.zeros(len(GENRES)), 1.0, 1.0)
    save_head(head, bundle / "transfer.onnx", "tiny", encoder.digest)
    members = (BundledMember("transfer", 1.0, 1.0, "transfer.onnx", "tiny"),)
    shape = TRANSFORM.n_frames, TRANSFORM.n_mels
    manifest = BundleManifest("transfer", members, 1.0, GENRES, shape, TRANSFORM, FEATURES_VERSION, 1.0)
    values = asdict(manifest) | {"transform": TRANSFORM.model_dump(), "encoders": {"tiny": encoder.model_dump()}}
    (bundle / "manifest.json").write_text(json.dumps(values))
    write_training_clips(bundle, np.arange(3))
