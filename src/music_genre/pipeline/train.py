"""Train one model and log its run: ``models/<name>/``."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from music_genre import models, training
from music_genre.features.store import INDEX, ClipDataset, SpectrogramStore
from music_genre.files import file_sha256, sha256
from music_genre.models.calibration import calibrate, write_temperature
from music_genre.models.linear_head import save_head
from music_genre.models.onnx_export import export_classifier, export_network
from music_genre.models.params import NetworkParams
from music_genre.models.predictors import PREDICT_BATCH_SIZE, load_predictor
from music_genre.models.registry import EmbeddingClassifier, Network, get_model
from music_genre.models.serialization import (
    CLASSIFIER_SUFFIX,
    EXPORTED,
    HEAD_SUFFIX,
    NETWORK_SUFFIX,
    answering_file,
    save_classifier,
    save_network,
    write_training_clips,
)
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.tracking.provenance import collect_provenance
from music_genre.tracking.runs import best_effort_run, connect
from music_genre.training.trainer import TrainingData, TrainJob, train_classifier, train_head, train_network


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    params = load_params(project.params)
    if name not in params.trained:
        (project.models / name).mkdir(parents=True, exist_ok=True)
        print(f"{name} is left out: {params.data.source_name} has no audio, and {name} is trained on embeddings")
        return
    data = SpectrogramStore.open(project.spectrograms)
    model, section = get_model(name), params.models[name]
    clips = data.split("training").subsample(section.train_fraction)
    validation: ClipDataset = data.split("validation")
    training_data = TrainingData(clips, validation, len(data.genres))
    # A server that does not answer is reported now, not after training.
    connect(project.root)
    provenance = collect_provenance(project.root, params.data.source_name, project.lock)
    with best_effort_run(name, params.active(name), provenance) as logger:
        start = time.monotonic()
        path = project.models / name / "model"
        if isinstance(model, Network):
            checkpoints = project.cache / "train" / name
            checkpoint_dir = checkpoints / training_fingerprint(project, name, section, params.seed)
            job = TrainJob(training_data, params.seed, logger.log_epoch, checkpoint_dir)
            network, history = train_network(name, section, job)
            save_network(network, path.with_suffix(NETWORK_SUFFIX))
            export_network(path.with_suffix(NETWORK_SUFFIX), path.with_name(EXPORTED))
            shutil.rmtree(checkpoints)
        elif isinstance(model, EmbeddingClassifier):
            store = data.embeddings(section.encoder)
            validation = store.split("validation")
            head, history = train_head(model, section, store)
            save_head(head, path.with_suffix(HEAD_SUFFIX), section.encoder, store.encoder.digest)
            print(f"{name}: C {head.C:g}, temperature {head.temperature:.3f}, on folds by artist")
            logger.log_epoch(history.iloc[0].to_dict())
        else:
            classifier, history = train_classifier(model, section, training_data)
            save_classifier(classifier, section, path.with_suffix(CLASSIFIER_SUFFIX))
            export_classifier(model, classifier, section, path.with_name(EXPORTED))
            logger.log_epoch(history.iloc[0].to_dict())
        duration_s = time.monotonic() - start
        history.to_csv(project.history(name), index=False)
        write_training_clips(path.parent, clips.track_id)
        temperature = find_temperature(answering_file(project.models, name), name, validation)
        write_temperature(path.parent, temperature)
        print(f"{name}: temperature {temperature:.3f} on validation")
        logger.log_duration(duration_s)
        ref = logger.log_model(project.models, name, data, provenance.data_digest)
        if ref:
            ref.write(project.mlflow_ref(name))


def find_temperature(path: Path, name: str, validation: ClipDataset) -> float:
    """The temperature that calibrates a stored model on validation's clips."""
    predict = load_predictor(path, name).predict
    probabilities = np.concatenate([predict(clips) for clips in validation.batches(PREDICT_BATCH_SIZE)])
    return calibrate(probabilities, validation.label)


def training_fingerprint(project: ProjectPaths, name: str, section: NetworkParams, seed: int) -> str:
    """A digest of everything that determines a training: params, seed, clips and code."""
    code = [path for package in (models, training) for path in Path(str(package.__file__)).parent.rglob("*.py")]
    files = (project.spectrograms / INDEX, *sorted(code))
    return sha256(f"{name} {seed} {section.model_dump_json()}", *(file_sha256(file) for file in files))


if __name__ == "__main__":
    main()
