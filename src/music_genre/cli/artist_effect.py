"""``music-genre artist-effect``: how much a split that ignores artists overestimates accuracy."""

from __future__ import annotations

from typing import Annotated

import typer

from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths


def artist_effect(
    seeds: Annotated[int, typer.Option(min=2, metavar="N", help="Splits of each kind.")] = 30,
) -> None:
    """Measure how random splits inflate accuracy.

    Trains the baseline on random splits, where artists are in several, and on splits where each is in one.
    """
    project = ProjectPaths.find()
    import numpy as np
    import pandas as pd

    from music_genre.evaluation.artist_effect import accuracy_by_split, mean_difference_ci
    from music_genre.features.store import SpectrogramStore
    from music_genre.models import baseline
    from music_genre.models.predictors import PREDICT_BATCH_SIZE
    from music_genre.params import load_params

    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    splits = [data.split(name) for name in data.index["split"].unique()]
    settings = params.models["baseline"]
    statistics = np.concatenate(
        [baseline.extract(mel, settings) for clips in splits for mel in clips.batches(PREDICT_BATCH_SIZE)]
    )
    order = np.concatenate([clips.track_id for clips in splits])
    tracks = pd.read_parquet(project.tracks).set_index("track_id").loc[order].reset_index()
    if tracks["artist_id"].isna().all():
        raise MusicGenreError("no track has a known artist: both kinds of split would be the same")
    accuracy = accuracy_by_split(tracks, statistics, params.split, settings, range(seeds))
    mean, low, high = mean_difference_ci(accuracy)
    typer.echo(f"no artist in two splits: accuracy {accuracy['artist'].mean():.1%} (mean of {seeds} splits)")
    typer.echo(f"random split:            accuracy {accuracy['random'].mean():.1%}")
    typer.echo(
        f"A random split overestimates accuracy by {100 * mean:.1f} points (artist effect);"
        f" 95 % interval {100 * low:.1f} to {100 * high:.1f}."
    )
