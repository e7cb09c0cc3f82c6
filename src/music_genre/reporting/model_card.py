"""A model's card: what it is, what it learnt from, how good it is, what it is not for, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from music_genre.features.store import SpectrogramStore
from music_genre.files import folder_sha256
from music_genre.models.bundle import BundleManifest, read_manifest
from music_genre.registry.gate import Candidate
from music_genre.tracking.provenance import CHANGES

CONFUSIONS = 5
"""Pairs of genres that a card names."""

LONGEST_DESCRIPTION = 5000
"""Characters that a tracking store's database keeps of a version's description."""

UNKNOWN_LICENCE = "unknown"
SYNTHESISED = "sample"


@dataclass(frozen=True)
class Facts:
    """All that a card is written from; the same facts are the same card.

    Args:
        registered: name in the registry.
        manifest: what the packed model says about itself.
        digest: of the packed model.
        parameters: trained figures in it.
        run_id: of its run; empty before it has one: then nothing is said of how it was made.
        tags: of its run; see ``provenance.Origin`` and ``tracking.run``.
        tracks: columns genre, split, artist_id, license: of every clip.
        metrics: ``metrics.json``.
        classes: ``per_class.csv``, test alone.
        predictions: ``predictions.csv``, test alone.
    """

    registered: str
    manifest: BundleManifest
    digest: str
    parameters: int
    run_id: str
    tags: Mapping[str, str]
    tracks: pd.DataFrame
    metrics: Mapping[str, Mapping[str, float]]
    classes: pd.DataFrame
    predictions: pd.DataFrame


def gather(
    registered: str,
    reports: Path,
    tracks: Path,
    data: SpectrogramStore,
    chosen: Candidate,
    folder: Path,
    tags: Mapping[str, str],
    run_id: str = "",
) -> Facts:
    """What the card of a packed model is written from.

    Args:
        registered: name in the registry.
        reports: ``reports/evaluation``.
        tracks: ``tracks.parquet``.
        data: what it was trained on.
        chosen: the model.
        folder: the packed model.
        tags: of its run, or as many as are known before.
        run_id: of its run.
    """
    known = pd.read_parquet(tracks)[["track_id", "artist_id", "license"]]
    predictions = pd.read_csv(reports / chosen.name / "predictions.csv")
    classes = pd.read_csv(reports / chosen.name / "per_class.csv")
    return Facts(
        registered=registered,
        manifest=read_manifest(folder),
        digest=folder_sha256(folder),
        parameters=chosen.parameters,
        run_id=run_id,
        tags=tags,
        tracks=data.index[["track_id", "genre", "split"]].merge(known, on="track_id"),
        metrics=chosen.metrics,
        classes=classes[classes["split"] == "test"],
        predictions=predictions[predictions["split"] == "test"],
    )


def markdown(facts: Facts) -> str:
    """The whole card."""
    made = {"How it was made": _making(facts), "Make it again": _remaking(facts)} if facts.run_id else {}
    sections = {
        "What it is": _nature(facts),
        "Data and licences": _data(facts),
        "Figures": _figures(facts),
        "Limits and misuse": _limits(facts),
        **made,
        "Each genre": _genres(facts),
        "Known confusions": _confusions(facts),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {facts.registered}: {facts.manifest.name}\n\n{body}\n"


def description(card: str) -> str:
    """As much of a card as a version's description holds."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    rest = "\n\nThe rest is in `model_card.html` among the run's artifacts."
    whole_lines = card[: LONGEST_DESCRIPTION - len(rest)].rpartition("\n")[0]
    return whole_lines + rest


def rendered(card: str, below: int = 0) -> str:
    """The card as HTML, its headings so many levels lower; whatever a genre is called is text there, never markup."""
    from markdown_it import MarkdownIt

    machine = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = machine.parse(card)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{int(token.tag[1:]) + below}"
    return str(machine.renderer.render(tokens, machine.options, {}))


def page(card: str, title: str) -> str:
    """The card as a page of its own."""
    style = (
        "body{font:16px/1.5 sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}"
        "pre{background:#f3f3f3;padding:.8rem;overflow-x:auto}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head>\n<body>\n{rendered(card)}</body></html>\n"
    )


def _nature(facts: Facts) -> str:
    manifest, members = facts.manifest, facts.manifest.members
    frames, bands = manifest.shape
    heard = "It takes ready spectrograms and no audio."
    if manifest.transform is not None:
        seconds = frames * manifest.transform.hop_length / manifest.transform.sample_rate_hz
        heard = f"A clip is {seconds:.1f} s of mono sound at {manifest.transform.sample_rate_hz} Hz."
    temperatures = [manifest.temperature, *(member.temperature for member in members)]
    calibrated = "are as trained" if set(temperatures) == {1.0} else "were calibrated on the validation clips"
    made_of = ""
    if len(members) > 1:
        made_of = " It averages " + ", ".join(f"{member.name} (weight {member.weight:.2f})" for member in members) + "."
    return (
        f"It names the genre of a clip of music, one of {len(manifest.genres)}, with a probability for each:"
        f" {_listed(manifest.genres)}. {heard} It sees a log-mel spectrogram of {frames} frames and {bands} bands."
        f"{made_of} {facts.parameters:,} trained figures. Its probabilities {calibrated}."
    )


