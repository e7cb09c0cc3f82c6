"""Is what the service hears still what the model was trained on? Clips of requests against clips of the reference.

A request is one row, whatever its length: its middle clip, described as the spectrogram index describes clips.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FEATURES = ("mean_db", "std_db", "minimum_db", "silent_share")
"""Columns of the spectrogram index whose distributions are compared."""

GENRE = "genre"
LOG_FILES = "*.jsonl*"
BINS = 10
"""Of a feature: as many of the reference's clips in each, as far as equal values allow."""

DRAWS = 2000
"""Of how far two samples of one kind lie apart by chance."""


@dataclass(frozen=True)
class Limits:
    """What counts as drift.

    Args:
        distance: a Jensen-Shannon distance up to here does not matter, however certain it is.
        false_alarm: how often clips of the reference's own kind may be told as drift.
    """

    distance: float
    false_alarm: float


@dataclass(frozen=True)
class Figure:
    """One distribution, compared.

    Args:
        name: of the feature, or ``genre``.
        bins: what each bin holds, in words.
        reference: (bins,) shares of the reference's clips.
        requests: (bins,) shares of the requests.
        distance: Jensen-Shannon, from 0, the same, to 1, nothing in common.
        limit: above it is drift: ``Limits.distance``, or what chance explains where that is more.
    """

    name: str
    bins: tuple[str, ...]
    reference: np.ndarray
    requests: np.ndarray
    distance: float
    limit: float

    @property
    def drifted(self) -> bool:
        return self.distance > self.limit


def read_log(folder: Path, most: int) -> pd.DataFrame:
    """The newest requests of the version that answered last: at most ``most``, each clip once.

    Lines that are no JSON are left out: a service that was killed may leave half a line.
    """
    rows = [row for path in sorted(folder.glob(LOG_FILES)) for line in path.open() if (row := _parsed(line))]
    if not rows:
        return pd.DataFrame(columns=["time", "version", GENRE, *FEATURES])
    table = pd.DataFrame(rows).sort_values("time", ignore_index=True)
    table = table[table["version"] == table["version"].iloc[-1]].drop_duplicates(list(FEATURES))
    return table.tail(most).reset_index(drop=True)


def compare(
    reference: pd.DataFrame, expected_genres: pd.Series, requests: pd.DataFrame, limits: Limits, seed: int
) -> list[Figure]:
    """A figure a feature, and one for the genres.

    Args:
        reference: training clips: rows of the spectrogram index.
        expected_genres: what the model says of clips that it was not trained on.
        requests: as ``read_log`` gives them.
        limits: see ``Limits``.
        seed: of the draws that tell chance.
    """
    rng = np.random.default_rng(seed)
    each = Limits(limits.distance, limits.false_alarm / (len(FEATURES) + 1))
    figures = []
    for name in FEATURES:
        edges = np.unique(np.quantile(reference[name], np.linspace(0, 1, BINS + 1)[1:-1]))
        old, new = (
            np.bincount(np.searchsorted(edges, t[name]), minlength=len(edges) + 1) for t in (reference, requests)
        )
        figures.append(_figure(name, _ranges(edges), old, new, each, rng))
    genres = sorted({*expected_genres, *requests[GENRE]})
    old, new = (_counts(column, genres) for column in (expected_genres, requests[GENRE]))
    return [*figures, _figure(GENRE, tuple(genres), old, new, each, rng)]


def _counts(column: pd.Series, values: list[str]) -> np.ndarray:
    counts: np.ndarray = column.value_counts().reindex(values, fill_value=0).to_numpy()
    return counts


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distances, from 0 to 1, between distributions along the last axis, given as counts; (...,)."""
    p, q = (counts / counts.sum(axis=-1, keepdims=True) for counts in (one, other))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = [np.where(part > 0, part * np.log2(part / middle), 0).sum(axis=-1) for part in (p, q)]
    return np.asarray(np.sqrt(np.maximum(bits[0] + bits[1], 0) / 2))


def _figure(
    name: str, bins: tuple[str, ...], old: np.ndarray, new: np.ndarray, limits: Limits, rng: np.random.Generator
) -> Figure:
    """Compare (bins,) counts of the reference and of the requests: were both of one kind, any other split of all the
    clips would be as likely.
    """
    drawn = rng.multivariate_hypergeometric(old + new, int(new.sum()), size=DRAWS)
    chance = float(np.quantile(jensen_shannon(old + new - drawn, drawn), 1 - limits.false_alarm))
    distance = float(jensen_shannon(old, new))
    return Figure(name, bins, old / old.sum(), new / new.sum(), distance, max(limits.distance, chance))


def _ranges(edges: np.ndarray) -> tuple[str, ...]:
    texts = [f"{edge:.4g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(texts)]
    return (f"up to {texts[0]}", *between, f"above {texts[-1]}")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"time", "version", GENRE, *FEATURES} <= row.keys() else None


STYLE = """\
:root { color-scheme: light dark; --line: #8884; --old: #8a8a99; --new: #7c5cd6; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --new: #b9a5ff; --bad: #ff7b72; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem 1rem .2rem 0; text-align: left; }
.bad { color: var(--bad); } td i { display: block; height: .5rem; border-radius: .2rem; }
.old { background: var(--old); } .new { background: var(--new); } .bars { width: 20rem; }
"""


def page(figures: Sequence[Figure], failures: Sequence[str], requests: int, told: str) -> str:
    """A page that reads well from disk: the verdict, the failed expectations, a table a figure.

    Args:
        figures: from ``compare``.
        failures: of the expectations, a sentence each.
        requests: how many were looked at.
        told: the verdict, a sentence.
    """
    listed = "".join(f"<li>{html.escape(failure)}</li>" for failure in failures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Drift</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Drift</h1>
<p>{html.escape(told)}</p>
<p>{requests} requests, lower bars, against the reference, upper bars.</p>
<ul class="bad">{listed}</ul>
{"".join(_section(figure) for figure in figures)}
</body>
</html>
"""


def _section(figure: Figure) -> str:
    kind, verdict = ("bad", "drifted") if figure.drifted else ("good", "as before")
    rows = "".join(
        f'<tr><td>{html.escape(label)}</td><td class="bars"><i class="old" style="width: {100 * old:.1f}%"></i>'
        f'<i class="new" style="width: {100 * new:.1f}%"></i></td><td>{old:.0%}</td><td>{new:.0%}</td></tr>'
        for label, old, new in zip(figure.bins, figure.reference, figure.requests, strict=True)
    )
    return f"""<h2>{html.escape(figure.name)}: <span class="{kind}">{verdict}</span></h2>
<p>Jensen-Shannon distance {figure.distance:.3f}, allowed {figure.limit:.3f}</p>
<table><tr><th></th><th></th><th>reference</th><th>requests</th></tr>{rows}</table>
"""
