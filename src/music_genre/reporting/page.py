"""The page about a run. It opens from disk and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Callable

from music_genre.reporting import insight, outcome
from music_genre.reporting.findings import Findings
from music_genre.reporting.markup import document

SECTIONS: dict[str, Callable[[Findings], str]] = {
    "Verdict": outcome.verdict,
    "Data": outcome.data,
    "Checks": outcome.checks,
    "Results": outcome.results,
    "Learning": outcome.learning,
    "Genres": outcome.genres,
    "Differences": insight.differences,
    "Listening": insight.listening,
    "Filters": insight.filters,
    "Reasons": insight.reasons,
    "Maps": insight.maps,
    "Networks": insight.networks,
    "Card": outcome.card,
}


def page(findings: Findings) -> str:
    """The whole page: the same findings are the same bytes."""
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in SECTIONS)
    body = "\n".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>\n{write(findings)}</section>' for name, write in SECTIONS.items()
    )
    return document("music-genre: what was learnt, and how well", links, body)
