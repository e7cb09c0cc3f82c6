"""The pictures, the citation and the site of the documentation: complete, small, and without the network."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools/docs_site.py"
MAX_PICTURES_KB = 400
GENERATED = {"index.md", "commands.md", "http-api.md", "CONTRIBUTING.md", "CHANGELOG.md"}


class Links(HTMLParser):
    """The ids of a page, what it links to, and what a browser fetches for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        targets = {values[name] for name in ("href", "src") if name in values}
        self.targets |= targets
        if "src" in values or (tag == "link" and values.get("rel") != "canonical"):
            self.fetched |= targets


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Links]:
    """The pages of the built site."""
    pytest.importorskip("zensical", reason="make setup brings it")
    folder = tmp_path_factory.mktemp("docs") / "docs"
    done = subprocess.run([sys.executable, str(TOOL), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    pages = [path for path in (folder / "site").glob("*.html") if path.name != "404.html"]
    return {path: Links(path.read_text(encoding="utf-8")) for path in pages}


def test_site_has_every_page(site: dict[Path, Links]) -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.md")} | {Path(name).stem for name in GENERATED}
    assert {path.stem for path in site} == names


def test_every_link_of_the_site_leads_somewhere(site: dict[Path, Links]) -> None:
    wrong = []
    for path, page in site.items():
        for target in page.targets:
            parts = urlsplit(target)
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme:
                leads = parts.scheme == "https" and "." in parts.netloc
            else:
                leads = file.exists() and (not parts.fragment or file not in site or parts.fragment in site[file].ids)
            wrong += [] if leads else [f"{path.name}: {target}"]
    assert wrong == []


def test_site_asks_the_network_for_nothing(site: dict[Path, Links]) -> None:
    assert [target for page in site.values() for target in page.fetched if urlsplit(target).netloc] == []


def test_page_with_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="make setup brings it")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text("[nowhere](nowhere.md)", encoding="utf-8")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "test"\ndocs_dir = "pages"\n', encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0


def test_navigation_has_every_page() -> None:
    text = (ROOT / "docs/zensical.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'= "([\w-]+\.md)"', text))
    assert listed == GENERATED | {path.name for path in (ROOT / "docs").glob("*.md")}


def test_diagram_names_every_stage() -> None:
    diagram = (ROOT / "docs/pictures/architecture.svg").read_text(encoding="utf-8")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(re.findall(r'class="name"[^>]*>(\w+)<', diagram)) - {"registry", "service", "recording"} == set(stages)


def test_pictures_of_the_readme_are_small() -> None:
    pictures = sorted((ROOT / "docs/pictures").glob("*.webp"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"docs/pictures/{path.name}" for path in pictures} == set(re.findall(r"docs/pictures/\w+\.webp", readme))
    assert sum(path.stat().st_size for path in pictures) < MAX_PICTURES_KB * 1024


def test_citation_has_the_version_and_the_sources() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    families = {reference["authors"][0]["family-names"] for reference in citation["references"]}
    assert {"Dwivedi", "Defferrard", "Pons"} <= families
    assert all(reference["title"] and reference["notes"] for reference in citation["references"])
