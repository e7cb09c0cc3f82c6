"""The Jinja2 environments of the templates. Pages need nothing from outside: one stylesheet, inside each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

MARKDOWN_SPECIAL = re.compile(r"[\\`*_\[\]|]|&(?=#?\w+;)")  # begins or ends markup in the middle of a line


def render_html(template: str, **context: Any) -> str:
    """A page from ``templates/``; every value that is not ``Markup`` is text in it, never a tag."""
    return _environment(_to_html_text).get_template(template).render(context)


def render_markdown(template: str, **context: Any) -> str:
    """Markdown from ``templates/``; every value that is not ``Markup`` is text in it, never markup."""
    return _environment(_to_markdown_text).get_template(template).render(context)


def markdown_to_html(text: str, heading_offset: int = 0) -> Markup:
    """Markdown with tables as HTML.

    Args:
        text: Markdown. HTML in it becomes text.
        heading_offset: levels by which headings are lowered, where the text becomes part of a page.
    """
    md = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = md.parse(text)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{int(token.tag[1:]) + heading_offset}"
    html = str(md.renderer.render(tokens, md.options, {}))
    tables_that_scroll = html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return Markup(tables_that_scroll)  # noqa: S704  # markdown-it has escaped the HTML of the text


def stylesheet() -> str:
    """The CSS of every page, for pages that no template makes."""
    return _environment(_to_html_text).get_template("style.css").render()


def read_script(name: str) -> Markup:
    """A script of ``templates/``, as it is."""
    return Markup((files("music_genre.reporting") / "templates" / name).read_text(encoding="utf-8"))  # noqa: S704  # ours


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows for a template; what is missing is None."""
    records: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return records


def interval(metrics: Mapping[str, Any], name: str) -> str:
    """A metric between 0 and 1 with its 95 % interval, in percent: ``75.0 % (60.0 to 85.0)``."""
    value, low, high = (100 * metrics[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


@cache
def _environment(to_text: Callable[[Any], Any]) -> Environment:
    environment = Environment(
        loader=PackageLoader("music_genre.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=to_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "decimals": lambda value, count: "" if pd.isna(value) else f"{value:.{count}f}",
        "percent": lambda value, count=0: "" if pd.isna(value) else f"{100 * value:.{count}f} %",
        "thousands": lambda value: f"{value:,}",
        "interval": interval,
        "path": quote,
        "literal": _literal,
    }
    return environment


def _to_html_text(value: Any) -> Any:
    return "" if value is None else value


def _to_markdown_text(value: Any) -> Markup:
    """Text for the middle of a line. Names of genres and licences come from elsewhere: they end no cell of a table."""
    if isinstance(value, Markup):
        return value
    line = re.sub(r"\s+", " ", "" if value is None else str(value))
    text = MARKDOWN_SPECIAL.sub(lambda special: f"\\{special[0]}", line).replace("<", "&lt;")
    return Markup(text)  # noqa: S704  # what this function is for


def _literal(value: Any) -> Markup:
    """Text for a code span or block of Markdown, which knows no escapes: one line without backticks."""
    return Markup(" ".join(str(value).replace("`", "'").split()))  # noqa: S704  # code is text up to a backtick
