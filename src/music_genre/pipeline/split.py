"""Split tracks into training, validation and test: ``splits.parquet``, and tables for people.

The ledger of former splits is read and, last, replaced as a whole; that it holds no more than was dealt here makes a
second run change nothing.
"""

from __future__ import annotations

import sys

import pandas as pd
import yaml

from music_genre.datasets.splits import (
    assign_splits,
    ledger_method,
    read_ledger,
    split_table,
    write_ledger,
)
from music_genre.errors import MusicGenreError
from music_genre.params import load_params
from music_genre.paths import ProjectPaths
from music_genre.pipeline import stage


@stage
def main(project: ProjectPaths) -> None:
    params = load_params(project.params)
    check_ledger(project)
    ledger, method = read_ledger(project.split_ledger), ledger_method(params.split.method)
    former = ledger.get(method, {})
    result = assign_splits(pd.read_parquet(project.tracks), params.split, params.seed, former)
    result.splits.to_parquet(project.splits, index=False)
    table = split_table(result.splits)
    for path, rows in (
        (project.split_table, table),
        (project.split_notes, result.notes),
        (project.split_changes, result.left_out),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(path, index=False)
    print(table.to_string(index=False))
    n_new = len(result.dealt.keys() - former.keys())
    print(f"{n_new} tracks dealt, {len(result.dealt) - n_new} kept where they were, {len(result.left_out)} left out")
    for note in result.notes.itertuples():
        wanted = "" if pd.isna(note.wanted) else f", {note.wanted:g} wanted"
        print(f"{note.genre}: {note.found} {note.split} clips{wanted}: {note.note}", file=sys.stderr)
    write_ledger(project.split_ledger, ledger | {method: former | result.dealt} if former or result.dealt else ledger)


def check_ledger(project: ProjectPaths) -> None:
    """Refuse to deal anew because the ledger is lost.

    Raises:
        MusicGenreError: ``dvc.lock`` knows a ledger, and there is none.
    """
    if project.split_ledger.exists() or not project.lock.exists():
        return
    stages = (yaml.safe_load(project.lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out["path"] for out in stages.get("split", {}).get("outs", [])]
    if project.split_ledger.relative_to(project.root).as_posix() in outs:
        raise MusicGenreError(
            f"{project.split_ledger} is gone, and with it who is in test and validation: `git checkout"
            " data/split_ledger.csv` brings it back. To deal all tracks anew, write only its first line into it:"
            " method,track_id,split"
        )


if __name__ == "__main__":
    main()
