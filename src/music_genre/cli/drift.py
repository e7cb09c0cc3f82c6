"""``music-genre drift``: the service's request log against the training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.cli._context import ExitCode, open_registry
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    import pandas as pd

    from music_genre.settings import Settings
    from music_genre.validation.drift import FeatureDrift


def drift(
    log: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The service's request log; default: the setting request_log."),
    ] = None,
) -> None:
    """Compare the service's requests with training.

    The page is reports/drift/index.html. Exit code 3: drift was detected; 0: it was not, or there are too few requests.
    """
    project = ProjectPaths.find()
    from music_genre.settings import load_settings

    settings = load_settings(project.root)
    folder = log or settings.request_log
    if folder is None:
        raise MusicGenreError(
            "there is no request log: serve with MUSIC_GENRE_REQUEST_LOG=FOLDER, or name one with --log"
        )
    if not folder.is_dir():
        raise MusicGenreError(f"there is no request log: {folder} is not a folder")
    from music_genre.cli._tables import print_table
    from music_genre.reporting.validation_pages import render_drift
    from music_genre.validation.drift import read_log
    from music_genre.validation.feedback import read_feedback

    requests = read_log(folder, settings.drift_window)
    if len(requests) < settings.drift_min_requests:
        typer.echo(f"{len(requests)} different requests in {folder}; at least {settings.drift_min_requests} are needed")
        return
    version = requests["version"].iloc[-1]
    features, failures = compare_requests(project, settings, requests, version)
    drifted = [feature.name for feature in features if feature.drifted] + ["expectations"] * bool(failures)
    summary = f"Drift in {', '.join(drifted)}." if drifted else "No drift."
    page = project.drift / "index.html"
    page.write_text(render_drift(features, failures, len(requests), summary, read_feedback(folder)), encoding="utf-8")
    print_table(
        ("feature", "distance", "threshold", "verdict"),
        [(f.name, f.distance, f.threshold, "drift" if f.drifted else "no drift") for f in features],
    )
    for failure in failures:
        typer.echo(failure)
    typer.echo(f"{summary} {len(requests)} requests of version {version}; see {page}")
    if drifted:
        raise typer.Exit(ExitCode.REFUSED)


def compare_requests(
    project: ProjectPaths, settings: Settings, requests: pd.DataFrame, version: str
) -> tuple[list[FeatureDrift], list[str]]:
    """Compare requests with the training data, and check them as the pipeline checks clips.

    Returns:
        The compared features, and a sentence for each expectation that the requests fail.
    """
    from music_genre.features.store import SpectrogramStore
    from music_genre.params import load_params
    from music_genre.reporting.validation_pages import write_data_checks
    from music_genre.validation import drift
    from music_genre.validation.expectations import Suite, clip_expectations
    from music_genre.validation.runner import validate

    data = SpectrogramStore.open(project.spectrograms)
    features = drift.compare(
        data.index[data.index["split"] == "training"],
        predicted_genres(project, version),
        requests,
        drift.DriftThresholds(settings.drift_js_threshold, settings.drift_alpha),
        load_params(project.params).seed,
    )
    site = project.drift / "checks"
    report = validate([Suite("requests", requests, "request_id", clip_expectations(data.shape))], site)
    write_data_checks(site, report)
    return features, report.failures


def predicted_genres(project: ProjectPaths, version: str) -> pd.Series:
    """The genres that a version predicts for clips that it was not trained on.

    Raises:
        MusicGenreError: the checkout has no evaluation of that version.
    """
    from music_genre.evaluation.results import PREDICTIONS
    from music_genre.files import read_csv
    from music_genre.registry.listing import describe_versions

    models = {info.version: info.model for info in describe_versions(open_registry(project))}
    file = project.evaluation / models.get(version, "") / PREDICTIONS
    if not file.is_file():
        raise MusicGenreError(f"version {version}, which the log is of, has no evaluation here: {file} is missing")
    return read_csv(file)["predicted"]
