"""The ``music-genre`` command."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.errors import AudioFault, MusicGenreError
from music_genre.project import Project
from music_genre.stages import quiet_libraries

# Heavy libraries are imported by the commands that use them: `--help` answers at once.
if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from music_genre.packed import PackedModel


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 1 refused or failed with one line of reason, 2 wrong usage."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    quiet_libraries()
    try:
        command: Callable[[argparse.Namespace, argparse.ArgumentParser], int] = options.command
        return command(options, parser)
    except MusicGenreError as error:
        print(f"music-genre: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("music-genre", description="Name the genre of music, and decide which model does.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="name the genre of audio files, or of ready spectrograms")
    predict.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="mp3, wav, flac, ogg, opus, au, aiff; or folders of them"
    )
    predict.add_argument("--timeline", action="store_true", help="answer for each part of a song, too")
    predict.add_argument("--json", action="store_true", help="one JSON object a line")
    predict.add_argument(
        "--csv", type=Path, metavar="OUT.csv", help="a row a file, in order; what is wrong is told there"
    )
    predict.add_argument(
        "--model", default="champion", metavar="WHICH", help="champion, challenger or a version (champion)"
    )
    predict.add_argument(
        "--arrays", type=Path, metavar="FILE.npz", help="spectrograms: mel (n, frames, n_mels), track_id (n,)"
    )
    predict.add_argument("--out", type=Path, metavar="FILE.csv", help="where the answers for --arrays go")
    predict.set_defaults(command=run_predict)

    explain = commands.add_parser("explain", help="name the genre of an audio file and draw what the answer rests on")
    explain.add_argument("file", type=Path, metavar="FILE", help="as for predict")
    explain.add_argument("--out", type=Path, metavar="FILE.png", help="where the picture goes (beside FILE)")
    explain.add_argument("--model", default="champion", metavar="WHICH", help="as for predict (champion)")
    explain.set_defaults(command=run_explain)

    filters = commands.add_parser("filters", help="draw what a convolution of a trained network wants to hear")
    filters.add_argument("network", metavar="NETWORK", help="as models/ holds it: crnn, parallel")
    filters.add_argument("layer", metavar="LAYER", help="conv3, for example; a name that is wrong tells the right ones")
    filters.add_argument(
        "--count", type=int, default=24, metavar="N", help="filters shown, the most telling first (24)"
    )
    filters.add_argument("--out", type=Path, metavar="FILE.png", help="where the picture goes (NETWORK_LAYER.png)")
    filters.set_defaults(command=run_filters)

    versions = commands.add_parser("versions", help="list the registered versions")
    versions.add_argument("--json", action="store_true", help="as one JSON list")
    versions.set_defaults(command=run_versions)

    runs = commands.add_parser("runs", help="list the runs of DVC experiments, best on validation first")
    runs.set_defaults(command=run_runs)

    register = commands.add_parser("register", help="put the best model of models/ into the registry, once")
    register.set_defaults(command=run_register)

    promote = commands.add_parser("promote", help="make a version champion: the one that is served")
    promote.add_argument("--version", metavar="N", help="which (the challenger)")
    promote.add_argument("--force", action="store_true", help="even though the gate refused it; takes --reason")
    promote.add_argument("--reason", metavar="TEXT", help="why; kept in the history of champions")
    promote.set_defaults(command=run_promote)

    rollback = commands.add_parser("rollback", help="make the previous champion champion again")
    rollback.set_defaults(command=run_rollback)

    drift = commands.add_parser("drift", help="compare the service's request log with the training data; 1: drift")
    drift.add_argument("--log", type=Path, metavar="FOLDER", help="of the service's lines (serving.request_log)")
    drift.set_defaults(command=run_drift)

    flattery = commands.add_parser("flattery", help="how much a split that ignores artists would flatter the baseline")
    flattery.add_argument("--seeds", type=int, default=30, metavar="N", help="splits of each kind (30)")
    flattery.set_defaults(command=run_flattery)
    return parser


def run_predict(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if bool(options.files) == bool(options.arrays) or bool(options.arrays) != bool(options.out):
        parser.error("predict takes either audio FILEs, or --arrays FILE.npz with --out FILE.csv")
    if options.csv and (options.arrays or options.json or options.timeline):
        parser.error("--csv takes audio FILEs alone, without --json or --timeline")
    from music_genre.tagging import audio_files

    model, sure_from = load_model(options.model)
    if options.arrays:
        return predict_arrays(model, options.arrays, options.out)
    if options.csv:
        return predict_table(model, sure_from, options.files, options.csv)
    return max([predict_file(model, sure_from, path, options) for path in audio_files(options.files)])


def predict_table(model: PackedModel, sure_from: float, paths: list[Path], out: Path) -> int:
    """Write a row a file, as each is answered: what is there stays when the command is interrupted."""
    from music_genre.tagging import audio_files, columns, rows

    files, wrong = audio_files(paths), 0
    try:
        with out.open("w", encoding="utf-8", errors="backslashreplace", newline="") as table:
            writer = csv.DictWriter(table, columns(model.packing.genres))
            writer.writeheader()
            for row in rows(model, sure_from, files):
                writer.writerow(row)
                wrong += "error" in row
                table.flush()
    except OSError as error:
        raise MusicGenreError(f"{out} cannot be written: {error.strerror}") from error
    print(f"{len(files) - wrong} answers and {wrong} faults in {out}")
    return 0


def predict_file(model: PackedModel, sure_from: float, path: Path, options: argparse.Namespace) -> int:
    """Print one file's answer; a file that cannot be answered is told, and the others go on."""
    from music_genre.prediction import answer
    from music_genre.tagging import hear

    try:
        clips = hear(path, model.packing)
    except AudioFault as fault:
        print(f"music-genre: {path}: {fault}", file=sys.stderr)
        return 1
    result = answer(clips, model.predict(clips.mel), model.packing.genres, sure_from, options.timeline)
    if options.json:
        print(json.dumps({"file": str(path), **result}))
        return 0
    doubt = "" if result["confident"] else ", not sure"
    print(f"{path}: {result['genre']} ({result['confidence']:.0%}{doubt})")
    for part in result.get("segments", []):
        share = part["probabilities"][part["genre"]]
        print(f"  {part['start_seconds']:7.1f} - {part['end_seconds']:.1f} s  {part['genre']} ({share:.0%})")
    return 0


