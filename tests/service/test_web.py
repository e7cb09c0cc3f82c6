"""The page's files: served under a strict policy, vendored as recorded, included in a bento."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import soundfile
import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

from music_genre.audio.kinds import AUDIO_SUFFIXES
from music_genre.service.environment import service_settings
from music_genre.service.errors import add_error_handlers
from music_genre.service.web import STATIC_DIR, add_page, links_report

ROOT = Path(__file__).parents[2]
VENDORED = STATIC_DIR / "vendor/wavesurfer"
FILES = sorted(path for path in STATIC_DIR.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    add_page(app)
    add_error_handlers(app)
    return TestClient(app)


def test_page_may_load_from_its_own_origin_only(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


def test_nonce_is_new_for_each_response(client: TestClient) -> None:
    nonces = []
    for _ in range(2):
        response = client.get("/")
        (nonce,) = re.findall(r"'nonce-([^']+)'", response.headers["content-security-policy"])
        assert f'nonce="{nonce}"' in response.text
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_documentation_may_load_from_its_own_origin_only(client: TestClient) -> None:
    response = client.get("/docs")
    policy = response.headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "//" not in response.text


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_file_is_served_unchanged(client: TestClient, file: Path) -> None:
    response = client.get(f"/static/{file.relative_to(STATIC_DIR).as_posix()}")
    assert response.content == file.read_bytes()
    if file.suffix == ".js":
        assert "javascript" in response.headers["content-type"]


@pytest.mark.parametrize("path", ["/static/../web.py", "/static/%2e%2e/web.py", "/static/..%2fweb.py", "/static/"])
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_vendored_files_have_their_recorded_digests_licence_and_version() -> None:
    digests = dict(line.split()[::-1] for line in (VENDORED / "SHA256SUMS").read_text().splitlines())
    assert set(digests) == {path.name for path in VENDORED.iterdir()} - {"SHA256SUMS"}
    for name, digest in digests.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest, f"{name}: make vendor"
    package = json.loads((VENDORED / "package.json").read_text())
    assert f"WAVESURFER_VERSION := {package['version']}\n" in (ROOT / "Makefile").read_text()
    assert package["license"] == "BSD-3-Clause"


def test_bento_includes_every_file_of_the_page() -> None:
    patterns = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    for file in FILES:
        assert any(fnmatch(file.relative_to(ROOT).as_posix(), pattern) for pattern in patterns), file


def test_page_offers_each_sample_clip_and_each_is_a_small_minute() -> None:
    clips = sorted((STATIC_DIR / "samples").iterdir())
    offered = re.findall(r'data-sample="([^"]+)"', (STATIC_DIR / "index.html").read_text())
    assert sorted(offered) == [clip.name for clip in clips]
    for clip in clips:
        assert clip.stat().st_size < 100_000
        assert soundfile.info(clip).duration == pytest.approx(60, abs=0.1)


def test_tool_makes_the_sample_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("demo_clips", ROOT / "tools/demo_clips.py")
    assert spec is not None
    assert spec.loader is not None
    demo_clips = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo_clips)
    monkeypatch.setattr(demo_clips, "DURATION_S", 6)
    demo_clips.write_clips(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (STATIC_DIR / "samples").iterdir()}
    for path in tmp_path.iterdir():
        samples, _ = soundfile.read(path)
        assert soundfile.info(path).duration == pytest.approx(6, abs=0.1)
        assert abs(samples).max() > 0.1


def test_page_offers_the_suffixes_of_every_kind_of_recording() -> None:
    (offered,) = re.findall(r'accept="audio/\*,([^"]*)"', (STATIC_DIR / "index.html").read_text(encoding="utf-8"))
    assert set(offered.split(",")) == AUDIO_SUFFIXES


def test_report_of_the_checkout_is_shown_where_there_is_one(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    service_settings.cache_clear()
    assert (client.get("/report").status_code, links_report()) == (404, False)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/index.html").write_text("<title>a run</title>", encoding="utf-8")
    response = client.get("/report")
    assert (response.text, links_report()) == ("<title>a run</title>", True)
    assert response.headers["x-content-type-options"] == "nosniff"
    monkeypatch.setenv("MUSIC_GENRE_API_KEY", "open sesame")
    service_settings.cache_clear()
    assert (client.get("/report").status_code, links_report()) == (401, False)
    assert client.get("/report", headers={"X-API-Key": "open sesame"}).text == "<title>a run</title>"
    service_settings.cache_clear()
