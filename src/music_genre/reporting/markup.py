"""A page of plain HTML that reads from disk, on a phone, at night and on paper: the pieces it is put together of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

import pandas as pd

STYLE = """\
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #56d364; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; } td { white-space: nowrap; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; max-width: 46rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; padding: .3rem; }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
.note { background: var(--soft); border-left: .3rem solid var(--line); padding: .5rem 1rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.card table { display: block; overflow-x: auto; }
audio { height: 2rem; width: 14rem; max-width: 100%; vertical-align: middle; }
@media print {
  :root { color-scheme: light; } body { max-width: none; font-size: 10pt; } nav, audio { display: none; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } img { max-height: 22cm; }
  .wide, .card table { overflow: visible; } td { white-space: normal; }
}
"""


class Markup(str):
    """Text that is HTML already."""


def document(title: str, links: str, body: str) -> str:
    """A page of its own: no script, no font and no style from anywhere else.

    Args:
        title: text.
        links: HTML, to the parts of the page.
        body: HTML.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<nav aria-label="Sections">{links}</nav>
{body}
</body>
</html>
"""


def table(title: str, heading: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; figures stand right, and whatever a genre or a track is called is text."""
    numeric = [bool(rows) and all(_is_figure(row[place]) for row in rows) for place in range(len(heading))]
    kinds = [' class="number"' if figures else "" for figures in numeric]

    def line(tag: str, cells: Sequence[object]) -> str:
        return "".join(f"<{tag}{kind}>{_cell(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(title)}</caption>\n<tr>{line("th", heading)}</tr>\n{body}\n'
        "</table></div>\n"
    )


def _is_figure(cell: object) -> bool:
    return not isinstance(cell, str) or cell[:1] in set("+-0123456789")


def _cell(cell: object) -> str:
    return cell if isinstance(cell, Markup) else escape("" if pd.isna(cell) else str(cell))


def picture(name: str, alternative: str, caption: str) -> str:
    """A picture that lies beside the page, and opens in its full size."""
    source = f"{escape(name)}.png"
    return (
        f'<figure><a href="{source}"><img src="{source}" alt="{escape(alternative)}"></a>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def of_each(models: Sequence[str], name: str, alternative: str, caption: str) -> str:
    """A ``picture`` of every model, whose name stands for ``{}`` in each of the texts."""
    return "".join(picture(*(text.format(model) for text in (name, alternative, caption))) for model in models)


def player(path: object) -> str:
    """A player of a track in ``data/raw``; nothing where a collection holds no audio."""
    if not isinstance(path, str):
        return "none"
    return f'<audio controls preload="none" src="../data/raw/{escape(quote(path))}"></audio>'
