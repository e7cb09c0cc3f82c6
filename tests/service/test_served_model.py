"""What may be served, and how a model gets into a bento."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest
import yaml

from music_genre.models.bundle import DESCRIPTION
from music_genre.registry import versions as registry
from music_genre.service import served_model as loading
from music_genre.service.bento import store
from music_genre.service.served_model import Loaded, Registry, UnusableError, packed_in, ready, rehearse
from music_genre.tracking import runs as tracking

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(checkout)
    return checkout


@pytest.fixture
def champion(here: Path) -> tuple[Loaded, Path]:
    found = Registry()
    return found.fetch(found.champion())


def changed(loaded: Loaded, **changes: Any) -> Loaded:
    """The same version with another description."""
    told = loaded.told()
    return Loaded(**told | {"description": json.dumps(json.loads(told["description"]) | changes)})


def test_a_champion_answers_before_it_is_served(champion: tuple[Loaded, Path]) -> None:
    loaded, folder = champion
    answer = ready(loaded, folder).predict(np.zeros((2, 64, 32), np.float32))
    assert answer.shape == (2, 3)
    assert Loaded(**loaded.told()) == loaded


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transform", {"sample_rate_hz": 22050}),
        ("transform", "mel"),
        ("shape", [64]),
        ("genres", None),
        ("members", [{"name": "crnn"}]),
        ("temperature", "warm"),
    ],
)
def test_a_description_that_says_nonsense_is_unusable(champion: tuple[Loaded, Path], key: str, value: object) -> None:
    with pytest.raises(UnusableError, match="version 1 cannot be served by this code"):
        changed(champion[0], **{key: value})


def test_a_transform_that_gives_another_shape_than_the_model_takes_is_unusable(champion: tuple[Loaded, Path]) -> None:
    with pytest.raises(UnusableError, match=r"gives \(64, 32\), it takes \(64, 31\)"):
        rehearse(changed(champion[0], shape=[64, 31]))


def test_files_that_are_torn_are_unusable(champion: tuple[Loaded, Path], tmp_path: Path) -> None:
    loaded, folder = champion
    shutil.copytree(folder, tmp_path / "packed")
    (weights,) = [path for path in (tmp_path / "packed").iterdir() if path.name != DESCRIPTION]
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UnusableError):
        ready(loaded, tmp_path / "packed")


def test_a_version_is_stored_once_and_anew_where_another_model_has_its_tag(
    champion: tuple[Loaded, Path], here: Path, tmp_path: Path
) -> None:
    version = registry.resolve(tracking.connect(here), "music-genre", "champion")
    made = bentoml.models.get(store(version, champion[1])).info.creation_time
    assert bentoml.models.get(store(version, champion[1])).info.creation_time == made
    shutil.copytree(champion[1], tmp_path / "other")
    described = json.loads((tmp_path / "other" / DESCRIPTION).read_text())
    (tmp_path / "other" / DESCRIPTION).write_text(json.dumps(described | {"temperature": 2.0}))
    tag = store(version, tmp_path / "other")
    assert str(tag) == "music-genre:v1"
    assert bentoml.models.get(tag).info.creation_time > made


@pytest.fixture(scope="module")
def bento(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``bentoml build`` makes of the project's files beside the checkout's registry and a secret."""
    folder, home = tmp_path_factory.mktemp("build") / "project", tmp_path_factory.mktemp("home")
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("mlartifacts", ".cache", "raw", "music"))
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/serve.lock", folder / "requirements")
    shutil.copy(ROOT / "bentofile.yaml", folder)
    (folder / ".env").write_text("MUSIC_GENRE_API_KEY=secret\n")
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    built = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=folder,
        env=kept | {"BENTOML_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (made,) = (home / "bentos/music-genre").glob("*/bento.yaml")
    return made.parent


def test_a_bento_holds_the_code_and_what_the_page_needs_and_nothing_else(bento: Path) -> None:
    inside = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    made_of = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and (path.suffix == ".py" or "page" in path.parts)
    }
    assert inside == made_of | {"bentofile.yaml"}
    assert sum(path.stat().st_size for path in bento.rglob("*")) < 5e6


def test_a_bento_names_no_place_of_this_machine_and_no_secret(bento: Path, checkout: Path) -> None:
    for path in (path for path in bento.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for word in (str(checkout), str(bento), str(ROOT), "secret\n", "index-url"):
            assert word.encode() not in content, path


def test_a_bento_carries_the_champion(bento: Path, checkout: Path) -> None:
    described = yaml.safe_load((bento / "bento.yaml").read_text())
    (tag,) = [model["tag"] for service in described["services"] for model in service["models"]]
    assert tag == "music-genre:v1"
    beside = bento / "models/music-genre/v1"
    shutil.copytree(bento.parents[2] / "models/music-genre/v1", beside, dirs_exist_ok=True)  # as a container has it
    loaded, folder = packed_in(bento)
    assert loaded.version == "1"
    assert loaded.description == (folder / DESCRIPTION).read_text()
    assert loaded.metrics.keys() == {"validation_macro_f1", "test_macro_f1"}


def test_the_requirements_of_a_bento_are_versions_of_the_projects_own_lock(bento: Path) -> None:
    pinned = {line.split(";")[0].strip() for line in (ROOT / "requirements/cpu.lock").read_text().splitlines()}
    pinned = {line.removesuffix("\\").strip() for line in pinned}
    wanted = (bento / "env/python/requirements.txt").read_text().splitlines()
    assert len(wanted) > 50
    assert {line.split(";")[0].strip() for line in wanted if line} <= pinned


def test_code_that_lies_in_a_bento_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BENTO", tmp_path)
    assert not loading.in_bento()
    (tmp_path / "bento.yaml").touch()
    assert loading.in_bento()
