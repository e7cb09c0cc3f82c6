"""The page's files: served under a strict policy, vendored as recorded, packed with the service."""

from __future__ import annotations

import hashlib
import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import soundfile
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

from music_genre.service.demo_clips import SECONDS
from music_genre.service.web import FOLDER, add_page

ROOT = Path(__file__).parents[2]
VENDORED = FOLDER / "vendor/wavesurfer"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    add_page(app)
    return TestClient(app)


def test_the_page_may_load_from_its_own_origin_only(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


def test_a_nonce_is_used_once_and_is_the_pages(client: TestClient) -> None:
    nonces = []
    for _ in range(2):
        answer = client.get("/")
        (nonce,) = re.findall(r"'nonce-([^']+)'", answer.headers["content-security-policy"])
        assert f'nonce="{nonce}"' in answer.text
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_file_is_served_as_it_is(client: TestClient, file: Path) -> None:
    answer = client.get(f"/page/{file.relative_to(FOLDER).as_posix()}")
    assert answer.content == file.read_bytes()
    if file.suffix == ".js":
        assert "javascript" in answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/page/../web.py", "/page/%2e%2e/web.py", "/page/..%2fweb.py", "/page/"])
def test_nothing_beside_the_page_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_is_vendored_is_what_was_recorded_with_its_licence_and_version() -> None:
    recorded = dict(line.split()[::-1] for line in (VENDORED / "SHA256SUMS").read_text().splitlines())
    assert set(recorded) == {path.name for path in VENDORED.iterdir()} - {"SHA256SUMS"}
    for name, digest in recorded.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, f"{name}: make vendor"
    described = json.loads((VENDORED / "package.json").read_text())
    assert f"WAVESURFER := {described['version']}\n" in (ROOT / "Makefile").read_text()
    assert described["license"] == "BSD-3-Clause"


def test_a_bento_carries_every_file_of_the_page() -> None:
    patterns = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    for file in FILES:
        assert any(fnmatch(file.relative_to(ROOT).as_posix(), pattern) for pattern in patterns), file


def test_the_sample_clips_are_small_minutes_and_the_page_offers_each() -> None:
    clips = sorted((FOLDER / "samples").iterdir())
    assert sorted(re.findall(r'data-sample="([^"]+)"', (FOLDER / "index.html").read_text())) == [c.name for c in clips]
    for clip in clips:
        assert clip.stat().st_size < 100_000
        assert soundfile.info(clip).duration == pytest.approx(SECONDS, abs=0.1)