def predict_arrays(model: PackedModel, source: Path, out: Path) -> int:
    """Write track_id, genre and a probability column a genre for every spectrogram of an archive."""
    import numpy as np
    import pandas as pd

    from music_genre.params import load_params
    from music_genre.sources.arrays import read_arrays, to_db

    if not out.parent.is_dir():
        raise MusicGenreError(f"{out} cannot be written: {out.parent} is no folder")
    stored = read_arrays(source)
    if not np.isfinite(stored.mel).all():
        raise MusicGenreError(f"{source}: mel has values that are not finite")
    if stored.mel.shape[1:] != model.packing.shape:
        raise MusicGenreError(
            f"{source}: spectrograms are {stored.mel.shape[1:]}, the model takes {model.packing.shape}"
        )
    scale = load_params(Project.here().params).data.arrays.scale
    starts = range(0, len(stored.mel), 64)
    probabilities = np.concatenate([model.predict(to_db(stored.mel[start : start + 64], scale)) for start in starts])
    genres = np.asarray(model.packing.genres)
    track_id = np.arange(len(stored.mel)) if stored.track_id is None else stored.track_id
    table = pd.DataFrame({"track_id": track_id, "genre": genres[probabilities.argmax(axis=1)]})
    pd.concat([table, pd.DataFrame(probabilities, columns=genres)], axis=1).to_csv(out, index=False)
    print(f"{len(table)} answers in {out}")
    return 0


