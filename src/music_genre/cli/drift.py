"""Commands that set one collection of clips against another: drift, and what a random split would claim."""

from __future__ import annotations

import argparse

from music_genre.cli.context import connect
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths


def run_flattery(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import numpy as np
    import pandas as pd

    from music_genre.evaluation.artist_effect import accuracy_by_split, mean_difference_ci
    from music_genre.features.store import SpectrogramStore
    from music_genre.models import baseline
    from music_genre.params import load_params

    if options.seeds < 2:
        parser.error("--seeds takes at least 2: one split says little")
    project = ProjectPaths.find()
    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    splits = [data.split(name) for name in data.index["split"].unique()]
    settings = params.models["baseline"]
    statistics = np.concatenate([baseline.extract(mel, settings) for clips in splits for mel in clips.batches(64)])
    order = np.concatenate([clips.track_id for clips in splits])
    tracks = pd.read_parquet(project.tracks).set_index("track_id").loc[order].reset_index()
    if tracks["artist_id"].isna().all():
        raise MusicGenreError("no track has a known artist: both splits would be the same")
    accuracy = accuracy_by_split(tracks, statistics, params.split, settings, range(options.seeds))
    mean, low, high = mean_difference_ci(accuracy)
    print(f"no artist in two splits: accuracy {accuracy['artist'].mean():.1%} (mean of {options.seeds} splits)")
    print(f"random split:            accuracy {accuracy['random'].mean():.1%}")
    print(f"A random split flatters by {100 * mean:.1f} points (95 % interval {100 * low:.1f} to {100 * high:.1f}).")
    return 0


def run_drift(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """0: as before, or too few requests to tell; 1: drift. A page says what was compared."""
    import pandas as pd

    from music_genre.features.store import SpectrogramStore
    from music_genre.params import load_params
    from music_genre.registry import versions as registry
    from music_genre.settings import load_settings
    from music_genre.validation import drift
    from music_genre.validation import expectations as checks

    project = ProjectPaths.find()
    params = load_params(project.params)
    settings = load_settings(project.root)
    folder = options.log or settings.request_log
    if folder is None:
        raise MusicGenreError("there is no request log: serve with MUSIC_GENRE_REQUEST_LOG set, or name one with --log")
    requests = drift.read_log(project.root / folder, settings.drift_window)
    if len(requests) < settings.drift_min_requests:
        print(f"{len(requests)} different requests in {folder}; {settings.drift_min_requests} are needed to tell")
        return 0
    data, version = SpectrogramStore.open(project.spectrograms), requests["version"].iloc[-1]
    models = {known.version: known.model for known in registry.versions(*connect())}
    predictions = project.evaluation / models.get(version, "") / "predictions.csv"
    if not predictions.is_file():
        raise MusicGenreError(f"nothing is known of version {version}, which answered: {predictions} is not there")
    training = data.index[data.index["split"] == "training"]
    thresholds = drift.DriftThresholds(settings.drift_js_threshold, settings.drift_alpha)
    figures = drift.compare(training, pd.read_csv(predictions)["predicted"], requests, thresholds, params.seed)
    suite = checks.Suite("requests", requests, "request_id", checks.of_clips(data.shape))
    failures = checks.run([suite], project.drift / "checks").failures
    drifted = [figure.name for figure in figures if figure.drifted] + ["expectations"] * bool(failures)
    told = f"Drift in {', '.join(drifted)}." if drifted else "No drift."
    (project.drift / "index.html").write_text(drift.page(figures, failures, len(requests), told), encoding="utf-8")
    for figure in figures:
        print(f"{figure.name:<14} distance {figure.distance:.3f}, threshold {figure.threshold:.3f}")
    print(*failures, f"{told} {project.drift}/index.html shows {len(requests)} requests of version {version}", sep="\n")
    return int(bool(drifted))
