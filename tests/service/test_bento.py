"""What ``bentoml build`` puts into a bento."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path

import bentoml
import httpx
import pytest
import yaml
from bentoml.exceptions import BentoMLException

from music_genre.models.bundle import MANIFEST
from music_genre.service.bento import ChampionBentoModel, save_to_bento_store
from music_genre.service.served_model import RegistryClient, load_from_bento

ROOT = Path(__file__).parents[2]

# Loads the bento's champion as the service does, where nothing can be imported but the named distributions.
LOAD_WITH_REQUIREMENTS_ONLY = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

bento, *requirements = sys.argv[1:]
owners = packages_distributions()


class RequirementsFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = path is None and name in owners and not set(owners[name]) & set(requirements)
        return None if hidden else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = RequirementsFinder
import music_genre.service.app
from music_genre.service.served_model import load_and_warm_up, load_from_bento

load_and_warm_up(*load_from_bento(Path(bento)))
"""


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_copied_once_and_replaces_another_model_with_its_tag(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    registry = RegistryClient()
    version = registry.champion()
    _, bundle_dir = registry.download(version)
    created = bentoml.models.get(save_to_bento_store(version, version.tags, bundle_dir)).info.creation_time
    assert bentoml.models.get(save_to_bento_store(version, version.tags, bundle_dir)).info.creation_time == created
    other = tmp_path / "other"
    shutil.copytree(bundle_dir, other)
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps(manifest | {"temperature": 2.0}))
    tag = save_to_bento_store(version, version.tags, other)
    assert str(tag) == "music-genre:v1"
    assert bentoml.models.get(tag).info.creation_time > created


def test_without_a_champion_the_build_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, describe_project: Callable[[Path], None]
) -> None:
    describe_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    # BentoML prints the message of its own exceptions only.
    with pytest.raises(BentoMLException, match="has no champion"):
        ChampionBentoModel("music-genre").to_info()


@pytest.fixture(scope="module")
def bento(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bento of the project's code and the champion of the checkout, built in a folder with a secret; its model lies
    beside it, as in a container.
    """
    folder, home = tmp_path_factory.mktemp("build") / "project", tmp_path_factory.mktemp("home")
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache", "audio", "music"))
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/serve.lock", folder / "requirements")
    shutil.copy(ROOT / "bentofile.yaml", folder)
    (folder / ".env").write_text("MUSIC_GENRE_API_KEY=secret\n")
    (folder / "settings.toml").write_text('api_key = "secret"\n')
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=folder,
        env=environment | {"BENTOML_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (description,) = (home / "bentos/music-genre").glob("*/bento.yaml")
    shutil.copytree(home / "models/music-genre/v1", description.parent / "models/music-genre/v1")
    return description.parent


def test_bento_holds_the_code_and_the_page_and_nothing_else(bento: Path) -> None:
    inside = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    expected = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and (path.suffix == ".py" or path.is_relative_to(ROOT / "src/music_genre/service/static"))
    }
    assert inside == expected | {"bentofile.yaml"}
    assert sum(path.stat().st_size for path in bento.rglob("*")) < 5e6


def test_bento_has_no_local_path_and_no_secret(bento: Path, checkout: Path) -> None:
    for path in (path for path in bento.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for word in (str(checkout), str(bento), str(ROOT), "secret\n", '"secret"', "index-url"):
            assert word.encode() not in content, path


def test_bento_contains_the_champion(bento: Path) -> None:
    description = yaml.safe_load((bento / "bento.yaml").read_text())
    (tag,) = [model["tag"] for service in description["services"] for model in service["models"]]
    assert tag == "music-genre:v1"
    served, bundle_dir = load_from_bento(bento)
    assert served.version == "1"
    assert served.manifest_json == (bundle_dir / MANIFEST).read_text()
    assert served.metrics.keys() == {"validation_macro_f1", "test_macro_f1"}


def test_requirements_of_a_bento_are_pinned_as_those_of_the_project(bento: Path) -> None:
    pinned = {line.split(";")[0].strip() for line in (ROOT / "requirements/cpu.lock").read_text().splitlines()}
    pinned = {line.removesuffix("\\").strip() for line in pinned}
    requirements = (bento / "env/python/requirements.txt").read_text().splitlines()
    assert len(requirements) > 50
    assert {line.split(";")[0].strip() for line in requirements if line} <= pinned


@pytest.mark.slow
def test_requirements_of_a_bento_suffice_to_load_its_model(bento: Path, tmp_path: Path) -> None:
    lines = (bento / "env/python/requirements.txt").read_text().splitlines()
    required = {normalized(line.split("==")[0]) for line in lines}
    names = {name for owners in packages_distributions().values() for name in owners}
    installed = [name for name in names if normalized(name) in required | {"music-genre", "setuptools"}]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITH_REQUIREMENTS_ONLY, str(bento), *installed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_served_bento_needs_no_project_and_takes_settings_from_the_working_directory(
    bento: Path, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text('api_key = "open sesame"\nrequest_log = "requests"\n')
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", "music-genre:latest", "--host", "127.0.0.1"]
    environment = os.environ | {"BENTOML_HOME": str(bento.parents[2])}
    with subprocess.Popen([*command, "--port", str(port)], cwd=tmp_path, env=environment) as server:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                for _ in range(120):
                    assert server.poll() is None
                    with suppress(httpx.TransportError):
                        if client.get("/readyz").status_code == 200:
                            break
                    time.sleep(1)
                files = {"audio": (checkout / "music/Rock/1.mp3").read_bytes()}
                for _ in range(8):  # every worker has the key
                    assert httpx.post(f"http://127.0.0.1:{port}/predict", files=files).status_code == 401
                headers = {"X-API-Key": "open sesame"}
                response = client.post("/predict", files=files, headers=headers)
        finally:
            server.terminate()
    assert response.status_code == 200
    assert response.json()["model"] == {"name": "music-genre", "version": "1"}
    (log,) = [path for path in (tmp_path / "requests").iterdir() if path.stat().st_size]
    assert json.loads(log.read_text())["request_id"] == response.headers["x-request-id"]
