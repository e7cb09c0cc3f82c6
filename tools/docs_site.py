"""Build the documentation as a site that opens from disk: README.md, docs/, and references to commands and the API.

``make docs`` runs it. Pages are copied to ``dist/docs/pages`` and built to ``dist/docs/site``; a link that leads
nowhere is an error. An argument names another folder than ``dist/docs``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "dist/docs"
# Files of the root by their names in the site.
ROOT_FILES = {
    "README.md": "index.md",
    **{name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")},
}
HELP_WIDTH = 100


def collect_pages(pages: Path) -> None:
    """Copy every page, with links that fit the site's one folder, and write those that are generated."""
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("zensical.toml"))
    for name, target in ROOT_FILES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        (pages / target).write_text(re.sub(r"\]\(docs/", "](", text), encoding="utf-8")
    (pages / "commands.md").write_text("\n".join(command_reference()), encoding="utf-8")
    (pages / "http-api.md").write_text("\n".join(api_reference()), encoding="utf-8")


def command_reference() -> Iterator[str]:
    """Lines of a page with the ``--help`` of every command."""
    from typer.main import get_command

    from music_genre.cli.main import app

    group = get_command(app)
    parent = group.context_class(group, info_name="music-genre", terminal_width=HELP_WIDTH)
    yield from ("# Commands", "", "What `music-genre COMMAND --help` prints.", "")
    yield from ("```text", group.get_help(parent), "```", "")
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        context = command.context_class(command, info_name=name, parent=parent, terminal_width=HELP_WIDTH)
        yield from (f"## music-genre {name}", "", "```text", command.get_help(context), "```", "")


def api_reference() -> Iterator[str]:
    """Lines of a page with every address of the service and every object that it takes or returns."""
    from music_genre.service.app import app

    api = app.openapi()
    yield from ("# HTTP API", "", f"{api['info']['description']} {api['info']['summary']}", "")
    yield from ("The service has the same as OpenAPI at `/docs.json`.", "")
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield from (f"## {method.upper()} {path}", "", f"{operation['summary']}.", "")
            yield from (operation.get("description", ""), "")
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield from (f"Takes `{kind}`:", "", *property_table(body["schema"]))
            yield from response_table(operation["responses"])
    for name, schema in api["components"]["schemas"].items():
        yield from (f"## {name}", "", schema.get("description", ""), "", *property_table(schema))


def response_table(responses: dict[str, Any]) -> Iterator[str]:
    yield from ("| status | meaning | answer |", "|---|---|---|")
    for status, response in responses.items():
        content = response.get("content", {}).get("application/json", {})
        example = content.get("example", {}).get("error", {})
        answer = f"`{example['code']}`: {example['message']}" if example else type_name(content.get("schema", {}))
        yield f"| {status} | {response['description']} | {answer} |"
    yield ""


def property_table(schema: dict[str, Any]) -> Iterator[str]:
    if "properties" not in schema:
        return
    yield from ("| name | type | meaning |", "|---|---|---|")
    for name, value in schema["properties"].items():
        optional = "" if name in schema.get("required", []) else ", optional"
        yield f"| `{name}` | {type_name(value)}{optional} | {value.get('description', '')} |"
    yield ""


def type_name(schema: dict[str, Any]) -> str:
    """A type in words; an object of the API is a link to its section."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_name(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    return str(schema.get("type", ""))


def build(folder: Path) -> Path:
    """The site, in a new folder or in place of the one that is there.

    Raises:
        SystemExit: a page has an issue, such as a link that leads nowhere; it is printed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    collect_pages(folder / "pages")
    shutil.copy(ROOT / "docs/zensical.toml", folder)
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=False)
    if built.returncode:
        raise SystemExit(built.returncode)
    return folder / "site"


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve() if sys.argv[1:] else FOLDER) / "index.html")
