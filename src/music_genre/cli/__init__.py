"""The ``music-genre`` command. Heavy libraries are imported where they are used: ``--help`` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from music_genre.cli import drift as comparing
from music_genre.cli import models as registering
from music_genre.cli import predict as answering
from music_genre.errors import MusicGenreError
from music_genre.pipeline import configure_libraries


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 1 refused or failed with one line of reason, 2 wrong usage."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    configure_libraries()
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
        "--model",
        default="champion",
        metavar="WHICH",
        help="champion, challenger or a version; or what models/ holds: crnn, parallel, ensemble (champion)",
    )
    predict.add_argument(
        "--arrays", type=Path, metavar="FILE.npz", help="spectrograms: mel (n, frames, n_mels), track_id (n,)"
    )
    predict.add_argument("--out", type=Path, metavar="FILE.csv", help="where the answers for --arrays go")
    predict.set_defaults(command=answering.run_predict)

    explain = commands.add_parser("explain", help="name the genre of an audio file and draw what the answer rests on")
    explain.add_argument("file", type=Path, metavar="FILE", help="as for predict")
    explain.add_argument("--out", type=Path, metavar="FILE.png", help="where the picture goes (beside FILE)")
    explain.add_argument("--model", default="champion", metavar="WHICH", help="as for predict (champion)")
    explain.set_defaults(command=answering.run_explain)

    filters = commands.add_parser("filters", help="draw what a convolution of a trained network wants to hear")
    filters.add_argument("network", metavar="NETWORK", help="as models/ holds it: crnn, parallel")
    filters.add_argument("layer", metavar="LAYER", help="conv3, for example; a name that is wrong tells the right ones")
    filters.add_argument(
        "--count", type=int, default=24, metavar="N", help="filters shown, the most telling first (24)"
    )
    filters.add_argument("--out", type=Path, metavar="FILE.png", help="where the picture goes (NETWORK_LAYER.png)")
    filters.set_defaults(command=answering.run_filters)

    versions = commands.add_parser("versions", help="list the registered versions")
    versions.add_argument("--json", action="store_true", help="as one JSON list")
    versions.set_defaults(command=registering.run_versions)

    runs = commands.add_parser("runs", help="list the runs of DVC experiments, best on validation first")
    runs.set_defaults(command=registering.run_runs)

    register = commands.add_parser("register", help="put the best model of models/ into the registry, once")
    register.set_defaults(command=registering.run_register)

    promote = commands.add_parser("promote", help="make a version champion: the one that is served")
    promote.add_argument("--version", metavar="N", help="which (the challenger)")
    promote.add_argument("--force", action="store_true", help="even though the gate refused it; takes --reason")
    promote.add_argument("--reason", metavar="TEXT", help="why; kept in the history of champions")
    promote.set_defaults(command=registering.run_promote)

    rollback = commands.add_parser("rollback", help="make the previous champion champion again")
    rollback.set_defaults(command=registering.run_rollback)

    drift = commands.add_parser("drift", help="compare the service's request log with the training data; 1: drift")
    drift.add_argument("--log", type=Path, metavar="FOLDER", help="of the service's lines (serving.request_log)")
    drift.set_defaults(command=comparing.run_drift)

    flattery = commands.add_parser("flattery", help="how much a split that ignores artists would flatter the baseline")
    flattery.add_argument("--seeds", type=int, default=30, metavar="N", help="splits of each kind (30)")
    flattery.set_defaults(command=comparing.run_flattery)
    return parser
