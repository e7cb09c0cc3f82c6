"""Interpret a model: ``reports/interpretation/<name>``. Of the classical baseline its folders stay empty."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from music_genre.evaluation.plots import save_figure
from music_genre.features.store import SpectrogramStore
from music_genre.interpretation.activations import load_network
from music_genre.interpretation.interpret_encoder import interpret_encoder
from music_genre.interpretation.interpret_network import (
    CLUSTERS,
    EMBEDDING,
    FAITHFULNESS,
    FILTERS,
    NetworkInterpretation,
    interpret_network,
)
from music_genre.models.bundle import ModelBundle
from music_genre.models.packing import temporary_bundle
from music_genre.models.predictors import load_predictor
from music_genre.models.registry import Classifier, EmbeddingClassifier, get_model
from music_genre.models.serialization import model_file
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.pipeline._inputs import local_recordings


@stage
def main(project: ProjectPaths) -> None:
    name = sys.argv[1]
    folder = project.interpretation(name)
    for part in ("tables", "plots"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    params, model = load_params(project.params), get_model(name)
    if isinstance(model, Classifier) or name not in params.trained:
        print(f"{name} is no network, or was not trained: there is nothing to interpret")
        return
    seed, data = params.seed, SpectrogramStore.open(project.spectrograms)
    if isinstance(model, EmbeddingClassifier):
        with temporary_bundle(project.models, name, data) as bundle_dir:
            bundle = ModelBundle(bundle_dir)
        result, tags = interpret_encoder(name, bundle, data, local_recordings(project), seed)
        write_interpretation(folder, result)
        tags.to_csv(project.encoder_tags(name), index=False)
        print(f"{name}: the encoder's own tags\n{tags.to_string(index=False)}")
        return
    file = model_file(project.models, name)
    result = interpret_network(name, load_network(file), load_predictor(file, name).predict, data, seed)
    write_interpretation(folder, result)
    print(f"{name}\n{result.faithfulness.round(4).to_string(index=False)}")


def write_interpretation(folder: Path, result: NetworkInterpretation) -> None:
    """Write ``tables/`` (``filters.csv``, ``faithfulness.csv``, ``clusters.json``, ``embedding.csv``), ``plots/``."""
    result.filters.round(4).to_csv(folder / FILTERS, index=False)
    result.faithfulness.round(4).to_csv(folder / FAITHFULNESS, index=False)
    result.embedding.round(4).to_csv(folder / EMBEDDING, index=False)
    clusters = {key: None if value is None else round(value, 4) for key, value in result.clusters.items()}
    (folder / CLUSTERS).write_text(json.dumps(clusters, indent=2) + "\n", encoding="utf-8")
    for name, figure in result.plots.items():
        save_figure(figure, folder / f"plots/{name}.png")


if __name__ == "__main__":
    main()
