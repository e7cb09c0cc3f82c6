"""Put everything that was found on one page: ``reports/index.html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from music_genre import gate
from music_genre.packed import ENSEMBLE, NAMES, NETWORKS
from music_genre.params import load_params
from music_genre.project import Project
from music_genre.report import Findings, page
from music_genre.shards import Spectrograms
from music_genre.stages import stage


@stage
def main(project: Project) -> None:
    params, explained = load_params(project.params), project.explanation(ENSEMBLE)
    tracks = pd.read_parquet(project.tracks, columns=["track_id", "path", "title"])
    findings = Findings(
        source=params.data.source,
        recipes={name: getattr(params.models, name).recipe for name in NETWORKS},
        splits=pd.read_csv(project.split_table),
        faults=pd.read_csv(project.faults),
        checks=_json(project.data_quality / "summary.json"),
        comparison=pd.read_csv(project.comparison),
        paired=pd.read_csv(project.comparison.parent / "paired.csv"),
        per_class={name: pd.read_csv(project.evaluation(name) / "per_class.csv") for name in NAMES},
        judged=gate.judge_files(
            project.comparison.parent,
            project.data_quality / "summary.json",
            project.models,
            Spectrograms.open(project.spectrograms),
            params.registry.gate,
            params.seed,
        ),
        clips=pd.read_csv(explained / "clips.csv").merge(tracks, on="track_id", how="left"),
        by_genre=pd.read_csv(explained / "by_genre.csv"),
        confusions=pd.read_csv(explained / "confusions.csv"),
        clusters={name: _json(project.explanation(name) / "clusters.json") for name in NETWORKS},
        faithfulness={name: pd.read_csv(project.explanation(name) / "faithfulness.csv") for name in NETWORKS},
    )
    project.page.write_text(page(findings), encoding="utf-8")
    print(f"{project.page} shows what was found")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
