"""Logged models: a trained model's bundle in MLflow, with its data sets, signature and input example."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.data.dataset import Dataset
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import music_genre
from music_genre.evaluation.metrics import classification_metrics
from music_genre.features.params import SPECTROGRAMS
from music_genre.features.store import SpectrogramStore
from music_genre.files import atomic_write_text, folder_sha256
from music_genre.models.bundle import ClipInputs, ModelBundle, example_inputs, read_manifest
from music_genre.models.packing import temporary_bundle
from music_genre.tracking import BUNDLE_ARTIFACT, DIGEST_TAG
from music_genre.tracking.provenance import UNKNOWN

REQUIREMENTS = (  # packages that loading the model imports
    "mlflow",
    "numpy",
    "onnxruntime",
    "pydantic",
    "scikit-learn",
    "scipy",
    "skops",
    "soundfile",
    "soxr",
)


@dataclass(frozen=True)
class RunRef:
    """The ids of a model's run and of the logged model: ``reports/runs/<model>.json``."""

    run_id: str
    model_id: str

    def write(self, path: Path) -> None:
        """Store as JSON."""
        atomic_write_text(path, json.dumps(asdict(self), indent=2) + "\n")


def log_trained(models: Path, name: str, data: SpectrogramStore, data_digest: str) -> RunRef:
    """Log a trained model to the open run, with its data sets and its metrics on validation.

    Args:
        models: the folder of trained models.
        name: of the model.
        data: what it was trained on.
        data_digest: DVC's, of ``data``.
    """
    mlflow.log_input(dataset(data, "training", data_digest), "training")
    validation, validation_dataset = data.split("validation"), dataset(data, "validation", data_digest)
    mlflow.log_input(validation_dataset, "validation")
    with temporary_bundle(models, name, data) as bundle:
        ref = _log_model(bundle, validation.read(np.arange(1)))
        probabilities = ModelBundle(bundle).predict_split(data, "validation")
        metrics = with_prefix("validation", classification_metrics(validation.label, probabilities))
        mlflow.log_metrics(metrics, model_id=ref.model_id, dataset=validation_dataset)
        # Last, because runs are found by this tag: one that was interrupted is not.
        mlflow.set_tag(DIGEST_TAG, folder_sha256(bundle))
    return ref


def _log_model(bundle: Path, example: np.ndarray) -> RunRef:
    """Log a bundle, with a real clip (1, frames, n_mels) float32 dB as its input example, or a window of noise."""
    manifest, package = read_manifest(bundle), Path(music_genre.__file__).parent
    inputs: dict[str, np.ndarray] = example_inputs(manifest)
    if SPECTROGRAMS in inputs:
        inputs[SPECTROGRAMS] = example
    signature = ModelSignature(
        Schema(_input_specs(inputs)),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(manifest.genres)))]),
    )
    info = mlflow.pyfunc.log_model(
        name=manifest.name,
        python_model=str(package / "tracking/pyfunc.py"),
        artifacts={BUNDLE_ARTIFACT: str(bundle)},
        code_paths=[str(package)],
        signature=signature,
        input_example=inputs if len(inputs) > 1 else next(iter(inputs.values())),
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        tags={DIGEST_TAG: folder_sha256(bundle)},
    )
    return RunRef(info.run_id, info.model_id)


def _input_specs(inputs: ClipInputs) -> list[TensorSpec]:
    """The shapes of what a model takes; of several inputs with their names."""
    names = {name: name if len(inputs) > 1 else None for name in inputs}
    float32 = np.dtype(np.float32)
    return [
        TensorSpec(float32, (-1, *clips.shape[1:]) if name == SPECTROGRAMS else (-1, -1, clips.shape[-1]), names[name])
        for name, clips in inputs.items()
    ]


def dataset(data: SpectrogramStore, split: str, data_digest: str) -> Dataset:
    """A split as a data set of MLflow, with DVC's digest, or with MLflow's own where DVC's is unknown."""
    rows = data.index.loc[data.index["split"] == split, ["track_id", "genre"]].astype(str)
    source = mlflow.data.sources.LocalArtifactDatasetSource(str(data.folder))
    digest = None if data_digest == UNKNOWN else data_digest
    return mlflow.data.from_pandas(rows, source, targets="genre", name=f"spectrograms-{split}", digest=digest)


def with_prefix(split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Metrics of a split under the names that they have in a run: ``test_accuracy``."""
    return {f"{split}_{name}": value for name, value in metrics.items()}
