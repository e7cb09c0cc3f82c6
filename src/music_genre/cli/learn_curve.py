"""``music-genre learn-curve``: accuracy against labelled clips, to know whether more of them are worth the work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from music_genre.cli._context import check_output
from music_genre.cli._tables import print_table
from music_genre.cli.explain import save_plot
from music_genre.errors import MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from music_genre.evaluation.learning_curve import FitPredict, LearningCurve
    from music_genre.features.store import ClipDataset, ClipStore, SpectrogramStore
    from music_genre.models.params import NetworkParams
    from music_genre.params import Params

MODEL_SPLITS = ("training", "validation")  # never test


def learn_curve(
    sizes: Annotated[str, typer.Option(metavar="N,N,...", help="Clips a genre to train on.")] = "3,5,10,20,40,80",
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Deals of all clips to folds.")] = 5,
    models: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Default: all but networks, whose many trainings take long."),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE.png", help="The picture.")] = Path("learning_curve.png"),
) -> None:
    """Measure what more labelled clips would gain.

    Trains models on more and more clips of training and validation, and predicts artists that they were not trained on.
    """
    wanted = parse_sizes(sizes)
    project = ProjectPaths.find()
    check_output(output, ".png")
    from music_genre.evaluation.learning_curve import ALL, make_folds, measure, plot_learning_curve, scarcest_genre
    from music_genre.features.store import SpectrogramStore
    from music_genre.params import load_params

    params, data = load_params(project.params), SpectrogramStore.open(project.spectrograms)
    names, clips = choose_models(models, params, project), labelled_clips(data)
    artists = artists_of(clips, project)
    folds = make_folds(clips.label, artists, data.genres, repeats, params.seed)
    label, largest = scarcest_genre(clips.label, folds, len(data.genres))
    limit = f"{data.genres[label]} has {largest} clips in the smallest training fold"
    possible = [size for size in wanted if size <= largest or size == ALL]
    if not possible:
        raise MusicGenreError(f"{limit}: no size of --sizes is that small")
    check_sizes(possible, names)
    trained = {name: fit_predict(name, params, data, artists) for name in names}
    curve = measure(trained, clips.label, artists, folds, possible)
    table = curve.table()
    save_plot(plot_learning_curve(table, f"{len(clips)} clips, folds by artist, mean of {repeats} repeats"), output)
    calibrations = curve.calibration.items()
    typer.echo("Accuracy in % on artists not trained on, with 95 % intervals, by clips a genre:")
    print_curve(table)
    typer.echo("Calibration error (ECE) with most clips; in brackets, what perfect calibration gives by chance:")
    typer.echo("  " + ", ".join(f"{name} {ece:.3f} ({low:.3f}-{high:.3f})" for name, (ece, low, high) in calibrations))
    left_out = [str(size) for size in wanted if size not in possible]
    if left_out:
        typer.echo(f"Left out: {', '.join(left_out)}; {limit}.")
    typer.echo(f"Picture: {output}")
    typer.echo(answer(curve))


def parse_sizes(text: str) -> list[int]:
    """The sizes of ``--sizes``, ascending, each once.

    Raises:
        typer.BadParameter: one is neither a positive integer nor ``all``.
    """
    from music_genre.evaluation.learning_curve import ALL

    try:
        sizes = sorted({ALL if part.strip() == "all" else int(part) for part in text.split(",")})
    except ValueError:
        sizes = [0]
    if sizes[0] < 1:
        raise typer.BadParameter(
            f"takes positive integers or all, with commas between, not {text!r}", param_hint="'--sizes'"
        )
    return sizes


def check_sizes(sizes: Sequence[int], names: Sequence[str]) -> None:
    """Refuse a single clip a genre for a classifier, which holds clips out to calibrate by.

    Raises:
        MusicGenreError: there are both.
    """
    from music_genre.models.registry import Classifier, get_model

    classifiers = [name for name in names if isinstance(get_model(name), Classifier)]
    if sizes[0] < 2 and classifiers:
        raise MusicGenreError(f"{classifiers[0]} needs at least two clips of each genre: leave 1 out of --sizes")


def choose_models(text: str | None, params: Params, project: ProjectPaths) -> list[str]:
    """The models of ``--models``; where there is none, all but networks and what has no embeddings.

    Raises:
        MusicGenreError: there is no such model.
    """
    from music_genre.models.registry import Network, get_model

    if text is not None:
        names = list(dict.fromkeys(part.strip() for part in text.split(",")))
        unknown = [name for name in names if name not in params.trained]
        if unknown:
            raise MusicGenreError(f"no model {unknown[0]!r} to train; there are {', '.join(params.trained)}")
        return names
    quick = [name for name in params.trained if not isinstance(get_model(name), Network)]
    encoders = {name: params.models[name].encoder for name in quick}
    names = [name for name in quick if encoders[name] is None or (project.embeddings / encoders[name]).is_dir()]
    if not names:
        raise MusicGenreError(f"no model but networks can be trained; name with --models: {', '.join(params.trained)}")
    return names


def labelled_clips(store: ClipStore) -> ClipDataset:
    """The clips of training and validation, in the order of the store."""
    rows = store.index[store.index["split"].isin(MODEL_SPLITS)]
    return replace(store, index=rows.assign(split="labelled")).split("labelled")


def artists_of(clips: ClipDataset, project: ProjectPaths) -> np.ndarray:
    """(n,) int64, equal for clips of one artist; an unknown artist is an artist of its own.

    Raises:
        MusicGenreError: the splits are of other clips.
    """
    import pandas as pd

    from music_genre.datasets.names import artist_groups

    again = "`dvc repro` makes them anew"
    if not project.splits.is_file():
        raise MusicGenreError(f"there is no {project.splits}: {again}")
    known = pd.read_parquet(project.splits).set_index("track_id")["artist_id"]
    if not pd.Index(clips.track_id).isin(known.index).all():
        raise MusicGenreError(f"{project.splits} and {project.spectrograms} hold other clips: {again}")
    return artist_groups(known.loc[clips.track_id])


def fit_predict(name: str, params: Params, data: SpectrogramStore, artists: np.ndarray) -> FitPredict:
    """How a model is trained and predicts, with its section of ``params.yaml``; its ``train_fraction`` is not used."""
    import numpy as np

    from music_genre.models.predictors import PREDICT_BATCH_SIZE
    from music_genre.models.registry import EmbeddingClassifier, Network, get_model

    model, section, n_classes = get_model(name), params.models[name], len(data.genres)
    clips = labelled_clips(data)
    labels = clips.label
    if isinstance(model, Network):
        return fit_predict_network(name, section, clips, n_classes, params.seed)
    if isinstance(model, EmbeddingClassifier):
        of_clips, fit_head = labelled_clips(data.embeddings(section.encoder)), model.fit
        x = of_clips.read(np.arange(len(of_clips)))
        return lambda train, rest: fit_head(x[train], labels[train], artists[train], n_classes, section).predict(
            x[rest]
        )
    features = np.concatenate([model.extract(mel, section) for mel in clips.batches(PREDICT_BATCH_SIZE)])
    fit = model.fit
    return lambda train, rest: np.asarray(fit(features[train], labels[train], section).predict_proba(features[rest]))


def fit_predict_network(name: str, section: NetworkParams, clips: ClipDataset, n_classes: int, seed: int) -> FitPredict:
    """How a network is trained by its recipe and predicts; what Keras prints goes to stderr. No clips are spared for
    validation: a recipe that selects an epoch does so by the training clips.
    """
    import numpy as np

    from music_genre.models.predictors import PREDICT_BATCH_SIZE
    from music_genre.training.trainer import TrainingData, TrainJob, train_network

    def take(positions: np.ndarray) -> ClipDataset:
        columns = {name: getattr(clips, name)[positions] for name in ("track_id", "label", "shard", "row")}
        return replace(clips, **columns)

    def run(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        data = TrainingData(take(train), take(train), n_classes)
        with TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            network, _ = train_network(name, section, TrainJob(data, seed, lambda row: None, Path(folder)))
        batches = take(held_out).batches(PREDICT_BATCH_SIZE)
        return np.concatenate([network.predict(mel, verbose=0) for mel in batches])

    return run


def print_curve(table: pd.DataFrame) -> None:
    """Print a row a size and a column a model, in per cent."""
    from music_genre.evaluation.learning_curve import ALL

    names = table["model"].unique()
    rows: list[list[str]] = []
    for size, of_size in table.groupby("size"):
        percent = (100 * of_size.set_index("model")[["accuracy", "low", "high"]]).loc[names].to_numpy()
        label = "all" if size == ALL else str(size)
        rows.append([label.rjust(5), *(f"{accuracy:4.1f} ({low:.1f}-{high:.1f})" for accuracy, low, high in percent)])
    print_table(["clips", *names], rows)


def answer(curve: LearningCurve) -> str:
    """Whether more clips are worth the work, in words."""
    from music_genre.evaluation.learning_curve import ALL

    if len(curve.sizes) < 2:
        return "One size alone does not tell what more labels gain: give --sizes a smaller one, too."
    few, many, name = curve.sizes[curve.half], curve.sizes[-1], curve.best
    gain, low, high = (round(100 * value, 1) + 0.0 for value in curve.gain(name))
    times = "Twice" if many == 2 * few else f"{many / few:.2g} times"
    labels, sizes = f"{times} as many labels", f"{few} to {many} clips a genre"
    if many == ALL:
        labels, sizes = "All labels", f"instead of {few} clips a genre"
    verb = "gained" if gain >= 0 else "lost"
    return f"{labels} {verb} {name} {abs(gain):.1f} points: {sizes} (95 % interval {low:.1f} to {high:.1f})."