def _data(facts: Facts) -> str:
    tracks, source = facts.tracks, facts.tags.get("data_source", "unknown")
    licences = tracks["license"].fillna(UNKNOWN_LICENCE).value_counts()
    named = _table(["licence", "tracks"], [[licence, count] for licence, count in licences.head(10).items()])
    others = f"\n\n{len(licences) - 10} more licences are in `data/tracks.parquet`." if len(licences) > 10 else ""
    synthesised = " Its sounds are synthesised: no musician played them." if source == SYNTHESISED else ""
    by_split = tracks.groupby("split").agg(clips=("genre", "size"), artists=("artist_id", "nunique"))
    rows = [[split, *by_split.loc[split]] for split in ("training", "validation", "test") if split in by_split.index]
    splits = _table(["split", "clips", "known artists"], rows)
    return f"Source `{source}`.{synthesised}\n\n{splits}\n\nUnder these licences:\n\n{named}{others}"


def _figures(facts: Facts) -> str:
    rows = []
    for split in ("validation", "test"):
        found = facts.metrics[split]
        shares = [
            f"{found[name]:.1%} ({found[f'{name}_low']:.1%} to {found[f'{name}_high']:.1%})"
            for name in ("accuracy", "macro_f1")
        ]
        rows.append([split, *shares, f"{found['log_loss']:.3f}", f"{found['ece']:.3f}"])
    heading = ["split", "accuracy (95 % interval)", "macro-F1 (95 % interval)", "log loss", "calibration error"]
    return (
        f"{_table(heading, rows)}\n\nValidation chose the model and its temperature, so it flatters;"
        " test judged nothing."
    )


def _limits(facts: Facts) -> str:
    sample = (
        "- It learnt from synthesised sounds. On real music its answers mean nothing.\n"
        if facts.tags.get("data_source") == SYNTHESISED
        else ""
    )
    return (
        f"{sample}"
        "- It answers with one of its genres whatever it hears: speech, noise and other music too.\n"
        "- A genre is somebody's label. Clips at the border of two genres have no right answer.\n"
        "- It knows the artists and years of its collection; on others it does worse than on test.\n"
        "- Do not let it decide alone about people: pay, rights, visibility or where an artist belongs."
    )


def _making(facts: Facts) -> str:
    tags = facts.tags
    changes = {"true": f"`{CHANGES}` of the run", "false": "none"}
    named = {
        "git commit": tags.get("git_commit"),
        "changes to it": changes.get(tags.get("git_dirty", "")),
        "DVC experiment": tags.get("dvc_experiment"),
        "params digest": tags.get("params_digest"),
        "data digest (DVC, `data/spectrograms`)": tags.get("data_digest"),
        "model digest (SHA-256)": facts.digest,
        "run": facts.run_id,
    }
    return _table(["what", "which"], [[what, which] for what, which in named.items() if which])


def _remaking(facts: Facts) -> str:
    commit = facts.tags.get("git_commit")
    if not commit:
        return "It was trained outside git: no commit says how."
    commands = [f"git checkout --quiet --detach {commit}"]
    if facts.tags.get("git_dirty") == "true":
        commands += [
            f"mlflow artifacts download --run-id {facts.run_id} --artifact-path {CHANGES} --dst-path .",
            f"git apply {CHANGES}",
        ]
    commands += ["dvc repro evaluate", "dvc metrics show"]
    block = "\n".join(commands)
    return (
        "In a clone, after `make setup`, with `.venv/bin` on `PATH`:\n\n"
        f"```bash\n{block}\n```\n\n"
        "The digests above are met on the same kind of machine; on others the last digits may differ."
    )


def _genres(facts: Facts) -> str:
    learnt = facts.tracks.loc[facts.tracks["split"] == "training", "genre"].value_counts()
    rows = [
        [
            row.genre,
            int(learnt.get(row.genre, 0)),
            row.support,
            *(f"{x:.2f}" for x in (row.precision, row.recall, row.f1)),
        ]
        for row in facts.classes.itertuples()
    ]
    return _table(["genre", "training clips", "test clips", "precision", "recall", "F1"], rows)


def _confusions(facts: Facts) -> str:
    wrong = facts.predictions[facts.predictions["actual"] != facts.predictions["predicted"]]
    if wrong.empty:
        return "None on the test clips."
    pairs = wrong.groupby(["actual", "predicted"]).size().reset_index(name="clips")
    pairs = pairs.sort_values(["clips", "actual", "predicted"], ascending=[False, True, True]).head(CONFUSIONS)
    return _table(["test clips of", "taken for", "clips"], pairs.to_numpy().tolist())


def _table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _listed(genres: Sequence[str]) -> str:
    return ", ".join(_cell(genre) for genre in genres)


def _cell(value: object) -> str:
    """Text that ends no cell and begins no tag: names of genres and licences are somebody else's."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
