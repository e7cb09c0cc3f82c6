"""Select the model to register and decide whether it passes the gate: ``reports/gate.json``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from music_genre.evaluation.results import read_result
from music_genre.evaluation.serving_checks import (
    bundle_size_mb,
    export_difference_ppm,
    feature_positions,
    feature_skew_db,
)
from music_genre.features.store import SpectrogramStore
from music_genre.models.packing import temporary_bundle
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage
from music_genre.registry.gate import Measurements, evaluate_gate


@stage
def main(project: ProjectPaths) -> None:
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    results = [read_result(project.evaluation, name) for name in params.model_names]
    size_mb, differences = {}, {}
    for result in results:
        with temporary_bundle(project.models, result.name, data) as bundle:
            size_mb[result.name] = bundle_size_mb(bundle)
            difference = export_difference_ppm(bundle, data.split("validation"))
        if difference is not None:
            differences[result.name] = difference
    skew_db, notes = measure_feature_skew(project.audio, project.tracks, data)
    data_quality = bool(json.loads(project.data_checks.read_text(encoding="utf-8"))["success"])
    measured = Measurements(size_mb, data_quality, skew_db, differences)
    gate = evaluate_gate(results, params.baselines, measured, params.registry, params.seed, notes)
    gate.write(project.gate)
    print(gate)


def measure_feature_skew(folder: Path, tracks: Path, data: SpectrogramStore) -> tuple[float | None, list[str]]:
    """The skew of some validation clips' features in dB, or None and a note why it cannot be measured.

    Args:
        folder: ``data/audio``.
        tracks: ``data/tracks.parquet``.
        data: the stored features, and the transform of every model on them.
    """
    if data.transform is None:
        return None, ["feature skew: not measured, the models were trained on ready spectrograms"]
    clips = data.split("validation")
    positions = feature_positions(clips)
    paths = pd.read_parquet(tracks).set_index("track_id")["path"].loc[clips.track_id[positions]]
    audio = [folder / path for path in paths]
    if not all(path.is_file() for path in audio):
        return None, ["feature skew: not measured, data/audio has no audio here; `dvc pull data/audio` fetches it"]
    return feature_skew_db(data.transform, audio, clips.read(positions)), []


if __name__ == "__main__":
    main()
