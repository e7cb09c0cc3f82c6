"""Make Great Expectations' pages (Data Docs) readable offline: nothing from a network, no script, and the same bytes
for the same data.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

STYLE = """\
ul, ol { list-style: none; padding: 0; }
.breadcrumb li { display: inline; margin-right: 1rem; }
.fa-check-circle::before { content: "\\2713"; color: var(--good); }
.fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; color: var(--bad); }
.badge { border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem; }
td { white-space: normal; }
[data-toggle=collapse], .cooltip span, input, label { display: none; }
"""

EXTERNAL_ASSETS = r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>"
TIMESTAMPS = r"\d{8}T\d{6}\.\d{6}Z(?=</span>)|2000-01-01T00:00:00Z"
RANDOM_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def make_offline(site: Path, stylesheet: str) -> None:
    """Rewrite the pages of a site in place.

    Args:
        site: folder that Great Expectations wrote.
        stylesheet: CSS that comes before the rules for Great Expectations' own markup.
    """
    static = site / "static"
    for asset in static.rglob("*"):
        if asset.is_file():
            asset.unlink()
    static.mkdir(exist_ok=True)
    (static / "style.css").write_text(stylesheet + STYLE, encoding="utf-8")
    for page in sorted(site.rglob("*.html")):
        href = os.path.relpath(static / "style.css", page.parent)
        page.write_text(_strip_external_assets(page.read_text(encoding="utf-8"), href), encoding="utf-8")


def suite_pages(site: Path) -> dict[str, str]:
    """By suite, the page of its results, relative to the site."""
    return {
        folder.name: next(folder.rglob("*.html")).relative_to(site).as_posix()
        for folder in sorted((site / "validations").iterdir())
    }


def _strip_external_assets(page: str, href: str) -> str:
    """A page's HTML with one stylesheet, and without what differs from run to run."""
    page = re.sub(EXTERNAL_ASSETS, "", page, flags=re.DOTALL | re.IGNORECASE)
    page = re.sub(TIMESTAMPS, "", page)
    for number, random_id in enumerate(dict.fromkeys(re.findall(RANDOM_ID, page))):
        page = page.replace(random_id, f"id{number}")
    return page.replace("</head>", f'<link rel="stylesheet" href="{href}">\n</head>', 1)
