"""Make Great Expectations' pages read well from disk: no network, no script, and the same data give the same bytes."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

STYLE = """\
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #56d364; --bad: #ff7b72; --warn: #e3b341; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
ul, ol { list-style: none; padding: 0; }
.breadcrumb li { display: inline; margin-right: 1rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.fa-check-circle::before { content: "\\2713"; color: var(--good); }
.fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; color: var(--bad); }
.badge { border: 1px solid var(--line); border-radius: .3rem; padding: 0 .3rem; }
pre { white-space: pre-wrap; }
[data-toggle=collapse], .cooltip span, input, label { display: none; }
"""

OUTSIDE = r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>"
TIMES = r"\d{8}T\d{6}\.\d{6}Z(?=</span>)|2000-01-01T00:00:00Z"
RANDOM_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def make_static(site: Path, summary: dict[str, Any], failures: list[str]) -> None:
    """Rewrite the pages of a site in place and give it a front page of its own.

    Args:
        site: folder that Great Expectations wrote.
        summary: as in ``summary.json``.
        failures: one sentence a failed expectation.
    """
    for asset in (site / "static").rglob("*"):
        if asset.is_file():
            asset.unlink()
    (site / "static").mkdir(exist_ok=True)
    (site / "static/style.css").write_text(STYLE, encoding="utf-8")
    for page in sorted(site.rglob("*.html")):
        page.write_text(_without_outside(page.read_text(encoding="utf-8"), _style_of(page, site)), encoding="utf-8")
    (site / "index.html").write_text(_front_page(site, summary, failures), encoding="utf-8")


def _without_outside(page: str, style: str) -> str:
    page = re.sub(OUTSIDE, "", page, flags=re.DOTALL | re.IGNORECASE)
    page = re.sub(TIMES, "", page)
    for number, random_id in enumerate(dict.fromkeys(re.findall(RANDOM_ID, page))):
        page = page.replace(random_id, f"id{number}")
    return page.replace("</head>", f'<link rel="stylesheet" href="{style}">\n</head>', 1)


def _style_of(page: Path, site: Path) -> str:
    return os.path.relpath(site / "static/style.css", page.parent)


def _front_page(site: Path, summary: dict[str, Any], failures: list[str]) -> str:
    """Verdict, failures and a row a suite, linked to its page."""
    rows = []
    for name, suite in summary["suites"].items():
        page = next((site / "validations" / name).rglob("*.html")).relative_to(site).as_posix()
        failed = sum(not outcome["success"] for outcome in suite["expectations"])
        kind, verdict = ("bad", "fails") if not suite["success"] else ("warn", "warns") if failed else ("good", "holds")
        rows.append(
            f'<tr><td><a href="{html.escape(page)}">{html.escape(name)}</a></td><td class="{kind}">{verdict}</td>'
            f"<td>{len(suite['expectations']) - failed} of {len(suite['expectations'])} expectations hold</td></tr>"
        )
    kind, verdict = ("good", "Every critical check holds.") if summary["success"] else ("bad", "Checks failed.")
    told = "".join(f"<li>{html.escape(failure)}</li>" for failure in failures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data checks</title>
<link rel="stylesheet" href="static/style.css">
</head>
<body>
<h1>Data checks</h1>
<p class="{kind}">{verdict}</p>
<ul class="warn">{told}</ul>
<table>
<tr><th>Suite</th><th>Verdict</th><th></th></tr>
{chr(10).join(rows)}
</table>
</body>
</html>
"""
