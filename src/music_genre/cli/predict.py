"""Commands that hear: name the genre of files, draw what an answer rests on and what a filter wants."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from music_genre.cli.context import packed_folder
from music_genre.errors import AudioError, MusicGenreError
from music_genre.paths import ProjectPaths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from music_genre.models.bundle import ModelBundle


def run_predict(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if bool(options.files) == bool(options.arrays) or bool(options.arrays) != bool(options.out):
        parser.error("predict takes either audio FILEs, or --arrays FILE.npz with --out FILE.csv")
    if options.csv and (options.arrays or options.json or options.timeline):
        parser.error("--csv takes audio FILEs alone, without --json or --timeline")
    from music_genre.inference.batch import audio_files
    from music_genre.models.bundle import ModelBundle

    with packed_folder(options.model) as (folder, sure_from):
        model = ModelBundle(folder)
    if options.arrays:
        return predict_arrays(model, options.arrays, options.out)
    if options.csv:
        return predict_table(model, sure_from, options.files, options.csv)
    return max([predict_file(model, sure_from, path, options) for path in audio_files(options.files)])


def predict_table(model: ModelBundle, sure_from: float, paths: list[Path], out: Path) -> int:
    """Write a row a file, as each is answered: what is there stays when the command is interrupted."""
    from music_genre.inference.batch import audio_files, columns, rows

    files, wrong = audio_files(paths), 0
    try:
        with out.open("w", encoding="utf-8", errors="backslashreplace", newline="") as table:
            writer = csv.DictWriter(table, columns(model.manifest.genres))
            writer.writeheader()
            for row in rows(model, sure_from, files):
                writer.writerow(row)
                wrong += "error" in row
                table.flush()
    except OSError as error:
        raise MusicGenreError(f"{out} cannot be written: {error.strerror}") from error
    print(f"{len(files) - wrong} answers and {wrong} faults in {out}")
    return 0


def predict_file(model: ModelBundle, sure_from: float, path: Path, options: argparse.Namespace) -> int:
    """Print one file's answer; a file that cannot be answered is told, and the others go on."""
    from music_genre.inference.batch import hear
    from music_genre.inference.predictor import answer

    try:
        clips = hear(path, model.manifest)
    except AudioError as fault:
        print(f"music-genre: {path}: {fault}", file=sys.stderr)
        return 1
    result = answer(clips, model.predict(clips.mel), model.manifest.genres, sure_from, options.timeline)
    if options.json:
        print(json.dumps({"file": str(path), **result}))
        return 0
    doubt = "" if result["confident"] else ", not sure"
    print(f"{path}: {result['genre']} ({result['confidence']:.0%}{doubt})")
    for part in result.get("segments", []):
        share = part["probabilities"][part["genre"]]
        print(f"  {part['start_seconds']:7.1f} - {part['end_seconds']:.1f} s  {part['genre']} ({share:.0%})")
    return 0


def predict_arrays(model: ModelBundle, source: Path, out: Path) -> int:
    """Write track_id, genre and a probability column a genre for every spectrogram of an archive."""
    import numpy as np
    import pandas as pd

    from music_genre.datasets.arrays import read_arrays, to_db
    from music_genre.params import load_params

    if not out.parent.is_dir():
        raise MusicGenreError(f"{out} cannot be written: {out.parent} is no folder")
    stored = read_arrays(source)
    if not np.isfinite(stored.mel).all():
        raise MusicGenreError(f"{source}: mel has values that are not finite")
    if stored.mel.shape[1:] != model.manifest.shape:
        raise MusicGenreError(
            f"{source}: spectrograms are {stored.mel.shape[1:]}, the model takes {model.manifest.shape}"
        )
    scale = load_params(ProjectPaths.find().params).data["arrays"].scale
    starts = range(0, len(stored.mel), 64)
    probabilities = np.concatenate([model.predict(to_db(stored.mel[start : start + 64], scale)) for start in starts])
    genres = np.asarray(model.manifest.genres)
    track_id = np.arange(len(stored.mel)) if stored.track_id is None else stored.track_id
    table = pd.DataFrame({"track_id": track_id, "genre": genres[probabilities.argmax(axis=1)]})
    pd.concat([table, pd.DataFrame(probabilities, columns=genres)], axis=1).to_csv(out, index=False)
    print(f"{len(table)} answers in {out}")
    return 0


def run_explain(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.inference.batch import MAX_SECONDS
    from music_genre.interpretation.explain_clip import explain

    out = options.out or options.file.with_name(f"{options.file.stem}.explained.png")
    check_picture(out, parser)
    try:
        if not options.file.is_file():
            raise AudioError("missing", "no such file")
        with packed_folder(options.model) as (folder, _):
            found = explain(folder, options.file, MAX_SECONDS)
    except AudioError as fault:
        raise MusicGenreError(f"{options.file}: {fault}") from fault
    save_picture(found.picture, out)
    print(f"{options.file}: {found.genre} ({found.confidence:.0%})")
    print(f"  {found.reason}")
    print(f"  {out} shows the clip and what the answer rests on")
    return 0


def run_filters(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.pipeline.interpret import look_into

    out = options.out or Path(f"{options.network}_{options.layer.replace('/', '_')}.png")
    check_picture(out, parser)
    if options.count < 1:
        parser.error("--count takes at least 1")
    picture, told = look_into(ProjectPaths.find(), options.network, options.layer, options.count)
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
    from music_genre.evaluation.plots import save_figure

    try:
        save_figure(picture, out)
    except OSError as error:
        raise MusicGenreError(f"{out} cannot be written: {error.strerror}") from error
