"""See what the networks listen to, and where they differ: ``reports/explain/``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from music_genre import figures
from music_genre.explain import architecture, disagreement, embedding, filters, layers, pictures, saliency
from music_genre.explain.disagreement import COMPARED
from music_genre.explain.layers import Part
from music_genre.explain.pictures import Scale
from music_genre.packed import BATCH, ENSEMBLE, NETWORKS, load_predictor
from music_genre.params import load_params
from music_genre.project import Project
from music_genre.shards import Spectrograms, SplitArrays
from music_genre.stages import stage

FIRST, LAST = 16, 24
"""Filters shown of the first and the last convolution: as many as the study of FMA-small shows of its own."""

STUDIED = ("Pop", "Instrumental", "Experimental", "Folk")
"""Genres shown first, as in the study."""

HEARD, TRIED, MAPPED = 512, 16, 2000
"""Real clips that filters are measured on, that saliency is tried on, that are on the map."""

EXEMPLARS, MAPS = 4, 6
"""Clips whose saliency is shown, and filters whose maps are."""


@stage
def main(project: Project) -> None:
    seed, data = load_params(project.params).seed, Spectrograms.open(project.spectrograms)
    heard, scale = some(data.split("training"), HEARD), Scale(data.transform)
    figures.save(pictures.genres(typical(heard, data.genres), scale), project.genre_sheet)
    for name in NETWORKS:
        network = layers.load_network(project.model_file(name))
        title = f"{name}: {network.count_params():,} weights"
        figures.save(architecture.picture(network, title), project.explanation(name) / "architecture.png")
        explain_filters(
            project.explanation(name), name, layers.first_and_last(network), heard, data.genres, scale, seed
        )
        explain_answers(project, name, data, scale, seed)
        explain_embedding(project, name, data, seed)
    explain_differences(project)


def some(clips: SplitArrays, count: int) -> SplitArrays:
    """About so many clips, of every genre; at least one of each."""
    return clips.part(min(1.0, count / len(clips)))


def ordered(genres: tuple[str, ...]) -> list[str]:
    return [*(genre for genre in STUDIED if genre in genres), *(genre for genre in genres if genre not in STUDIED)]


def typical(clips: SplitArrays, genres: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The clip of each genre whose mean spectrum is nearest to the genre's: (frames, n_mels) dB by genre."""
    spectra = np.concatenate([mel.mean(axis=1) for mel in clips.batches(BATCH)])
    found = {}
    for genre in ordered(genres):
        own = np.flatnonzero(clips.label == genres.index(genre))
        distance = np.abs(spectra[own] - spectra[own].mean(axis=0)).sum(axis=1)
        found[genre] = clips.read(own[[distance.argmin()]])[0]
    return found


def explain_filters(
    folder: Path,
    name: str,
    parts: tuple[Part, Part],
    heard: SplitArrays,
    genres: tuple[str, ...],
    scale: Scale,
    seed: int,
) -> None:
    """Write what wakes filters of the first and the last convolution, and what they make of a real clip."""
    clip = heard.read(np.zeros(1, int))
    tables, blocks = [], []
    for place, part, count in zip(("first", "last"), parts, (FIRST, LAST), strict=True):
        table, woken = filters.wake(part, heard, genres, count, seed)
        titles = [f"{row['filter']}: {row['genre']}" for row in table.to_dict("records")]
        sheet = f"{name}, {part.name}: what wakes each filter, and the genre that does most"
        figures.save(pictures.filter_sheet(woken, titles, scale, sheet), folder / f"filters_{place}.png")
        blocks.append(
            (part.name, layers.maps(part, *heard.shape)(clip).numpy()[0], table["filter"].head(MAPS).tolist())
        )
        tables.append(table)
    figures.save(
        pictures.feature_maps(
            clip[0], blocks, scale, f"{name}: what filters answer to in a clip of {genres[heard.label[0]]}"
        ),
        folder / "feature_maps.png",
    )
    pd.concat(tables).round(4).to_csv(folder / "filters.csv", index=False)