def run_explain(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre import registry
    from music_genre.explain.recording import explain
    from music_genre.tagging import MAX_SECONDS

    out = options.out or options.file.with_name(f"{options.file.stem}.explained.png")
    check_picture(out, parser)
    folder = registry.packed_folder(find_version(options.model))
    try:
        if not options.file.is_file():
            raise AudioFault("missing", "no such file")
        found = explain(folder, options.file, MAX_SECONDS)
    except AudioFault as fault:
        raise MusicGenreError(f"{options.file}: {fault}") from fault
    save_picture(found.picture, out)
    print(f"{options.file}: {found.genre} ({found.confidence:.0%})")
    print(f"  {found.reason}")
    print(f"  {out} shows the clip and what the answer rests on")
    return 0


def run_filters(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.stages.explain import look_into

    out = options.out or Path(f"{options.network}_{options.layer.replace('/', '_')}.png")
    check_picture(out, parser)
    if options.count < 1:
        parser.error("--count takes at least 1")
    picture, told = look_into(Project.here(), options.network, options.layer, options.count)
    save_picture(picture, out)
    print(f"{out} shows {told}")
    return 0


def check_picture(out: Path, parser: argparse.ArgumentParser) -> None:
    """Refuse the name of a picture that cannot be written, before anything is computed."""
    if out.suffix != ".png":
        parser.error("--out takes the name of a .png file")
    if not out.parent.is_dir():
        raise MusicGenreError(f"{out} cannot be written: {out.parent} is no folder")


def save_picture(picture: Figure, out: Path) -> None:
    from music_genre.figures import save

    try:
        save(picture, out)
    except OSError as error:
        raise MusicGenreError(f"{out} cannot be written: {error.strerror}") from error


def run_versions(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre import registry

    client, name = connect()
    found = registry.versions(client, name)
    if options.json:
        told = [asdict(v) | {"shadow": v.shadow and v.shadow.model_dump()} for v in found]
        print(json.dumps(told, indent=2))
    elif not found:
        print(f"{name} has no versions yet: `dvc repro` trains one, `music-genre register` registers it")
    else:
        print(f"{'version':>7}  {'model':<9}  {'verdict':<8}  {'macro-F1 validation':>19}  {'test':>5}  aliases")
        for v in found:
            validation, test = ("-" if f is None else f"{f:.3f}" for f in (v.validation_macro_f1, v.test_macro_f1))
            failed = ["failed: " + ", ".join(v.failed)] if v.failed else []
            said = ", ".join([*v.aliases, *failed, *([f"forced: {v.forced}"] if v.forced else [])])
            print(f"{v.version:>7}  {v.model:<9}  {v.verdict:<8}  {validation:>19}  {test:>5}  {said}".rstrip())
        for v in found:
            if v.shadow:
                print(f"\nversion {v.version} {v.shadow}")
        reigns = registry.history(client, name)
        if reigns:
            print("\nchampion from                       to                         why")
        for reign in reigns:
            print(f"{reign.version:>8} {reign.since}  {reign.until or 'now':<25}  {reign.reason}")
    return 0


def run_runs(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre import tracking

    found = tracking.experiments(connect()[0])
    if found.empty:
        print("no DVC experiment has trained anything yet: `make sweep`, or `dvc exp run -S ...`")
    else:
        print(found.round(3).to_string(index=False, na_rep="-"))
    return 0


def run_register(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.stages.register import describe, register

    print(describe(register(Project.here())))
    return 0


def run_promote(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre import registry, tracking

    if options.force != bool(options.reason):
        parser.error("--force and --reason TEXT go together")
    client, name = connect()
    with tracking.lock(Project.here().root):
        version = registry.promote(client, name, options.version, options.reason)
    print(f"{name} version {version} is champion")
    return 0


def run_rollback(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre import registry, tracking

    client, name = connect()
    with tracking.lock(Project.here().root):
        version = registry.rollback(client, name)
    print(f"{name} version {version} is champion again")
    return 0


def run_flattery(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import numpy as np
    import pandas as pd

    from music_genre.flattery import accuracy_by_split, mean_difference
    from music_genre.networks.baseline import statistics_of
    from music_genre.params import load_params
    from music_genre.shards import Spectrograms

    if options.seeds < 2:
        parser.error("--seeds takes at least 2: one split says little")
    project = Project.here()
    params, data = load_params(project.params), Spectrograms.open(project.spectrograms)
    splits = [data.split(name) for name in data.index["split"].unique()]
    settings = params.models.baseline
    statistics = np.concatenate([statistics_of(clips.batches(64), settings.features) for clips in splits])
    order = np.concatenate([clips.track_id for clips in splits])
    tracks = pd.read_parquet(project.tracks).set_index("track_id").loc[order].reset_index()
    if tracks["artist_id"].isna().all():
        raise MusicGenreError("no track has a known artist: both splits would be the same")
    accuracy = accuracy_by_split(tracks, statistics, params.split, settings, range(options.seeds))
    mean, low, high = mean_difference(accuracy)
    print(f"no artist in two splits: accuracy {accuracy['artist'].mean():.1%} (mean of {options.seeds} splits)")
    print(f"random split:            accuracy {accuracy['random'].mean():.1%}")
    print(f"A random split flatters by {100 * mean:.1f} points (95 % interval {100 * low:.1f} to {100 * high:.1f}).")
    return 0


def run_drift(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """0: as before, or too few requests to tell; 1: drift. A page says what was compared."""
    import pandas as pd

    from music_genre import checks, drift, registry
    from music_genre.params import load_params
    from music_genre.shards import Spectrograms

    project = Project.here()
    params = load_params(project.params)
    folder = options.log or params.serving.request_log
    if folder is None:
        raise MusicGenreError("there is no request log: serve with serving.request_log set, or name one with --log")
    requests = drift.read_log(project.root / folder, params.drift.requests)
    if len(requests) < params.drift.least:
        print(f"{len(requests)} different requests in {folder}; {params.drift.least} are needed to tell")
        return 0
    data, version = Spectrograms.open(project.spectrograms), requests["version"].iloc[-1]
    models = {known.version: known.model for known in registry.versions(*connect())}
    predictions = project.evaluation(models.get(version, "")) / "predictions.csv"
    if not predictions.is_file():
        raise MusicGenreError(f"nothing is known of version {version}, which answered: {predictions} is not there")
    training = data.index[data.index["split"] == "training"]
    limits = drift.Limits(params.drift.distance, params.drift.false_alarm)
    figures = drift.compare(training, pd.read_csv(predictions)["predicted"], requests, limits, params.seed)
    suite = checks.Suite("requests", requests, "request_id", checks.of_clips(data.shape))
    failures = checks.run([suite], project.drift / "checks").failures
    drifted = [figure.name for figure in figures if figure.drifted] + ["expectations"] * bool(failures)
    told = f"Drift in {', '.join(drifted)}." if drifted else "No drift."
    (project.drift / "index.html").write_text(drift.page(figures, failures, len(requests), told), encoding="utf-8")
    for figure in figures:
        print(f"{figure.name:<14} distance {figure.distance:.3f}, allowed {figure.limit:.3f}")
    print(*failures, f"{told} {project.drift}/index.html shows {len(requests)} requests of version {version}", sep="\n")
    return int(bool(drifted))


def load_model(wanted: str) -> tuple[PackedModel, float]:
    """The model behind ``champion``, ``challenger`` or a version number, and the least confidence of a sure answer."""
    from music_genre import registry
    from music_genre.packed import PackedModel
    from music_genre.prediction import confident_from

    version = find_version(wanted)
    return PackedModel(registry.packed_folder(version)), confident_from(version.tags)


def find_version(wanted: str) -> ModelVersion:
    """The registered version behind ``champion``, ``challenger`` or a number."""
    from music_genre import registry

    client, name = connect()
    return registry.resolve(client, name, wanted)


def connect() -> tuple[MlflowClient, str]:
    """The tracking store's client and the registered model's name."""
    from music_genre import tracking
    from music_genre.params import load_params

    project = Project.here()
    return tracking.connect(project.root), load_params(project.params).registry.name


if __name__ == "__main__":
    sys.exit(main())