def explain_answers(project: Project, name: str, data: Spectrograms, scale: Scale, seed: int) -> None:
    """Write what answers to test clips rest on, ``saliency.png``, and whether that is so, ``faithfulness.csv``."""
    test, path = data.split("test"), project.model_file(name)
    predict, gradient = load_predictor(path).predict, saliency.gradients([(layers.load_network(path), 1.0)])
    tried = some(test, TRIED)
    shown: dict[str, pictures.Shown] = {}
    falls = []
    for clip, label in zip(tried.read(np.arange(len(tried))), tried.label, strict=True):
        answer = predict(clip[None])[0]
        named = int(answer.argmax())
        cells = saliency.integrated_gradients(gradient, clip, named)
        blocks = saliency.occlusion(predict, clip, named)
        for method, found in (("integrated gradients", saliency.in_blocks(cells)), ("occlusion", blocks)):
            top, random = saliency.deletion(predict, clip, named, found, seed)
            falls.append({"method": method, "clips": 1, "top": top, "random": random, "top_more": float(top > random)})
        title = f"{data.genres[label]}, named {data.genres[named]} ({answer[named]:.0%})"
        shown.setdefault(data.genres[label], pictures.Shown(title, clip, cells, blocks))
    kept = [shown[genre] for genre in ordered(data.genres) if genre in shown][:EXEMPLARS]
    figures.save(
        pictures.saliency(kept, scale, f"{name}: what the answer rests on"), project.explanation(name) / "saliency.png"
    )
    figured = {"clips": "sum", "top": "mean", "random": "mean", "top_more": "mean"}
    table = pd.DataFrame(falls).groupby("method").agg(figured).round(4)
    table.to_csv(project.explanation(name) / "faithfulness.csv")
    print(f"{name}\n{table}")


def explain_embedding(project: Project, name: str, data: Spectrograms, seed: int) -> None:
    """Write where test clips lie just before the answer, ``embedding.png``, and how they cluster, ``clusters.json``."""
    test = some(data.split("test"), MAPPED)
    penultimate = layers.penultimate(layers.load_network(project.model_file(name)), *data.shape)
    features = np.concatenate([penultimate(mel).numpy() for mel in test.batches(BATCH)])
    maps = {"principal components": embedding.principal(features), "t-SNE": embedding.neighbours(features, seed)}
    scores = embedding.cluster_scores(features, test.label, seed)
    title = (
        f"{name}, {len(test)} test clips before the answer; K-means against genres:"
        f" adjusted Rand index {scores['adjusted_rand']:.2f}, silhouette {scores['silhouette']:.2f}"
    )
    folder = project.explanation(name)
    figures.save(pictures.embedding(maps, test.label, data.genres, title), folder / "embedding.png")
    rounded = {key: round(value, 4) for key, value in scores.items()}
    (folder / "clusters.json").write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")


def explain_differences(project: Project) -> None:
    """Write where the networks differ, what their average gains, and what is confused."""
    folder, names = project.explanation(ENSEMBLE), (*COMPARED, ENSEMBLE)
    folder.mkdir(parents=True, exist_ok=True)
    answers = {name: pd.read_csv(project.evaluation(name) / "predictions.csv") for name in names}
    clips = disagreement.side_by_side(answers)
    clips.insert(3, "right", disagreement.who_is_right(clips, *COMPARED))
    clips.to_csv(folder / "clips.csv", index=False)
    genres = disagreement.by_genre(clips, *COMPARED, ENSEMBLE)
    genres.to_csv(folder / "by_genre.csv", index=False)
    test = genres[genres["split"] == "test"]
    figures.save(pictures.agreement(test, *COMPARED, "Test clips named rightly"), folder / "agreement.png")
    ranked = [disagreement.confusions(clips[clips["split"] == "test"], name).assign(model=name) for name in names]
    pd.concat(ranked).round(4).to_csv(folder / "confusions.csv", index=False)


if __name__ == "__main__":
    main()
